//! Hardware that moves: a cartridge that was put into another slot, two that
//! were swapped, a board that was replaced. Pure.
//!
//! A record that a slot gave its name stays with the slot; what is known of the
//! hardware goes from record to record. One that the hardware gave its name (the
//! dashed MAC) goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use boot_proto::api::ObservedMachine;
use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;
use boot_proto::resources::Membership;
use boot_proto::slot::Slot;
use boot_proto::uuid;

use super::names;
use crate::inventory::{Found, LearnedMachine};

/// What identifies one machine of a scan, without what several of them show:
/// that identifies none.
#[derive(Debug, Default)]
pub(super) struct Shared {
    macs: BTreeSet<MacAddr>,
    uuids: BTreeSet<String>,
    serials: BTreeSet<String>,
}

impl Shared {
    /// Looks for what several machines of a scan show.
    pub fn of(machines: &[ObservedMachine]) -> Self {
        let macs = machines.iter().flat_map(|machine| {
            let own: BTreeSet<MacAddr> = machine.macs.iter().copied().collect();
            own
        });
        let uuids = machines
            .iter()
            .filter_map(|machine| uuid::usable(machine.uuid.as_deref()?));
        let serials = machines.iter().filter_map(serial_of);
        Self {
            macs: twice(macs),
            uuids: twice(uuids),
            serials: twice(serials),
        }
    }

    /// What identifies `observed`.
    pub fn found(&self, chassis: &str, observed: &ObservedMachine) -> Found {
        let mut found = Found {
            chassis: Some(chassis.to_owned()),
            slot: observed.slot.parse().ok(),
            uuid: observed.uuid.as_deref().and_then(uuid::usable),
            serial: serial_of(observed),
            ..Found::default()
        };
        found.add_macs(&observed.macs);
        found.macs.retain(|mac| !self.macs.contains(mac));
        found.uuid = found.uuid.filter(|uuid| !self.uuids.contains(uuid));
        found.serial = found.serial.filter(|serial| !self.serials.contains(serial));
        found.shown.clone_from(&found.macs);
        found
    }
}

fn twice<T: Ord + Hash + Clone>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| !seen.insert(one.clone())).collect()
}

/// The serial number as far as it tells one machine: the nodes of a cartridge
/// have one serial number and go by their number in it.
fn serial_of(observed: &ObservedMachine) -> Option<String> {
    /// What firmware has in place of a number.
    const PLACEHOLDERS: [&str; 12] = [
        "none",
        "n/a",
        "na",
        "null",
        "unknown",
        "default string",
        "not specified",
        "not available",
        "not applicable",
        "system serial number",
        "to be filled by o.e.m.",
        "0123456789",
    ];
    let serial = observed.serial.as_deref()?.trim().to_ascii_lowercase();
    let is_filler = serial
        .bytes()
        .all(|b| matches!(b, b'0' | b'x' | b'.' | b'-' | b' '));
    if serial.len() > 128 || is_filler || PLACEHOLDERS.contains(&serial.as_str()) {
        return None;
    }
    let node = observed
        .slot
        .parse::<Slot>()
        .ok()
        .and_then(|slot| slot.node());
    Some(node.map_or(serial.clone(), |node| format!("{serial}/{}", node.node())))
}

/// Whether the record's name comes from the hardware, not from where it is.
pub(super) fn is_named_by_hardware(machine: &LearnedMachine) -> bool {
    let (Some(chassis), Some(slot)) = (&machine.found.chassis, &machine.found.slot) else {
        return true;
    };
    names::of_slot(chassis, slot.as_str()).as_deref() != Some(machine.name.as_str())
}

/// The record that had this hardware before, where that is another one than
/// `name`: by MAC, else by a serial number that one record alone has.
pub(super) fn origin<'a>(
    before: &'a BTreeMap<String, LearnedMachine>,
    name: &str,
    found: &Found,
) -> Option<&'a LearnedMachine> {
    let own = before.get(name).map(|machine| &machine.found);
    let is_known_here =
        own.is_some_and(|own| own.shares_mac(&found.macs) || has_same_serial(own, found));
    if is_known_here {
        return None;
    }
    let mut others = before.values().filter(|machine| machine.name != name);
    let by_mac = others
        .clone()
        .find(|machine| machine.found.shares_mac(&found.macs));
    by_mac.or_else(|| {
        // MACs that belong to another serial number tell it is not the same.
        let is_it = |machine: &&LearnedMachine| {
            let has_other_macs = !found.macs.is_empty() && !machine.found.shown.is_empty();
            has_same_serial(&machine.found, found) && !has_other_macs
        };
        let first = others.find(is_it)?;
        others.all(|machine| !is_it(&machine)).then_some(first)
    })
}

fn has_same_serial(one: &Found, other: &Found) -> bool {
    one.serial.is_some() && one.serial == other.serial
}

/// Whether what sits in a slot now is other hardware than before. Fewer MACs say
/// nothing: managers lose them while a node is off or starting.
pub(super) fn is_replaced(before: &Found, now: &Found) -> bool {
    let same_uuid = before.uuid.is_some() && before.uuid == now.uuid;
    if same_uuid || before.shares_mac(&now.macs) {
        return false;
    }
    let other_macs = !now.macs.is_empty() && !before.shown.is_empty();
    let other_serial =
        before.serial.is_some() && now.serial.is_some() && before.serial != now.serial;
    other_macs || other_serial
}

/// Puts the hardware of `origin` into `record`: what identifies it and what is
/// known of it, but not where it is, nor the power and conditions of the place.
pub(super) fn put(record: &mut LearnedMachine, origin: &LearnedMachine) {
    record.found.macs.clone_from(&origin.found.macs);
    record.found.shown.clone_from(&origin.found.shown);
    record.found.uuid.clone_from(&origin.found.uuid);
    record.found.serial.clone_from(&origin.found.serial);
    record.status.facts.clone_from(&origin.status.facts);
    record.status.address = origin.status.address;
    record.status.phase.clone_from(&origin.status.phase);
    record.status.image = origin.status.image;
    record.status.asked_at = origin.status.asked_at;
    record
        .status
        .membership
        .clone_from(&origin.status.membership);
}

/// Takes the hardware out of a record.
pub(super) fn take_out(record: &mut LearnedMachine) {
    record.found = Found {
        chassis: record.found.chassis.take(),
        slot: record.found.slot.take(),
        ..Found::default()
    };
    record.status.facts = MachineFacts::default();
    record.status.address = None;
    record.status.phase = None;
    record.status.image = None;
    record.status.asked_at = None;
    record.status.membership = Membership::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(slot: &str, serial: &str) -> ObservedMachine {
        ObservedMachine {
            slot: slot.into(),
            serial: Some(serial.into()),
            ..ObservedMachine::default()
        }
    }

    #[test]
    fn serial_numbers_that_tell_a_machine() {
        for (slot, serial, expected) in [
            ("c1n2", "CZ0001", Some("cz0001/2")),
            ("1", " CZ0001 ", Some("cz0001")),
            ("1", "", None),
            ("1", "To be filled by O.E.M.", None),
            ("1", "0000000000", None),
            ("1", "N/A", None),
        ] {
            assert_eq!(
                serial_of(&observed(slot, serial)).as_deref(),
                expected,
                "{serial}"
            );
        }
    }

    #[test]
    fn what_two_machines_show_identifies_neither() {
        let mac: MacAddr = "94:57:a5:00:00:01".parse().unwrap();
        let machine = |slot: &str| ObservedMachine {
            macs: vec![mac],
            uuid: Some("31393736-3935-584d-5137-343630314d58".into()),
            ..observed(slot, "same")
        };
        let scan = [machine("1"), machine("2")];
        let found = Shared::of(&scan).found("m1", &scan[0]);
        assert_eq!(
            (found.macs.len(), found.uuid, found.serial),
            (0, None, None)
        );
        let alone = Shared::of(&scan[..1]).found("m1", &scan[0]);
        assert_eq!(
            (alone.macs.len(), alone.serial.as_deref()),
            (1, Some("same"))
        );
    }
}
