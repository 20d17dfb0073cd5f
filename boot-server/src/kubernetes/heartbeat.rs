//! The sign that a boot-server hears requests and has written all it heard: a
//! Lease that is renewed. chassis-agent cuts the power of a machine whose request
//! does not come, and must not do so where nobody would have told it.

use std::time::Duration;

use boot_proto::kubernetes::BOOT_SERVER_LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::MANAGER;
use super::api::ApiServer;
use super::outbox::Outbox;
use crate::clock;

/// How often it is renewed.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long it says it holds.
const DURATION_SECS: u32 = 30;

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
        let lease = lease(&api.server, &clock::wall().to_rfc3339());
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

fn lease(server: &str, now: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": BOOT_SERVER_LEASE},
        "spec": {
            "holderIdentity": server,
            "leaseDurationSeconds": DURATION_SECS,
            "renewTime": now,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_lease() {
        let lease: Lease = serde_json::from_value(lease("rack-1", "2023-11-14T22:13:20Z")).unwrap();
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("rack-1"));
        assert!(spec.renew_time.is_some());
    }
}
