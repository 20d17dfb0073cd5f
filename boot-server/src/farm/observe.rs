//! One scan of one chassis: which machine is which, and what is known now.
//!
//! Pure. A machine keeps the name under which it was first known: one that was
//! met through the catch-all pool before its chassis was scanned stays under its
//! dashed MAC and gets its slot, so that a running node never changes its name.
//! The slot is the identity of what a chassis shows; a cartridge that moves
//! takes its MACs along.

use std::collections::{BTreeMap, BTreeSet};

use boot_proto::api::{
    ChassisInventory, ObservedMachine, PowerOrder, PowerOrders, ReportedCondition,
};
use boot_proto::report::MachineFacts;
use boot_proto::resources::ObservedPower;
use boot_proto::time::WallClock;

use super::moves::{self, Shared};
use super::{Change, SEEN_AGAIN, facts, names, reconcile};
use crate::inventory::{Found, Inventory, LearnedMachine, desired_power};
use crate::manifests::Declared;

/// More machines than any chassis holds.
const MAX_IN_CHASSIS: usize = 1024;
const REACHABLE: &str = "Reachable";

type Learned = BTreeMap<String, LearnedMachine>;

/// The changes that one scan of `chassis` brings.
pub(super) fn take_in(
    declared: &Declared,
    learned: &Learned,
    chassis: &str,
    scan: &ChassisInventory,
    now: WallClock,
) -> Vec<Change> {
    let machines = scan
        .machines
        .get(..MAX_IN_CHASSIS)
        .unwrap_or(&scan.machines);
    let mut visit = Visit {
        declared,
        before: learned,
        known: learned.clone(),
        chassis,
        shared: Shared::of(machines),
        complete: scan.complete,
        now,
        placed: BTreeSet::new(),
        emptied: BTreeSet::new(),
    };
    if scan.reachable {
        let seen: BTreeSet<String> = machines
            .iter()
            .filter_map(|observed| visit.take_in(observed, &scan.conditions))
            .collect();
        if scan.complete {
            visit.forget_emptied(&seen);
            visit.mark_missing(&seen);
        }
    } else {
        visit.mark_unreachable(&scan.message);
    }
    difference(learned, visit.known)
}

/// The power wanted of the machines of `chassis` that have a wish; what is ordered
/// to restart a machine comes before it.
pub(super) fn orders(inventory: &Inventory, learned: &Learned, chassis: &str) -> PowerOrders {
    let order = |known: &crate::inventory::Known| {
        if known.spec.chassis.as_deref() != Some(chassis) {
            return None;
        }
        let ordered = learned
            .get(&known.name)
            .and_then(|machine| machine.status.membership.ordered_power);
        let power = ordered.or_else(|| desired_power(known, inventory.pool_of(known)))?;
        let slot = known.spec.slot.clone()?;
        Some(PowerOrder {
            machine: known.name.clone(),
            slot,
            power,
            network_boot: true,
            is_watched: false,
            asked_ms_ago: None,
        })
    };
    PowerOrders {
        orders: inventory.all().filter_map(order).collect(),
    }
}

struct Visit<'a> {
    declared: &'a Declared,
    /// What was known before this scan.
    before: &'a Learned,
    known: Learned,
    chassis: &'a str,
    shared: Shared,
    complete: bool,
    now: WallClock,
    /// Records that were given hardware from another one.
    placed: BTreeSet<String>,
    /// Records whose hardware is in another one now.
    emptied: BTreeSet<String>,
}

impl Visit<'_> {
    /// Takes in one machine and says which it is; `None` where it has no name yet.
    fn take_in(
        &mut self,
        observed: &ObservedMachine,
        conditions: &[ReportedCondition],
    ) -> Option<String> {
        let mut found = self.shared.found(self.chassis, observed);
        let slot_name = names::of_slot(self.chassis, &observed.slot);
        let name = self.name_of(&found, slot_name.as_deref())?;
        self.keep_own_macs(&name, &mut found);
        self.follow(&name, &found);
        self.move_macs(&name, &found);
        let mut record = self
            .known
            .remove(&name)
            .unwrap_or_else(|| LearnedMachine::new(&name, self.now));
        if self.complete {
            self.identify(&mut record, &found, observed);
        }
        record.status.power = observed.power;
        record.status.observed_at = Some(self.now);
        if self.now.since(record.last_seen) >= SEEN_AGAIN {
            record.last_seen = self.now;
        }
        let answer = (REACHABLE, "True", "Scanned", "the chassis shows it");
        facts::set_condition(&mut record.status.conditions, answer, self.now);
        let is_its = |one: &&ReportedCondition| one.slot.as_deref() == Some(&*observed.slot);
        for condition in conditions.iter().filter(is_its) {
            super::chassis::take_in(&mut record.status.conditions, condition, self.now);
        }
        self.known.insert(name.clone(), record);
        Some(name)
    }

    /// Where this hardware was in another place before, what is known of it
    /// comes along.
    fn follow(&mut self, name: &str, found: &Found) {
        if !self.complete {
            return;
        }
        let Some(origin) = moves::origin(self.before, name, found) else {
            return;
        };
        let record = self
            .known
            .entry(name.to_owned())
            .or_insert_with(|| LearnedMachine::new(name, self.now));
        moves::put(record, origin);
        record.found.slot.clone_from(&found.slot);
        record.found.chassis.clone_from(&found.chassis);
        tracing::info!(
            machine = name,
            was = origin.name,
            chassis = self.chassis,
            slot = found.slot.as_ref().map(ToString::to_string),
            "the hardware has moved here"
        );
        self.placed.insert(name.to_owned());
        self.emptied.insert(origin.name.clone());
        // It may have been given other hardware a moment ago: a swap.
        if !self.placed.contains(&origin.name)
            && let Some(other) = self.known.get_mut(&origin.name)
        {
            moves::take_out(other);
        }
    }

    /// What a slot left behind when its hardware moved away is no machine.
    fn forget_emptied(&mut self, seen: &BTreeSet<String>) {
        for name in &self.emptied {
            let is_kept = self.placed.contains(name)
                || seen.contains(name)
                || self.declared.machines.contains_key(name);
            if !is_kept {
                self.known.remove(name);
            }
        }
    }

    /// Which machine this is; records that turn out to be the same one become one.
    fn name_of(&mut self, found: &Found, slot_name: Option<&str>) -> Option<String> {
        let declared = reconcile::declared_as(self.declared, found)
            .or_else(|| slot_name.filter(|name| self.is_declared_by_name_alone(name)));
        if declared.is_none()
            && let Some(name) = self.moved_with_its_name(found)
        {
            return Some(name);
        }
        let mut same: Vec<(WallClock, String)> = self
            .known
            .values()
            .filter(|machine| self.is_same(machine, found, slot_name))
            .map(|machine| (machine.first_seen, machine.name.clone()))
            .collect();
        same.sort();
        let name = match declared {
            Some(name) => name.to_owned(),
            None => match same.first() {
                Some((_, name)) => name.clone(),
                None if self.complete => self.new_name(found, slot_name)?,
                None => return None,
            },
        };
        for (_, other) in same {
            let Some(other) = (other != name).then(|| self.known.remove(&other)).flatten() else {
                continue;
            };
            let mut target = self.known.remove(&name).unwrap_or_else(|| LearnedMachine {
                name: name.clone(),
                ..other.clone()
            });
            tracing::info!(
                machine = name,
                was = other.name,
                chassis = self.chassis,
                "two records are one machine"
            );
            reconcile::merge(&mut target, &other);
            self.known.insert(name.clone(), target);
        }
        Some(name)
    }

    /// A record that its hardware gave the name and that was in another place
    /// before. Whatever was in this place is there no more.
    fn moved_with_its_name(&mut self, found: &Found) -> Option<String> {
        let is_it = |machine: &&LearnedMachine| {
            let is_elsewhere = machine.found.slot.is_some()
                && (machine.found.slot != found.slot || machine.found.chassis != found.chassis);
            is_elsewhere
                && machine.found.shares_mac(&found.macs)
                && !self.declared.machines.contains_key(&machine.name)
                && moves::is_named_by_hardware(machine)
        };
        let name = self.before.values().find(is_it)?.name.clone();
        let is_here = |machine: &&mut LearnedMachine| {
            machine.name != name
                && machine.found.chassis == found.chassis
                && machine.found.slot == found.slot
        };
        for machine in self.known.values_mut().filter(is_here) {
            machine.found.slot = None;
        }
        Some(name)
    }

    /// Whether a found record is the machine seen: it has this slot, or it has no
    /// slot yet and shares a MAC or the UUID.
    fn is_same(&self, machine: &LearnedMachine, found: &Found, slot_name: Option<&str>) -> bool {
        if self.declared.machines.contains_key(&machine.name) {
            return false;
        }
        let here = machine.found.chassis == found.chassis;
        if here && found.slot.is_some() && machine.found.slot == found.slot {
            return true;
        }
        if here && found.slot.is_none() && slot_name == Some(machine.name.as_str()) {
            return true;
        }
        let same_uuid = found.uuid.is_some() && machine.found.uuid == found.uuid;
        machine.found.slot.is_none() && (machine.found.shares_mac(&found.macs) || same_uuid)
    }

    /// A Machine declared with a name and nothing to recognise it by, other than
    /// that its name is the one this slot gives.
    fn is_declared_by_name_alone(&self, name: &str) -> bool {
        self.declared.machines.get(name).is_some_and(|object| {
            let spec = &object.spec;
            spec.macs.is_empty() && spec.uuid.is_none() && spec.slot.is_none()
        })
    }

    fn new_name(&self, found: &Found, slot_name: Option<&str>) -> Option<String> {
        let is_free = |name: &String| {
            !self.declared.machines.contains_key(name) && !self.known.contains_key(name)
        };
        let name = slot_name
            .map(str::to_owned)
            .filter(is_free)
            .or_else(|| names::of_mac(&found.macs).filter(is_free));
        if name.is_none() {
            tracing::warn!(
                chassis = self.chassis,
                slot = slot_name,
                "a machine is left out: its names belong to others"
            );
        }
        name
    }

    /// A MAC that a manifest gives to another machine is not this one's.
    fn keep_own_macs(&self, name: &str, found: &mut Found) {
        found.macs.retain(|mac| {
            let owner = self.declared.machines.values().find(|object| object.spec.macs.contains(mac));
            let is_own = owner.is_none_or(|owner| owner.name() == name);
            if !is_own {
                tracing::warn!(%mac, machine = name, chassis = self.chassis, "the chassis shows a MAC that a manifest gives to another machine");
            }
            is_own
        });
    }

    /// The hardware moved: its MACs leave the record of the slot it was in, and
    /// with the last of them all else that was known of it there.
    fn move_macs(&mut self, name: &str, found: &Found) {
        for other in self.known.values_mut().filter(|other| other.name != name) {
            if !other.found.shares_mac(&found.macs) {
                continue;
            }
            other.found.macs.retain(|mac| !found.macs.contains(mac));
            other.found.shown.retain(|mac| !found.macs.contains(mac));
            other
                .status
                .facts
                .macs
                .retain(|mac| !found.macs.contains(mac));
            if other.found.macs.is_empty() {
                other.found.uuid = None;
                other.status.facts = MachineFacts::default();
            }
        }
    }

    fn identify(&self, record: &mut LearnedMachine, found: &Found, observed: &ObservedMachine) {
        let was_here = record.found.chassis == found.chassis && record.found.slot == found.slot;
        if was_here && moves::is_replaced(&record.found, found) {
            tracing::info!(
                machine = record.name,
                chassis = self.chassis,
                "another machine sits in this slot now"
            );
            moves::take_out(record);
        }
        record.found.add_macs(&found.macs);
        let shown = &mut record.found.shown;
        shown.extend(found.shown.iter().filter(|mac| found.macs.contains(mac)));
        shown.sort_unstable();
        shown.dedup();
        if found.serial.is_some() {
            record.found.serial.clone_from(&found.serial);
        }
        if found.uuid.is_some() {
            record.found.uuid.clone_from(&found.uuid);
        }
        record.found.chassis.clone_from(&found.chassis);
        record.found.slot.clone_from(&found.slot);
        let seen = MachineFacts {
            macs: found.macs.clone(),
            uuid: found.uuid.clone(),
            serial: observed.serial.clone(),
            manufacturer: observed.manufacturer.clone(),
            model: observed.model.clone(),
            ..MachineFacts::default()
        };
        facts::fill(&mut record.status.facts, &seen);
    }

    fn mark_missing(&mut self, seen: &BTreeSet<String>) {
        let missing = (
            REACHABLE,
            "False",
            "NotInScan",
            "the chassis does not show it any more",
        );
        for record in self.known.values_mut() {
            let is_here = record.found.chassis.as_deref() == Some(self.chassis);
            if is_here && !seen.contains(&record.name) {
                record.status.power = ObservedPower::Unknown;
                facts::set_condition(&mut record.status.conditions, missing, self.now);
            }
        }
    }

    fn mark_unreachable(&mut self, message: &str) {
        let mut text: String = message.chars().take(500).collect();
        if text.is_empty() {
            "the chassis does not answer".clone_into(&mut text);
        }
        let unknown = (REACHABLE, "Unknown", "ChassisUnreachable", text.as_str());
        for record in self.known.values_mut() {
            if record.found.chassis.as_deref() == Some(self.chassis) {
                record.status.power = ObservedPower::Unknown;
                facts::set_condition(&mut record.status.conditions, unknown, self.now);
            }
        }
    }
}

/// Whether a change is worth a write: more than that a machine was looked at
/// again. That much is kept in memory, and written every few minutes.
pub(super) fn is_lasting(learned: &Learned, change: &Change) -> bool {
    let Change::Put(machine) = change else {
        return true;
    };
    let Some(before) = learned.get(&machine.name) else {
        return true;
    };
    let mut before = before.clone();
    before.status.observed_at = machine.status.observed_at;
    before != **machine
}

/// Whether a change is one of what identifies machines.
pub(super) fn identifies(learned: &Learned, change: &Change) -> bool {
    match change {
        Change::Delete(_) => true,
        Change::Put(machine) => learned
            .get(&machine.name)
            .is_none_or(|before| before.found != machine.found),
    }
}

fn difference(before: &Learned, after: Learned) -> Vec<Change> {
    let gone = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .cloned();
    let mut changes: Vec<Change> = gone.map(Change::Delete).collect();
    let changed = after
        .into_iter()
        .filter(|(name, machine)| before.get(name) != Some(machine));
    changes.extend(changed.map(|(_, machine)| Change::Put(Box::new(machine))));
    changes
}
