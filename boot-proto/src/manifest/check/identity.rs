//! What a machine is recognised by: MACs, UUID, chassis and slot.

use std::collections::HashMap;
use std::hash::Hash;

use super::names::{is_dashed_mac, is_slot_name};
use super::{Notes, Read, World};
use crate::manifest::node::{Step, path};
use crate::resources::{Kind, MachineSpec};
use crate::uuid;

const ONE_MACHINE: &str = "it can be recognised as one machine only; take it out of the other";

/// Each machine for itself.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    let chassis = world.names(Kind::Chassis);
    for machine in world.machines() {
        let spec = machine.spec();
        for (at, mac) in spec.macs.iter().enumerate() {
            if !mac.is_usable() {
                let message = format!("{mac} is no address of one NIC");
                notes.add(
                    machine,
                    &path!["spec", "macs", at],
                    message,
                    "write the address on the NIC's label, or leave the entry out",
                );
            }
        }
        check_uuid(notes, machine);
        let is_placed = spec.chassis.is_some() && spec.slot.is_some();
        if spec.slot.is_some() && spec.chassis.is_none() {
            notes.add(
                machine,
                &path!["spec", "slot"],
                "a slot without a chassis says nothing",
                "add chassis:",
            );
        }
        // A name that a slot or MAC gives is enough: what is found gets that name.
        let name = machine.name();
        let is_found_name =
            is_dashed_mac(name) || chassis.iter().any(|chassis| is_slot_name(name, chassis));
        let was_read_whole = machine.document.problems.is_empty();
        if spec.macs.is_empty()
            && spec.uuid.is_none()
            && !is_placed
            && !is_found_name
            && was_read_whole
        {
            let message = "nothing can be recognised as this machine";
            notes.add(
                machine,
                &path!["spec"],
                message,
                "add macs, or uuid, or chassis and slot",
            );
        }
    }
}

fn check_uuid(notes: &mut Notes, machine: Read<'_, MachineSpec>) {
    let Some(text) = &machine.spec().uuid else {
        return;
    };
    let path = path!["spec", "uuid"];
    if uuid::normal(text).is_none() {
        notes.add(
            machine,
            &path,
            format!("{text:?} is not a UUID"),
            "write it as 31393736-3935-584d-5137-343630314d58",
        );
    } else if uuid::is_placeholder(text) {
        let message = format!("{text} is a placeholder that many machines share");
        notes.add(
            machine,
            &path,
            message,
            "leave uuid out and give macs, or chassis and slot",
        );
    }
}

/// MACs, UUIDs and slots that two machines have.
pub(super) fn check_twice(world: &World<'_>, notes: &mut Notes) {
    let mut macs = Claims::new("MAC", ONE_MACHINE);
    let mut uuids = Claims::new("UUID", ONE_MACHINE);
    let mut slots = Claims::new("slot", ONE_MACHINE);
    for machine in world.machines() {
        let spec = machine.spec();
        for (at, mac) in spec
            .macs
            .iter()
            .enumerate()
            .filter(|(_, mac)| mac.is_usable())
        {
            macs.claim(notes, machine, &path!["spec", "macs", at], *mac);
        }
        if let Some(uuid) = spec.uuid.as_deref().and_then(uuid::usable) {
            uuids.claim(notes, machine, &path!["spec", "uuid"], uuid);
        }
        if let (Some(chassis), Some(slot)) = (&spec.chassis, &spec.slot) {
            slots.claim(
                notes,
                machine,
                &path!["spec", "slot"],
                format!("{chassis}/{slot}"),
            );
        }
    }
}

/// Things that may be given once.
pub(super) struct Claims<'h, K> {
    what: &'static str,
    hint: &'h str,
    first: HashMap<K, (String, String)>,
}

impl<'h, K: Hash + Eq + std::fmt::Display> Claims<'h, K> {
    pub fn new(what: &'static str, hint: &'h str) -> Self {
        Self {
            what,
            hint,
            first: HashMap::new(),
        }
    }

    /// Notes a mistake where `key` was claimed before. What was made up for a
    /// missing field claims nothing.
    pub fn claim<S>(&mut self, notes: &mut Notes, read: Read<'_, S>, path: &[Step<'_>], key: K) {
        if !read.is_sound(path) {
            return;
        }
        let label = read.document.label().unwrap_or_default();
        match self.first.get(&key) {
            None => drop(self.first.insert(key, (label, read.line(path)))),
            Some((other, line)) => {
                let whose = if *other == label {
                    "here already".to_owned()
                } else {
                    format!("to {other} already")
                };
                let message = format!("{} {key} is given {whose}, at {line}", self.what);
                notes.add(read, path, message, self.hint);
            }
        }
    }
}
