//! Which agent works, where several run: the one that holds the Lease
//! (`coordination.k8s.io/v1`). A BMC must be asked by one alone.

use std::time::Duration;

use boot_proto::time::{Monotonic, WallClock};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube_access::AccessError;

use super::api::{Cluster, call};
use crate::clock;

/// Name of the Lease.
const NAME: &str = "moonfarm-chassis-agent";
/// How long a holder that is silent keeps it.
const DURATION: Duration = Duration::from_secs(30);
/// How often the holder renews.
const RENEWAL: Duration = Duration::from_secs(8);
/// How often the others look, so that one takes over soon after the holder has
/// let go.
const LOOK: Duration = Duration::from_secs(2);

/// One agent among several.
pub struct Leader {
    leases: Api<Lease>,
    identity: String,
    /// The Lease as it was last seen, and since when by our own clock: another
    /// machine's clock decides nothing.
    seen: Option<(Option<String>, Monotonic)>,
    renewed: Option<Monotonic>,
    looked: Option<Monotonic>,
    standing: Standing,
}

/// How a candidate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It holds the Lease and works.
    Works,
    /// Another one holds it.
    Waits {
        /// Who does.
        holder: String,
        /// How long we wait for a sign of the holder's, in seconds.
        patience_secs: u64,
    },
    /// The API server has not said who holds it.
    #[default]
    Unknown,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Works => write!(f, "this agent holds the Lease {NAME}"),
            Self::Waits {
                holder,
                patience_secs,
            } => write!(
                f,
                "{holder} holds the Lease {NAME} and looks after the Chassis; this agent waits \
                 and takes over when it lets go or has not renewed for {patience_secs} s"
            ),
            Self::Unknown => write!(
                f,
                "the API server does not say who holds the Lease {NAME}; this agent waits"
            ),
        }
    }
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
            looked: None,
            standing: Standing::default(),
        }
    }

    /// Takes or renews the Lease where that may be and is due. Says how we stand.
    pub async fn turn(&mut self) -> &Standing {
        let now = clock::now();
        let pause = match self.standing {
            Standing::Works => RENEWAL,
            _ => LOOK,
        };
        if self.looked.is_some_and(|at| now.since(at) < pause) {
            return &self.standing;
        }
        self.looked = Some(now);
        let standing = match self.try_turn(now).await {
            Ok(standing) => {
                self.renewed = (standing == Standing::Works).then_some(now);
                standing
            }
            Err(error) => {
                tracing::debug!(error = %anyhow::Error::new(error), "the Lease");
                self.without_an_answer(clock::now())
            }
        };
        self.standing = standing;
        &self.standing
    }

    /// With the API server away the holder goes on until others may begin.
    fn without_an_answer(&self, now: Monotonic) -> Standing {
        let may_go_on = |renewed| now.since(renewed) < DURATION - RENEWAL;
        match self.renewed.is_some_and(may_go_on) {
            true => Standing::Works,
            false => Standing::Unknown,
        }
    }

    /// Lets go of the Lease, so that the next one need not wait until it runs
    /// out. Nothing of ours may be under way any more.
    pub async fn release(&mut self) {
        if self.renewed.take().is_none() {
            return;
        }
        self.standing = Standing::Unknown;
        match self.try_release().await {
            Ok(true) => tracing::info!(lease = NAME, "let go"),
            Ok(false) => {}
            Err(error) => {
                let error = anyhow::Error::new(error);
                let wait_secs = DURATION.as_secs();
                tracing::warn!(%error, wait_secs, "the Lease runs out by itself");
            }
        }
    }

    async fn try_release(&self) -> Result<bool, AccessError> {
        let found = call(|| "reading the Lease".into(), self.leases.get_opt(NAME)).await?;
        let Some(mut lease) = found else {
            return Ok(false);
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(false);
        }
        spec.holder_identity = None;
        let parameters = PostParams::default();
        let written = self.leases.replace(NAME, &parameters, &lease);
        let written = call(|| "letting go of the Lease".into(), written).await;
        Ok(self.won(written)? == Standing::Works)
    }

    async fn try_turn(&mut self, now: Monotonic) -> Result<Standing, AccessError> {
        let found = call(|| "reading the Lease".into(), self.leases.get_opt(NAME)).await?;
        let Some(mut lease) = found else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(&LeaseSpec::default())),
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
        let silent = now.since(self.seen.as_ref().map_or(now, |(_, since)| *since));
        if holder != self.identity && !holder.is_empty() && silent < DURATION {
            return Ok(Standing::Waits {
                holder: holder.to_owned(),
                patience_secs: DURATION.as_secs(),
            });
        }
        lease.spec = Some(self.spec(&spec));
        // By the version that was read: of two who try, one succeeds.
        let parameters = PostParams::default();
        let written = self.leases.replace(NAME, &parameters, &lease);
        self.won(call(|| "renewing the Lease".into(), written).await)
    }

    fn won(&self, written: Result<Lease, AccessError>) -> Result<Standing, AccessError> {
        match written {
            Ok(_) => Ok(Standing::Works),
            Err(error) if error.status() == Some(409) => Ok(Standing::Unknown),
            Err(error) => Err(error),
        }
    }

    /// The Lease as ours, after `before`.
    fn spec(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = time(clock::wall());
        let was_ours = before.holder_identity.as_ref() == Some(&self.identity);
        let (acquired, transitions) = match was_ours {
            true => (before.acquire_time.clone(), before.lease_transitions),
            false => {
                let before = before.lease_transitions.map(|many| many.saturating_add(1));
                (now.clone(), before.or(Some(0)))
            }
        };
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: now,
            acquire_time: acquired,
            lease_transitions: transitions,
            ..LeaseSpec::default()
        }
    }
}

fn time(now: WallClock) -> Option<MicroTime> {
    serde_json::from_value(serde_json::json!(now.to_rfc3339())).ok()
}
