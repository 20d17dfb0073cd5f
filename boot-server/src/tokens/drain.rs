//! Emptying a node and removing what is left of it, as `kubectl drain` and
//! `kubectl delete node` do: cordoned first, each pod by the eviction API, so that
//! PodDisruptionBudgets are kept.

use boot_proto::resources::{ClusterSpec, JoinedNode, Object, OldNode};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::api::Evicted;
use super::node::{Fence, fence};
use super::{TokenError, Tokens};

/// Evictions under way at once.
const AT_ONCE: usize = 8;
/// Pods named in one message.
const MOST_NAMED: usize = 5;
/// The kubelet's mark of a pod that a file on the node declares.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How far a node is with being emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// No pod is left that could run elsewhere, or nobody runs it any more.
    Empty,
    /// These are left, each with what it waits for.
    Left(Vec<String>),
}

impl Drained {
    /// What is left, in words; the first few by name.
    #[must_use]
    pub fn words(left: &[String]) -> String {
        let named = left.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>();
        match left.len().saturating_sub(MOST_NAMED) {
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }
}

impl Tokens {
    /// Cordons the node and asks each pod to leave. To be asked again until
    /// nothing is left. `uuid` is the machine's: a node that another machine runs
    /// is left alone.
    ///
    /// # Errors
    /// When its cluster does not answer, or refuses.
    pub async fn drain(
        &self,
        cluster: &Object<ClusterSpec>,
        joined: &JoinedNode,
        uuid: Option<&str>,
    ) -> Result<Drained, TokenError> {
        let kubeconfig = self.kubeconfig_of(cluster)?;
        let api = self.cluster(&kubeconfig).await?;
        let Some(node) = api.node(&joined.node).await? else {
            return Ok(Drained::Empty);
        };
        let is_anothers = matches!(fence(&node, uuid, OldNode::Delete), Fence::Refuse(_));
        if is_anothers || is_silent(&node) {
            return Ok(Drained::Empty);
        }
        if !is_cordoned(&node) {
            let patch = json!({"spec": {"unschedulable": true}});
            api.patch_node(&joined.node, &patch).await?;
            tracing::info!(node = joined.node, cluster = joined.cluster, "cordoned");
        }
        let pods = api.pods_of(&joined.node).await?;
        let left: Vec<Option<String>> = stream::iter(pods.into_iter().filter(is_evicted))
            .map(|pod| {
                let api = &api;
                async move { Ok::<_, TokenError>(waits_for(&pod, api.evict(&pod).await?)) }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        let mut left: Vec<String> = left.into_iter().flatten().collect();
        left.sort();
        Ok(if left.is_empty() {
            Drained::Empty
        } else {
            Drained::Left(left)
        })
    }

    /// Lets pods onto a node again.
    ///
    /// # Errors
    /// When its cluster does not answer, or refuses.
    pub async fn uncordon(
        &self,
        cluster: &Object<ClusterSpec>,
        joined: &JoinedNode,
    ) -> Result<(), TokenError> {
        let kubeconfig = self.kubeconfig_of(cluster)?;
        let api = self.cluster(&kubeconfig).await?;
        if api
            .node(&joined.node)
            .await?
            .is_some_and(|node| is_cordoned(&node))
        {
            let patch = json!({"spec": {"unschedulable": null}});
            api.patch_node(&joined.node, &patch).await?;
        }
        Ok(())
    }

    /// Removes what is left of a node that a machine was: the Node object, and
    /// with it what Kubernetes keeps under it.
    ///
    /// # Errors
    /// When its cluster does not answer, or refuses.
    pub async fn remove_node(
        &self,
        cluster: &Object<ClusterSpec>,
        left: &JoinedNode,
        uuid: Option<&str>,
    ) -> Result<(), TokenError> {
        let kubeconfig = self.kubeconfig_of(cluster)?;
        let api = self.cluster(&kubeconfig).await?;
        let Some(node) = api.node(&left.node).await? else {
            return Ok(());
        };
        if let Fence::Refuse(reason) = fence(&node, uuid, OldNode::Delete) {
            tracing::info!(
                node = left.node,
                cluster = left.cluster,
                reason,
                "Node left alone"
            );
            return Ok(());
        }
        api.delete_node(&node).await?;
        tracing::info!(
            node = left.node,
            cluster = left.cluster,
            "Node of a machine that was moved deleted"
        );
        Ok(())
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
}

/// Whether its kubelet has gone silent: then no pod can be told to end.
fn is_silent(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "Unknown")
    })
}

/// Whether a pod has to leave: neither one that belongs to the node itself, nor
/// one that has ended.
fn is_evicted(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    let is_mirror = meta
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(MIRROR));
    let is_daemon = meta
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    !is_mirror && !is_daemon && !has_ended
}

/// What a pod waits for, where it is still there.
fn waits_for(pod: &Pod, evicted: Evicted) -> Option<String> {
    let meta = &pod.metadata;
    let name = format!(
        "pod {}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    );
    match evicted {
        Evicted::Gone => None,
        Evicted::Ending => Some(format!("{name} is ending")),
        Evicted::Refused(reason) => Some(format!("{name} may not leave: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn which_pods_have_to_leave() {
        let owned = |kind: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true}]);
        for (what, value, leaves) in [
            ("bare", json!({"metadata": {"name": "a"}}), true),
            (
                "a ReplicaSet's",
                json!({"metadata": {"name": "a", "ownerReferences": owned("ReplicaSet")}}),
                true,
            ),
            (
                "a DaemonSet's",
                json!({"metadata": {"name": "a", "ownerReferences": owned("DaemonSet")}}),
                false,
            ),
            (
                "static",
                json!({"metadata": {"name": "a", "annotations": {MIRROR: "hash"}}}),
                false,
            ),
            (
                "ended",
                json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}),
                false,
            ),
            (
                "running",
                json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}}),
                true,
            ),
        ] {
            assert_eq!(is_evicted(&pod(value)), leaves, "{what}");
        }
    }

    #[test]
    fn what_is_left_is_told_by_name() {
        let pod = pod(json!({"metadata": {"name": "db-0", "namespace": "shop"}}));
        assert_eq!(waits_for(&pod, Evicted::Gone), None);
        let refused = waits_for(&pod, Evicted::Refused("a budget".into())).unwrap();
        assert_eq!(refused, "pod shop/db-0 may not leave: a budget");
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(Drained::words(&many), "0; 1; 2; 3; 4; and 2 more");
    }
}
