//! Tokens that nobody looks after: another boot-server made them and is gone, or
//! lost its state.
//!
//! Deleting a token twice does no harm, so that every server may and none has to
//! be chosen. Of the Secrets only the metadata is read.

use boot_proto::resources::{ClusterSpec, Object};
use boot_proto::time::WallClock;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::core::PartialObjectMeta;

use super::api::ClusterApi;
use super::{TokenError, Tokens};
use crate::images::chain;

/// Label of our tokens' Secrets: the machine, as far as a label has room.
pub(super) const MACHINE: &str = "moonfarm.dev/machine";
/// Annotation: the name under which the machine joins.
pub(super) const NODE: &str = "moonfarm.dev/node";
/// Annotation: when the token ends, RFC 3339.
pub(super) const EXPIRES: &str = "moonfarm.dev/expires";
/// Nodes that are looked at in one round, the oldest tokens' first: in a storm
/// most tokens are used and revoked by those who made them.
const LOOKS: usize = 64;

/// A machine's name as a label can have it: 63 characters, with a letter or digit
/// at its end. The annotation has all of it.
pub(super) fn label(machine: &str) -> &str {
    let end = machine.len().min(63);
    machine
        .get(..end)
        .unwrap_or_default()
        .trim_end_matches(|last: char| !last.is_ascii_alphanumeric())
}

impl Tokens {
    /// Revokes the tokens that other servers gave this machine. Where a
    /// kubeconfig may not list them, they end by themselves.
    pub(super) async fn revoke_those_of_others(
        &self,
        api: &ClusterApi,
        machine: &str,
    ) -> Result<(), TokenError> {
        let selector = format!("{MACHINE}={}", label(machine));
        for token in api.tokens(&selector).await? {
            let metadata = &token.metadata;
            let is_of_machine = metadata.annotations.as_ref().is_some_and(|annotations| {
                annotations.get(MACHINE).map(String::as_str) == Some(machine)
            });
            if is_of_machine && let Some(id) = id(&token) {
                api.delete_token(id).await?;
                tracing::info!(machine, token_id = %id, "join token of another server revoked");
            }
        }
        Ok(())
    }

    /// Revokes the tokens in these clusters with which a node has joined, or
    /// which have ended.
    pub(super) async fn sweep_left(&self, clusters: &[Object<ClusterSpec>], now: WallClock) {
        for cluster in clusters {
            if let Err(error) = self.sweep_cluster(cluster, now).await {
                tracing::debug!(cluster = cluster.name(), error = %chain(&error),
                    "join tokens of other servers were not looked at");
            }
        }
    }

    async fn sweep_cluster(
        &self,
        cluster: &Object<ClusterSpec>,
        now: WallClock,
    ) -> Result<(), TokenError> {
        let api = self.cluster(&self.kubeconfig_of(cluster)?).await?;
        let mut tokens = api.tokens(MACHINE).await?;
        tokens.sort_by(|a, b| {
            let made = |token: &Token| token.metadata.creation_timestamp.clone();
            made(a).cmp(&made(b))
        });
        let mut looks = LOOKS;
        for token in &tokens {
            let Some(id) = id(token) else { continue };
            let mut is_spare = has_ended(token, now);
            if !is_spare && looks > 0 {
                looks -= 1;
                let node = api.node(annotation(token, NODE).unwrap_or_default());
                is_spare = node.await?.is_some_and(|node| has_joined(token, &node));
            }
            if is_spare {
                api.delete_token(id).await?;
                tracing::info!(machine = annotation(token, MACHINE), token_id = %id,
                    "join token that nobody needs revoked");
            }
        }
        Ok(())
    }
}

type Token = PartialObjectMeta<Secret>;

/// The public half of a token.
fn id(token: &Token) -> Option<&str> {
    let name = token.metadata.name.as_deref()?;
    name.strip_prefix("bootstrap-token-")
}

fn annotation<'a>(token: &'a Token, key: &str) -> Option<&'a str> {
    let annotations = token.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn has_ended(token: &Token, now: WallClock) -> bool {
    annotation(token, EXPIRES)
        .and_then(WallClock::from_rfc3339)
        .is_some_and(|expires| expires < now)
}

/// A kubelet that has made its Node has its certificate, which is all that the
/// token is for. One that is older is of a former start.
fn has_joined(token: &Token, node: &Node) -> bool {
    let made = token.metadata.creation_timestamp.as_ref();
    let came = node.metadata.creation_timestamp.as_ref();
    made.zip(came).is_some_and(|(made, came)| came >= made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_a_label_as_far_as_there_is_room() {
        assert_eq!(label("m1-c1n1"), "m1-c1n1");
        let long = format!("{}.{}", "a".repeat(62), "b".repeat(60));
        assert_eq!(label(&long), "a".repeat(62));
    }
}
