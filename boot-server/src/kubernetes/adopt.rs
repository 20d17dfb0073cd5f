//! `boot-server adopt --kubernetes`: what an operator would write into a Machine.

use boot_proto::kubernetes::plural;
use boot_proto::resources::{API_VERSION, Kind};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::KubernetesError;
use super::api::ApiServer;

/// Field manager of what `adopt` writes.
const MANAGER: &str = "moonfarm-adopt";

impl ApiServer {
    /// Lays `spec` over that of a Machine that is there, where `pool` is there.
    ///
    /// # Errors
    /// When there is no such Machine or pool, or the API server refuses.
    pub async fn adopt(
        &self,
        machine: &str,
        pool: &str,
        spec: &Value,
    ) -> Result<(), KubernetesError> {
        for (kind, name) in [(Kind::NodePool, pool), (Kind::Machine, machine)] {
            let objects = self.objects(kind.name(), plural(kind));
            let call = objects.get(name);
            self.call(|| format!("looking for {kind} {name}"), call)
                .await?;
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": Kind::Machine.name(),
            "metadata": {"name": machine},
            "spec": spec,
        });
        let objects = self.objects(Kind::Machine.name(), plural(Kind::Machine));
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let call = objects.patch(machine, &parameters, &patch);
        self.call(|| format!("giving Machine {machine} to pool {pool}"), call)
            .await
            .map(drop)
    }
}
