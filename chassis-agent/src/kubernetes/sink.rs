//! What is seen goes to the API server, what is wanted comes from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_proto::api::condition::REACHABLE;
use boot_proto::api::{ChassisInventory, PowerOrders};
use boot_proto::kubernetes::status::{ChassisStatus, Condition, Timestamp};
use boot_proto::kubernetes::{BOOT_SERVER_LEASE, FOUND_LABEL};
use boot_proto::resources::{API_VERSION, Kind, NodePoolSpec, ObservedPower};
use boot_proto::time::{Monotonic, WallClock};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube_access::AccessError;
use serde_json::{Value, json};

use super::api::{Cluster, call};
use super::conditions::{are_news, brought_up_to_date, turned};
use super::dhcp_hosts;
use super::machines::{Known, Machines, Write, news, orders};
use super::registry::Registry;
use super::requests::{Requests, Sign, tell_who_asked};
use crate::clock;
use crate::publish::{Answer, Publish, PublishError};

/// Field manager of what chassis-agent writes.
const MANAGER: &str = "moonfarm-chassis-agent";
/// How old `lastSeen` of a Chassis may get while nothing else changes.
const SEEN_AGAIN_MS: u64 = 15 * 60 * 1000;
/// How often the sign of a boot-server is looked for.
const LOOK_FOR_THE_SIGN: Duration = Duration::from_secs(10);
/// Types of conditions of a Chassis that we find.
const OF_CHASSIS: [&str; 4] = [REACHABLE, "Ready", "InventoryComplete", "OrdersObeyed"];

/// Machines as `Machine`s.
pub struct MachinesSink {
    cluster: Cluster,
    recorder: Recorder,
    registry: Mutex<Registry>,
    heard: Mutex<Heard>,
}

/// What is known of boot-servers and what they hear.
#[derive(Default)]
struct Heard {
    requests: Requests,
    sign: Sign,
    looked: Option<Monotonic>,
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
        Self {
            cluster,
            recorder,
            registry: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// The Machines that a look at `chassis` can be about.
    fn machines(&self, chassis: &str, seen: &ChassisInventory) -> Machines {
        let objects = self.cluster.machines.state();
        let registry = self.registry.lock();
        let mut registry = registry.unwrap_or_else(PoisonError::into_inner);
        registry.update(objects);
        registry.about(chassis, &seen.machines)
    }

    async fn report_all(
        &self,
        chassis: &str,
        seen: &ChassisInventory,
    ) -> Result<PowerOrders, AccessError> {
        let now = clock::wall();
        let mut machines = self.machines(chassis, seen);
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
        let mut orders = self.wanted(chassis, &machines);
        self.look_for_the_sign().await;
        let Heard { requests, sign, .. } = &mut *self.heard();
        let clocks = (clock::now(), now);
        tell_who_asked(&mut orders.orders, &machines, requests, sign, clocks);
        Ok(orders)
    }

    /// The power that is wanted of the machines of `chassis`.
    fn wanted(&self, chassis: &str, machines: &Machines) -> PowerOrders {
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
        orders(chassis, pool.as_deref(), machines, &pools)
    }

    /// Reads, every few seconds, whether a boot-server is there that would tell of
    /// requests.
    async fn look_for_the_sign(&self) {
        let now = clock::now();
        {
            let mut heard = self.heard();
            let is_due = |at: Monotonic| now.since(at) >= LOOK_FOR_THE_SIGN;
            if !heard.looked.is_none_or(is_due) {
                return;
            }
            heard.looked = Some(now);
        }
        let cluster = &self.cluster;
        let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let found = leases.get_opt(BOOT_SERVER_LEASE);
        // Without an answer it is as if there were none.
        let lease = match call(|| "reading boot-server's Lease".into(), found).await {
            Ok(lease) => lease,
            Err(error) => {
                let error = anyhow::Error::new(error);
                return tracing::debug!(%error, "whether a boot-server is there");
            }
        };
        let renewed = lease.and_then(|lease| lease.metadata.resource_version);
        self.heard().sign.look(renewed, clock::now());
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, write: &Write) -> Result<(), AccessError> {
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
        let Some(before) = before else {
            let note = "found in its chassis";
            return self
                .event(Kind::Machine, &write.name, "Found", note, false)
                .await;
        };
        let power = write.status.power.unwrap_or_default();
        if before.status.power != Some(power) && power != ObservedPower::Unknown {
            let note = format!("power is {power}");
            self.event(Kind::Machine, &write.name, "PowerChanged", &note, false)
                .await;
        }
        for condition in turned(&before.status.conditions, &write.status.conditions) {
            self.tell_of(Kind::Machine, &write.name, condition).await;
        }
    }

    /// An Event of a condition that has turned. That something is not known yet
    /// is no warning, but for what was known before.
    async fn tell_of(&self, kind: Kind, name: &str, condition: &Condition) {
        let is_bad = match condition.status.as_str() {
            "True" => false,
            "False" => true,
            _ => condition.r#type == REACHABLE,
        };
        let about = &condition.r#type;
        let note = match condition.message.as_str() {
            "" => format!("{about} is {}", condition.status),
            message => format!("{about}: {message}"),
        };
        self.event(kind, name, &condition.reason, &note, is_bad)
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
    ) -> Result<(), AccessError> {
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
        for condition in turned(&before.conditions, &status.conditions) {
            self.tell_of(Kind::Chassis, chassis, condition).await;
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
    let spoken = seen.conditions.iter().filter(|one| one.slot.is_none());
    let conditions = brought_up_to_date(&before.conditions, &OF_CHASSIS, spoken, now);
    let machines = if seen.reachable && seen.complete {
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
    let profile = seen.profile.clone().or_else(|| before.profile.clone());
    let is_news = are_news(&conditions, &before.conditions)
        || machines != before.machines
        || profile != before.profile
        || last_seen != before.last_seen;
    is_news.then_some(ChassisStatus {
        last_seen,
        machines,
        profile,
        conditions,
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

    async fn write(&self, chassis: &str, object: Value) -> Result<(), AccessError> {
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

/// A part of an object; an empty one where it has none.
pub(super) fn part(object: &DynamicObject, name: &str) -> Value {
    object.data.get(name).cloned().unwrap_or(json!({}))
}

#[cfg(test)]
mod tests {
    use super::super::conditions::tests::found;
    use super::*;

    #[test]
    fn a_chassis_that_goes_on_as_it_is_costs_nothing() {
        let now = WallClock(1_700_000_000_000);
        let seen = ChassisInventory {
            reachable: true,
            complete: true,
            profile: Some("hpe-moonshot-1500".into()),
            conditions: vec![
                found(REACHABLE, "True", ""),
                found("Ready", "True", ""),
                found("InventoryComplete", "False", "no MAC is shown of c1n1"),
                found("OrdersObeyed", "True", ""),
            ],
            ..ChassisInventory::default()
        };
        let first = chassis_status(&ChassisStatus::default(), &seen, now).unwrap();
        assert_eq!(first.conditions.len(), 4);
        assert_eq!(first.profile.as_deref(), Some("hpe-moonshot-1500"));
        let soon = WallClock(now.0 + 60_000);
        assert_eq!(chassis_status(&first, &seen, soon), None);
        let later = WallClock(now.0 + SEEN_AGAIN_MS);
        assert_eq!(
            chassis_status(&first, &seen, later).unwrap().last_seen,
            Some(Timestamp(later))
        );
        let away = ChassisInventory {
            conditions: vec![found(REACHABLE, "False", "no answer")],
            ..ChassisInventory::default()
        };
        let told = chassis_status(&first, &away, soon).unwrap();
        assert_eq!(told.conditions[0].message, "no answer");
        assert_eq!(told.conditions[2], first.conditions[2]);
        assert_eq!(told.machines, first.machines);
        assert_eq!(chassis_status(&told, &away, later), None);
    }
}
