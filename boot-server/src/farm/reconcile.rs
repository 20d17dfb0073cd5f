//! One machine, one record: what was learned under a name of its own moves to
//! the Machine that a manifest has declared since.

use std::collections::BTreeMap;

use boot_proto::uuid;

use super::Change;
use super::facts;
use crate::inventory::{Found, LearnedMachine};
use crate::manifests::Declared;

/// The changes that bring `learned` in line with `declared`.
pub(super) fn adopt(
    declared: &Declared,
    learned: &BTreeMap<String, LearnedMachine>,
) -> Vec<Change> {
    let mut moved: BTreeMap<&str, LearnedMachine> = BTreeMap::new();
    let mut changes = Vec::new();
    for machine in learned.values() {
        if declared.machines.contains_key(&machine.name) {
            continue;
        }
        let Some(name) = declared_as(declared, &machine.found) else {
            continue;
        };
        let target = moved.entry(name).or_insert_with(|| {
            learned
                .get(name)
                .cloned()
                .unwrap_or_else(|| LearnedMachine {
                    name: name.to_owned(),
                    ..machine.clone()
                })
        });
        merge(target, machine);
        changes.push(Change::Delete(machine.name.clone()));
    }
    changes.extend(
        moved
            .into_values()
            .map(|machine| Change::Put(Box::new(machine))),
    );
    changes
}

/// The declared machine that has this slot, else one of these MACs, else this UUID.
pub(super) fn declared_as<'a>(declared: &'a Declared, found: &Found) -> Option<&'a str> {
    let find = |matches: &dyn Fn(&boot_proto::resources::MachineSpec) -> bool| {
        declared
            .machines
            .values()
            .find(|object| matches(&object.spec))
            .map(|object| object.name())
    };
    let has_slot = found.chassis.is_some() && found.slot.is_some();
    let by_slot =
        has_slot.then(|| find(&|spec| spec.chassis == found.chassis && spec.slot == found.slot));
    by_slot
        .flatten()
        .or_else(|| find(&|spec| found.shares_mac(&spec.macs)))
        .or_else(|| {
            let uuid = found.uuid.as_deref().and_then(uuid::usable)?;
            find(&|spec| spec.uuid.as_deref().and_then(uuid::normal).as_ref() == Some(&uuid))
        })
}

/// Adds what `other` knows to `target`, both being the same machine. What
/// changes over time is taken from the one that was seen last.
pub(super) fn merge(target: &mut LearnedMachine, other: &LearnedMachine) {
    target.found.add_macs(&other.found.macs);
    if target.found.uuid.is_none() {
        target.found.uuid.clone_from(&other.found.uuid);
    }
    if target.found.slot.is_none() && other.found.chassis.is_some() {
        target.found.chassis.clone_from(&other.found.chassis);
        target.found.slot.clone_from(&other.found.slot);
    }
    let mut facts = target.status.facts.clone();
    facts::fill(&mut facts, &other.status.facts);
    let (newer, older) = if other.last_seen > target.last_seen {
        (&other.status, &target.status)
    } else {
        (&target.status, &other.status)
    };
    let mut status = newer.clone();
    status.address = newer.address.or(older.address);
    status.image = newer.image.or(older.image);
    status.phase = newer.phase.clone().or_else(|| older.phase.clone());
    status.asked_at = newer.asked_at.max(older.asked_at);
    if status.membership.is_empty() {
        status.membership.clone_from(&older.membership);
    }
    status.observed_at = newer.observed_at.max(older.observed_at);
    if newer.observed_at.is_none() {
        status.power = older.power;
        status.conditions.clone_from(&older.conditions);
    }
    status.facts = facts;
    target.status = status;
    target.first_seen = target.first_seen.min(other.first_seen);
    target.last_seen = target.last_seen.max(other.last_seen);
}
