//! Between what is learned of a machine and the status of its object. Pure.

use boot_proto::api::condition;
use boot_proto::kubernetes::status::{Condition, MachineStatus, Met, Timestamp};
use boot_proto::report::MachineFacts;
use boot_proto::resources::{Condition as LearnedCondition, ObservedPower};
use boot_proto::time::WallClock;
use serde_json::{Value, json};

use crate::farm::MOVING;
use crate::inventory::{Found, LearnedMachine};

/// What the object of a machine says was learned; times are whole seconds.
#[must_use]
pub fn learned(name: &str, status: &MachineStatus, created: WallClock) -> LearnedMachine {
    let observed = status.observed.clone().unwrap_or_default();
    let met = status.met.clone().unwrap_or_default();
    let mut found = Found {
        chassis: observed.chassis.clone(),
        slot: observed.slot.clone(),
        macs: Vec::new(),
        uuid: met.uuid.clone().or_else(|| observed.uuid.clone()),
        serial: observed.serial.clone(),
        shown: observed.macs.clone(),
    };
    found.add_macs(&observed.macs);
    found.add_macs(&met.macs);
    let mut facts = status.facts.clone().unwrap_or_default();
    fill(&mut facts.uuid, &observed.uuid);
    fill(&mut facts.serial, &observed.serial);
    fill(&mut facts.manufacturer, &observed.manufacturer);
    fill(&mut facts.model, &observed.model);
    facts.macs.extend(observed.macs.iter().copied());
    facts.macs.sort_unstable();
    facts.macs.dedup();
    let time = |at: Option<Timestamp>| at.map(|at| at.0);
    LearnedMachine {
        name: name.to_owned(),
        found,
        first_seen: time(met.first_seen).unwrap_or(created),
        last_seen: time(met.last_seen)
            .or(time(status.observed_at))
            .unwrap_or(created),
        status: boot_proto::resources::MachineStatus {
            power: status.power.unwrap_or(ObservedPower::Unknown),
            observed_at: time(status.observed_at),
            facts,
            address: status.address,
            phase: status.phase.clone(),
            image: status.image,
            asked_at: time(status.asked_at),
            membership: status.membership.clone().unwrap_or_default(),
            conditions: status
                .conditions
                .iter()
                .map(LearnedCondition::from)
                .collect(),
        },
    }
}

fn fill(known: &mut Option<String>, more: &Option<String>) {
    if known.is_none() {
        known.clone_from(more);
    }
}

/// What boot-server writes of a machine: never what chassis-agent does.
#[must_use]
pub fn written(machine: &LearnedMachine, pool: Option<&str>, hostname: Option<&str>) -> Value {
    let status = &machine.status;
    let facts = Some(&status.facts).filter(|facts| **facts != MachineFacts::default());
    let is_met = !machine.found.macs.is_empty() || machine.found.uuid.is_some();
    let met = is_met.then(|| Met {
        macs: machine.found.macs.clone(),
        uuid: machine.found.uuid.clone(),
        first_seen: Some(Timestamp(machine.first_seen)),
        last_seen: Some(Timestamp(machine.last_seen)),
    });
    let own = MachineStatus {
        pool: pool.map(str::to_owned),
        hostname: hostname.map(str::to_owned),
        address: status.address,
        phase: status.phase.clone(),
        image: status.image,
        asked_at: status.asked_at.map(Timestamp),
        met,
        facts: facts.cloned(),
        conditions: own_conditions(&status.conditions),
        ..MachineStatus::default()
    };
    json!(own)
}

/// Conditions of types that chassis-agent writes stay its own.
fn own_conditions(conditions: &[LearnedCondition]) -> Vec<Condition> {
    conditions
        .iter()
        .filter(|condition| !is_foreign(&condition.r#type))
        .map(Condition::from)
        .collect()
}

/// Whether others write conditions of that type: chassis-agent, and the verdict
/// on the declaration and a move have field managers of their own.
#[must_use]
pub fn is_foreign(about: &str) -> bool {
    [ACCEPTED, MOVING].contains(&about) || condition::OF_MACHINES.contains(&about)
}

/// Type of the condition that says whether an object is used as it is.
pub const ACCEPTED: &str = "Accepted";

/// Whether what is to be written says more than what is there. What was only
/// seen again a moment later is not worth a write.
#[must_use]
pub fn is_news(wanted: &Value, there: &Value) -> bool {
    let comparable = |status: &Value| {
        let mut status = status.clone();
        if let Some(met) = status.get_mut("met").and_then(Value::as_object_mut) {
            met.remove("lastSeen");
            met.remove("firstSeen");
        }
        status
    };
    let (wanted, there) = (comparable(wanted), comparable(there));
    let Some(wanted) = wanted.as_object() else {
        return false;
    };
    let has_lost_its_pool = wanted.get("pool").is_none() && there.get("pool").is_some();
    has_lost_its_pool
        || wanted.iter().any(|(key, value)| match key.as_str() {
            "conditions" => !holds_all(&there[key], value),
            _ => there.get(key) != Some(value),
        })
}

fn holds_all(there: &Value, wanted: &Value) -> bool {
    let there = there.as_array().map(Vec::as_slice).unwrap_or_default();
    wanted
        .as_array()
        .is_none_or(|wanted| wanted.iter().all(|condition| there.contains(condition)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::ids::MacAddr;
    use boot_proto::kubernetes::status::Observed;

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn what_is_learned_survives_the_way_there_and_back() {
        let mut machine = LearnedMachine::new("02-00-00-00-00-01", WallClock(5_000));
        machine.found.add_macs(&[mac(1)]);
        machine.found.uuid = Some("31393736-3935-584d-5137-343630314d58".into());
        machine.status.phase = Some("image".into());
        machine.status.address = Some([10, 0, 0, 5].into());
        machine.status.facts.cpus = 8;
        let status = written(&machine, Some("newcomers"), Some("n1"));
        assert_eq!(status["pool"], "newcomers");
        let read: MachineStatus = serde_json::from_value(status.clone()).unwrap();
        let back = learned(&machine.name, &read, WallClock(0));
        assert_eq!(back, machine);
        assert!(!is_news(&status, &status));
    }

    #[test]
    fn what_a_chassis_shows_and_what_was_met_are_one_machine() {
        let status = MachineStatus {
            power: Some(ObservedPower::On),
            observed: Some(Observed {
                chassis: Some("m1".into()),
                slot: "c1n1".parse().ok(),
                macs: vec![mac(1), mac(2)],
                ..Observed::default()
            }),
            met: Some(Met {
                macs: vec![mac(2), mac(3)],
                ..Met::default()
            }),
            ..MachineStatus::default()
        };
        let machine = learned("m1-c1n1", &status, WallClock(7));
        assert_eq!(machine.found.macs, [mac(1), mac(2), mac(3)]);
        assert_eq!(machine.first_seen, WallClock(7));
        let own = written(&machine, None, None);
        assert!(own.get("power").is_none() && own.get("observed").is_none());
    }

    #[test]
    fn being_seen_again_is_no_news() {
        let mut machine = LearnedMachine::new("a", WallClock(5_000));
        machine.found.add_macs(&[mac(1)]);
        let there = written(&machine, None, None);
        machine.last_seen = WallClock(900_000);
        assert!(!is_news(&written(&machine, None, None), &there));
        machine.status.phase = Some("ready".into());
        assert!(is_news(&written(&machine, None, None), &there));
    }
}
