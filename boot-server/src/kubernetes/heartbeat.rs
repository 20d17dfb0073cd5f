//! The sign that a boot-server hears requests and has written all it heard: a
//! Lease that is renewed. chassis-agent cuts the power of a machine whose request
//! does not come, and must not do so where nobody would have told it.

use std::time::Duration;

use boot_proto::kubernetes::BOOT_SERVER_LEASE;
use boot_proto::time::WallClock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::json;

use super::MANAGER;
use super::api::ApiServer;
use super::outbox::Outbox;
use crate::clock;

/// How often it is renewed.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long it says it holds.
const DURATION_SECS: i32 = 30;

/// Renews the Lease while nothing waits to be written, until cancelled.
pub async fn run(api: ApiServer, outbox: Outbox) {
    let leases: Api<Lease> = Api::namespaced(api.client.clone(), &api.namespace);
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut complaint = String::new();
    loop {
        ticks.tick().await;
        if api.is_away() || !outbox.is_empty() {
            continue;
        }
        let lease = lease(&api.server, clock::wall());
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&lease);
        let written = leases.patch(BOOT_SERVER_LEASE, &parameters, &patch);
        match api.call(|| "renewing the Lease".to_owned(), written).await {
            Ok(_) => complaint.clear(),
            Err(error) => {
                let text = crate::images::chain(&error);
                if text != complaint {
                    tracing::warn!(
                        lease = BOOT_SERVER_LEASE,
                        error = text,
                        "chassis-agent cannot tell whether machines ask for a boot"
                    );
                    complaint = text;
                }
            }
        }
    }
}

fn lease(server: &str, now: WallClock) -> Lease {
    // The API server takes this time with six digits after the point alone,
    // which is how its type is written.
    let renew_time = serde_json::from_value::<MicroTime>(json!(now.to_rfc3339())).ok();
    Lease {
        metadata: ObjectMeta {
            name: Some(BOOT_SERVER_LEASE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(server.to_owned()),
            lease_duration_seconds: Some(DURATION_SECS),
            renew_time,
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_time_is_written_as_the_api_server_takes_it() {
        let lease = json!(lease("rack-1", WallClock(1_700_000_000_000)));
        assert_eq!(lease["kind"], "Lease");
        assert_eq!(lease["spec"]["holderIdentity"], "rack-1");
        assert_eq!(lease["spec"]["renewTime"], "2023-11-14T22:13:20.000000Z");
    }
}
