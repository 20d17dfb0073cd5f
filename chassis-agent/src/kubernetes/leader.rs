//! Which agent works, where several run: the one that holds the Lease
//! (`coordination.k8s.io/v1`). A BMC must be asked by one alone.

use std::time::Duration;

use boot_proto::time::{Monotonic, WallClock};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};

use super::api::{Cluster, KubernetesError, call};
use crate::clock;

/// Name of the Lease.
const NAME: &str = "moonfarm-chassis-agent";
/// How long a holder that is silent keeps it.
const DURATION: Duration = Duration::from_secs(30);
/// How often the holder renews, and others look.
pub const INTERVAL: Duration = Duration::from_secs(8);

/// One agent among several.
pub struct Leader {
    leases: Api<Lease>,
    identity: String,
    /// The Lease as it was last seen, and since when by our own clock: another
    /// machine's clock decides nothing.
    seen: Option<(Option<String>, Monotonic)>,
    renewed: Option<Monotonic>,
}

impl Leader {
    /// A candidate that calls itself `identity`.
    #[must_use]
    pub fn new(cluster: &Cluster, identity: String) -> Self {
        Self {
            leases: Api::namespaced(cluster.client.clone(), &cluster.namespace),
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Takes or renews the Lease where that may be. Says whether it is held.
    pub async fn turn(&mut self) -> bool {
        let now = clock::now();
        match self.try_turn(now).await {
            Ok(true) => self.renewed = Some(now),
            Ok(false) => self.renewed = None,
            Err(error) => tracing::debug!(error = %anyhow::Error::new(error), "the Lease"),
        }
        // With the API server away the holder goes on until others may begin.
        self.renewed
            .is_some_and(|renewed| clock::now().since(renewed) < DURATION - INTERVAL)
    }

    async fn try_turn(&mut self, now: Monotonic) -> Result<bool, KubernetesError> {
        let found = call(|| "reading the Lease".into(), self.leases.get_opt(NAME)).await?;
        let Some(mut lease) = found else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(0)),
            };
            let parameters = PostParams::default();
            let made = self.leases.create(&parameters, &lease);
            return self.won(call(|| "making the Lease".into(), made).await);
        };
        let version = lease.metadata.resource_version.clone();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, now));
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        if holder != self.identity && !holder.is_empty() && now.since(since) < DURATION {
            return Ok(false);
        }
        let changes = spec.lease_transitions.unwrap_or_default();
        let is_change = holder != self.identity;
        lease.spec = Some(self.spec(changes + i32::from(is_change)));
        // By the version that was read: of two who try, one succeeds.
        let parameters = PostParams::default();
        let written = self.leases.replace(NAME, &parameters, &lease);
        self.won(call(|| "renewing the Lease".into(), written).await)
    }

    fn won(&self, written: Result<Lease, KubernetesError>) -> Result<bool, KubernetesError> {
        match written {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = time(clock::wall());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: now.clone(),
            acquire_time: now,
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn time(now: WallClock) -> Option<MicroTime> {
    serde_json::from_value(serde_json::json!(now.to_rfc3339())).ok()
}
