//! What is seen goes to the API server, what is wanted comes from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use boot_proto::api::{ChassisInventory, PowerOrders};
use boot_proto::kubernetes::FOUND_LABEL;
use boot_proto::kubernetes::status::{ChassisStatus, Condition, Timestamp};
use boot_proto::resources::{API_VERSION, Kind, NodePoolSpec};
use boot_proto::time::WallClock;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::Store;
use serde_json::{Value, json};

use super::api::{Cluster, KubernetesError, call};
use super::dhcp_hosts;
use super::machines::{Known, Machines, Write, news, orders};
use crate::clock;
use crate::publish::{Answer, Publish, PublishError};

/// Field manager of what chassis-agent writes.
const MANAGER: &str = "moonfarm-chassis-agent";
/// How old `lastSeen` of a Chassis may get while nothing else changes.
const SEEN_AGAIN_MS: u64 = 15 * 60 * 1000;

/// Machines as `Machine`s.
pub struct MachinesSink {
    cluster: Cluster,
    recorder: Recorder,
}

impl MachinesSink {
    /// On a cluster that is watched.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        let reporter = Reporter {
            controller: "moonfarm-chassis-agent".into(),
            instance: None,
        };
        let recorder = Recorder::new(cluster.client.clone(), reporter);
        Self { cluster, recorder }
    }

    fn machines(&self) -> Machines {
        let read = |object: Arc<DynamicObject>| {
            let labels = object.metadata.labels.as_ref();
            let spec = part(&object, "spec");
            let is_declared = spec.as_object().is_some_and(|spec| !spec.is_empty());
            let known = Known {
                is_found: labels.is_some_and(|labels| labels.contains_key(FOUND_LABEL))
                    && !is_declared,
                spec: serde_json::from_value(spec).ok()?,
                status: serde_json::from_value(part(&object, "status")).unwrap_or_default(),
            };
            Some((object.metadata.name.clone()?, known))
        };
        let objects = self.cluster.machines.state();
        objects.into_iter().filter_map(read).collect()
    }

    async fn report_all(
        &self,
        chassis: &str,
        seen: &ChassisInventory,
    ) -> Result<PowerOrders, KubernetesError> {
        let now = clock::wall();
        let mut machines = self.machines();
        for write in news(chassis, seen, &machines, now) {
            self.write(&write).await?;
            self.tell(&write, machines.get(&write.name)).await;
            // The watch shows it a moment later.
            let known = machines.entry(write.name.clone()).or_insert_with(|| Known {
                is_found: true,
                ..Known::default()
            });
            known.status.power = write.status.power;
            known.status.observed.clone_from(&write.status.observed);
        }
        self.say_of_chassis(chassis, seen, now).await?;
        let object = find(&self.cluster.chassis, chassis);
        let pool = object.and_then(|object| {
            let pool = object.data.get("spec")?.get("pool")?.as_str()?;
            Some(pool.to_owned())
        });
        let pools: BTreeMap<String, NodePoolSpec> = self
            .cluster
            .pools
            .state()
            .into_iter()
            .filter_map(|object| {
                let spec = serde_json::from_value(part(&object, "spec")).ok()?;
                Some((object.metadata.name.clone()?, spec))
            })
            .collect();
        Ok(orders(chassis, pool.as_deref(), &machines, &pools))
    }

    async fn write(&self, write: &Write) -> Result<(), KubernetesError> {
        let api = self.cluster.objects(Kind::Machine);
        let name = &write.name;
        let parameters = PatchParams::apply(MANAGER).force();
        if write.is_new {
            let object = json!({
                "apiVersion": API_VERSION,
                "kind": "Machine",
                "metadata": {"name": name, "labels": {FOUND_LABEL: "true"}},
                "spec": {},
            });
            let patch = Patch::Apply(&object);
            call(
                || format!("making Machine {name}"),
                api.patch(name, &parameters, &patch),
            )
            .await?;
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "Machine",
            "metadata": {"name": name},
            "status": write.status,
        });
        let patch = Patch::Apply(&object);
        let written = api.patch_status(name, &parameters, &patch);
        call(|| format!("writing the status of Machine {name}"), written)
            .await
            .map(drop)
    }

    /// One Event for each change that matters.
    async fn tell(&self, write: &Write, before: Option<&Known>) {
        let power = write.status.power.unwrap_or_default();
        let condition = write.status.conditions.first();
        let (reason, note) = match before {
            None => ("Found", "found in its chassis".to_owned()),
            Some(before) if before.status.power != write.status.power => {
                ("PowerChanged", format!("power is {power}"))
            }
            Some(_) => match condition {
                Some(condition) => (condition.reason.as_str(), condition.message.clone()),
                None => return,
            },
        };
        let is_bad = condition.is_some_and(|condition| condition.status != "True");
        self.event(Kind::Machine, &write.name, reason, &note, is_bad)
            .await;
    }

    async fn event(&self, kind: Kind, name: &str, reason: &str, note: &str, is_bad: bool) {
        let event = Event {
            type_: if is_bad {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_owned(),
            note: Some(note.chars().take(250).collect()),
            action: "Observe".to_owned(),
            secondary: None,
        };
        let store = match kind {
            Kind::Chassis => &self.cluster.chassis,
            _ => &self.cluster.machines,
        };
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(kind.name().to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.cluster.namespace.to_string()),
            uid: find(store, name).and_then(|object| object.metadata.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::debug!(name, reason, %error, "an Event is lost");
        }
    }

    async fn say_of_chassis(
        &self,
        chassis: &str,
        seen: &ChassisInventory,
        now: WallClock,
    ) -> Result<(), KubernetesError> {
        let Some(object) = find(&self.cluster.chassis, chassis) else {
            return Ok(());
        };
        let before: ChassisStatus =
            serde_json::from_value(part(&object, "status")).unwrap_or_default();
        let Some(status) = chassis_status(&before, seen, now) else {
            return Ok(());
        };
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "Chassis",
            "metadata": {"name": chassis},
            "status": status,
        });
        let (api, patch) = (self.cluster.objects(Kind::Chassis), Patch::Apply(&object));
        let parameters = PatchParams::apply(MANAGER).force();
        let written = api.patch_status(chassis, &parameters, &patch);
        call(
            || format!("writing the status of Chassis {chassis}"),
            written,
        )
        .await?;
        let reachable = |status: &ChassisStatus| {
            let mut all = status.conditions.iter();
            all.find(|condition| condition.r#type == "Reachable")
                .map(|condition| condition.status.clone())
        };
        if reachable(&before) != reachable(&status)
            && let Some(condition) = status.conditions.first()
        {
            let is_bad = condition.status != "True";
            let (reason, message) = (&condition.reason, &condition.message);
            self.event(Kind::Chassis, chassis, reason, message, is_bad)
                .await;
        }
        Ok(())
    }
}

/// What is to be said of a chassis, where it is anything new. Pure.
fn chassis_status(
    before: &ChassisStatus,
    seen: &ChassisInventory,
    now: WallClock,
) -> Option<ChassisStatus> {
    let (status, reason, message) = if seen.reachable {
        ("True", "Scanned", seen.message.clone())
    } else {
        ("False", "Unreachable", seen.message.clone())
    };
    let there = before
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Reachable");
    let since = there
        .filter(|there| there.status == status)
        .map_or(Timestamp(now), |there| there.last_transition_time);
    let condition = Condition {
        r#type: "Reachable".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(500).collect(),
        last_transition_time: since,
        observed_generation: None,
    };
    let machines = if seen.reachable {
        u32::try_from(seen.machines.len()).ok()
    } else {
        before.machines
    };
    let age = before
        .last_seen
        .map_or(u64::MAX, |at| now.0.saturating_sub(at.0.0));
    let last_seen = if seen.reachable && age >= SEEN_AGAIN_MS {
        Some(Timestamp(now))
    } else {
        before.last_seen
    };
    let is_news =
        there != Some(&condition) || machines != before.machines || last_seen != before.last_seen;
    is_news.then_some(ChassisStatus {
        last_seen,
        machines,
        conditions: vec![condition],
    })
}

impl Publish for MachinesSink {
    fn report<'a>(&'a self, chassis: &'a str, seen: &'a ChassisInventory) -> Answer<'a> {
        Box::pin(async move {
            self.report_all(chassis, seen)
                .await
                .map_err(PublishError::Kubernetes)
        })
    }
}

/// Machines as hosts of dnsmasq-controller's `DhcpHosts`; nothing is ordered.
pub struct DhcpHostsSink {
    cluster: Cluster,
    written: Mutex<HashMap<String, Value>>,
}

impl DhcpHostsSink {
    /// On a cluster that is watched.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            written: Mutex::default(),
        }
    }

    async fn write(&self, chassis: &str, object: Value) -> Result<(), KubernetesError> {
        let is_there = |written: &HashMap<String, Value>| written.get(chassis) == Some(&object);
        if is_there(&self.written.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let of = GroupVersionKind::gvk(dhcp_hosts::GROUP, dhcp_hosts::VERSION, dhcp_hosts::KIND);
        let resource = ApiResource::from_gvk_with_plural(&of, dhcp_hosts::PLURAL);
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.cluster.client.clone(),
            &self.cluster.namespace,
            &resource,
        );
        let (parameters, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&object));
        let written = api.patch(chassis, &parameters, &patch);
        call(|| format!("writing DhcpHosts {chassis}"), written).await?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(chassis.to_owned(), object);
        Ok(())
    }
}

impl Publish for DhcpHostsSink {
    fn report<'a>(&'a self, chassis: &'a str, seen: &'a ChassisInventory) -> Answer<'a> {
        Box::pin(async move {
            // A chassis that is away, or shows power alone, says nothing of hosts.
            if seen.reachable && seen.complete {
                self.write(chassis, dhcp_hosts::object(chassis, seen))
                    .await
                    .map_err(PublishError::Kubernetes)?;
            }
            Ok(PowerOrders::default())
        })
    }
}

fn find(store: &Store<DynamicObject>, name: &str) -> Option<Arc<DynamicObject>> {
    store.find(|object| object.metadata.name.as_deref() == Some(name))
}

fn part(object: &DynamicObject, name: &str) -> Value {
    object.data.get(name).cloned().unwrap_or(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chassis_that_goes_on_as_it_is_costs_nothing() {
        let now = WallClock(1_700_000_000_000);
        let seen = ChassisInventory {
            reachable: true,
            complete: true,
            ..ChassisInventory::default()
        };
        let first = chassis_status(&ChassisStatus::default(), &seen, now).unwrap();
        let soon = WallClock(now.0 + 60_000);
        assert_eq!(chassis_status(&first, &seen, soon), None);
        let later = WallClock(now.0 + SEEN_AGAIN_MS);
        assert_eq!(
            chassis_status(&first, &seen, later).unwrap().last_seen,
            Some(Timestamp(later))
        );
        let away = ChassisInventory {
            message: "no answer".into(),
            ..ChassisInventory::default()
        };
        let told = chassis_status(&first, &away, soon).unwrap();
        assert_eq!(told.conditions[0].message, "no answer");
        assert_eq!(told.machines, first.machines);
        assert_eq!(chassis_status(&told, &away, later), None);
    }
}
