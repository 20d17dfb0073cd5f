//! After the join: revokes the token, gives the Node what a kubelet may not
//! give itself, and tells the boot log when it is Ready.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::resources::{ClusterSpec, Object, Taint};
use boot_proto::time::Monotonic;

use super::node::{Readiness, missing, readiness};
use super::{TokenError, Tokens};
use crate::boots::BootLog;
use crate::clock;
use crate::images::chain;

/// Waits between two looks at a Node; the last one repeats.
const WAITS_MS: [u64; 6] = [250, 500, 1_000, 1_000, 2_000, 5_000];
/// A Node that is not Ready after this long is shown as stuck.
const PATIENCE: Duration = Duration::from_secs(180);
/// A Node that is not Ready after this long is not looked at any more.
const LIMIT: Duration = Duration::from_secs(3600);

/// A machine whose kubeadm has finished.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The boot in which it joined.
    pub boot: u64,
    /// MAC of the booting NIC.
    pub mac: MacAddr,
    /// The Machine.
    pub machine: String,
    /// Its node name.
    pub hostname: String,
    /// The cluster it joined.
    pub cluster: Object<ClusterSpec>,
    /// Labels it is to have.
    pub labels: BTreeMap<String, String>,
    /// Taints it is to have.
    pub taints: Vec<Taint>,
}

impl Tokens {
    /// Sees a machine that has joined through to Ready, in the background. Being
    /// told twice of the same boot is fine.
    pub fn follow(self: &Arc<Self>, joined: Joined, boots: Arc<BootLog>) {
        let is_new = self
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(joined.boot);
        if !is_new {
            return;
        }
        let tokens = Arc::clone(self);
        tokio::spawn(async move {
            tokens.see_through(&joined, &boots).await;
            let mut followed = tokens
                .followed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            followed.remove(&joined.boot);
        });
    }

    async fn see_through(&self, joined: &Joined, boots: &BootLog) {
        let begun = clock::monotonic();
        let mut waits = WAITS_MS.into_iter();
        let mut wait = Duration::ZERO;
        let mut is_revoked = false;
        loop {
            // Started again meanwhile: that boot has its own follower.
            if boots
                .latest(joined.mac)
                .is_none_or(|boot| boot.id != joined.boot)
            {
                return;
            }
            if !is_revoked {
                is_revoked = self.revoked(joined).await;
            }
            match self.look(joined).await {
                Ok(Readiness::Ready) if is_revoked => {
                    boots.ready(joined.boot, &format!("Node {} is Ready", joined.hostname));
                    tracing::info!(machine = %joined.machine, node = %joined.hostname, "Node is Ready");
                    return;
                }
                Ok(Readiness::Ready) => {}
                Ok(Readiness::NotReady(reason)) => tell(boots, joined, begun, &reason),
                Err(error) => tell(boots, joined, begun, &chain(&error)),
            }
            if clock::monotonic().since(begun) > LIMIT {
                return;
            }
            wait = waits.next().map_or(wait, Duration::from_millis);
            tokio::time::sleep(wait).await;
        }
    }

    async fn revoked(&self, joined: &Joined) -> bool {
        let machine = &joined.machine;
        match self.revoke_each(joined).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(machine, error = %chain(&error), "join token not revoked yet");
                false
            }
        }
    }

    /// Our token, and those that other servers gave the machine.
    async fn revoke_each(&self, joined: &Joined) -> Result<(), TokenError> {
        self.revoke(&joined.machine).await?;
        let api = self.cluster(&self.kubeconfig_of(&joined.cluster)?).await?;
        self.revoke_those_of_others(&api, &joined.machine).await
    }

    async fn look(&self, joined: &Joined) -> Result<Readiness, TokenError> {
        let kubeconfig = self.kubeconfig_of(&joined.cluster)?;
        let api = self.cluster(&kubeconfig).await?;
        let Some(node) = api.node(&joined.hostname).await? else {
            return Ok(Readiness::NotReady(format!(
                "there is no Node {}",
                joined.hostname
            )));
        };
        if let Some(patch) = missing(&node, &joined.labels, &joined.taints) {
            api.patch_node(&joined.hostname, &patch).await?;
        }
        Ok(readiness(&node))
    }
}

fn tell(boots: &BootLog, joined: &Joined, begun: Monotonic, reason: &str) {
    if clock::monotonic().since(begun) > PATIENCE {
        boots.stuck(joined.boot, &format!("joined, but not Ready: {reason}"));
    }
}
