//! `boot-server adopt --kubernetes`: what an operator would write into a Machine.

use boot_proto::kubernetes::plural;
use boot_proto::kubernetes::status::MachineStatus;
use boot_proto::resources::{API_VERSION, Kind, MachineSpec};
use boot_proto::time::WallClock;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube_access::AccessError;
use serde_json::{Value, json};

use super::api::ApiServer;
use super::machines::learned;
use super::mirror::declaration;

/// Field manager of what `adopt` writes.
const MANAGER: &str = "moonfarm-adopt";

impl ApiServer {
    /// Lays `spec` over that of a Machine that is there, where `pool` is there.
    ///
    /// # Errors
    /// When there is no such Machine or pool, or the API server refuses.
    pub async fn adopt(&self, machine: &str, pool: &str, spec: &Value) -> Result<(), AccessError> {
        self.look_for(Kind::NodePool, pool).await?;
        self.look_for(Kind::Machine, machine).await?;
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

    /// By what a machine is recognised that nobody declared; `None` where somebody
    /// did.
    ///
    /// # Errors
    /// When there is no such Machine, or the API server refuses.
    pub async fn found(&self, machine: &str) -> Result<Option<MachineSpec>, AccessError> {
        let object = self.look_for(Kind::Machine, machine).await?;
        Ok(recognised_by(machine, &object))
    }

    /// Declares a Machine that is not there, where `pool` is there. boot-server
    /// brings what it knows of the machine into the new object and deletes the
    /// one that it was found as.
    ///
    /// # Errors
    /// When there is no such pool, there is one of that name, or the API server
    /// refuses.
    pub async fn declare(&self, pool: &str, machine: Value) -> Result<(), AccessError> {
        self.look_for(Kind::NodePool, pool).await?;
        let wrong = |source| AccessError::Call {
            doing: "writing a Machine".to_owned(),
            source: Box::new(kube::Error::SerdeError(source)),
        };
        let object: DynamicObject = serde_json::from_value(machine).map_err(wrong)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let objects = self.objects(Kind::Machine.name(), plural(Kind::Machine));
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let call = objects.create(&parameters, &object);
        self.call(|| format!("creating Machine {name}"), call)
            .await
            .map(drop)
    }

    async fn look_for(&self, kind: Kind, name: &str) -> Result<DynamicObject, AccessError> {
        let objects = self.objects(kind.name(), plural(kind));
        let call = objects.get(name);
        self.call(|| format!("looking for {kind} {name}"), call)
            .await
    }
}

/// What identifies a machine by its object; `None` where that declares it.
fn recognised_by(machine: &str, object: &DynamicObject) -> Option<MachineSpec> {
    if declaration(Kind::Machine, object).is_some() {
        return None;
    }
    let status = object.data.get("status").cloned().unwrap_or(json!({}));
    let status: MachineStatus = serde_json::from_value(status).unwrap_or_default();
    let found = learned(machine, &status, WallClock(0)).found;
    Some(MachineSpec {
        chassis: found.chassis,
        slot: found.slot,
        macs: found.macs,
        uuid: found.uuid,
        ..MachineSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::kubernetes::FOUND_LABEL;

    #[test]
    fn a_found_machine_is_recognised_by_what_was_seen() {
        let mut object = json!({
            "metadata": {"name": "m1-c7n1", "labels": {FOUND_LABEL: "true"}},
            "spec": {},
            "status": {
                "observed": {"chassis": "m1", "slot": "c7n1", "macs": ["02:00:00:00:00:01"]},
                "met": {"macs": ["02:00:00:00:00:02"]},
            },
        });
        let read = |object: &Value| {
            let object = serde_json::from_value(object.clone()).unwrap();
            recognised_by("m1-c7n1", &object)
        };
        let spec = read(&object).unwrap();
        assert_eq!(spec.chassis.as_deref(), Some("m1"));
        assert_eq!(spec.slot, "c7n1".parse().ok());
        assert_eq!(spec.macs.len(), 2);
        object["spec"] = json!({"pool": "workers"});
        assert_eq!(read(&object), None);
    }
}
