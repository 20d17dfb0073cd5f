//! Laying facts that were learned over those that are known.

use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;
use boot_proto::resources::Condition;
use boot_proto::time::WallClock;
use boot_proto::uuid;

use crate::inventory::{Inventory, LearnedMachine};

/// Takes in what a machine said of itself. It knows itself best: what it says
/// replaces what a chassis manager said, what it leaves out stays.
pub(super) fn learn(record: &mut LearnedMachine, facts: &MachineFacts, inventory: &Inventory) {
    let is_own = |mac: &&MacAddr| match inventory.machine_of_mac(**mac) {
        Some(owner) if owner != record.name => {
            tracing::warn!(%mac, machine = record.name, owner, "a machine reports a MAC that is another machine's; it stays there");
            false
        }
        _ => mac.is_usable(),
    };
    let macs: Vec<MacAddr> = facts.macs.iter().filter(is_own).copied().collect();
    record.found.add_macs(&macs);
    let uuid = facts.uuid.as_deref().and_then(uuid::usable);
    if uuid.is_some() {
        record.found.uuid.clone_from(&uuid);
    }
    let known = &mut record.status.facts;
    add_macs(known, &macs);
    replace(&mut known.uuid, &uuid);
    replace(&mut known.serial, &facts.serial);
    replace(&mut known.manufacturer, &facts.manufacturer);
    replace(&mut known.model, &facts.model);
    if facts.cpus != 0 {
        known.cpus = facts.cpus;
    }
    if facts.memory_bytes != 0 {
        known.memory_bytes = facts.memory_bytes;
    }
}

fn replace(known: &mut Option<String>, learned: &Option<String>) {
    if learned.as_ref().is_some_and(|text| !text.trim().is_empty()) {
        known.clone_from(learned);
    }
}

/// Fills in what is not known yet: a chassis manager knows less of a machine
/// than the machine itself, and the two would otherwise overwrite each other
/// with their spellings of a model.
pub(super) fn fill(known: &mut MachineFacts, more: &MachineFacts) {
    add_macs(known, &more.macs);
    for (known, more) in [
        (&mut known.uuid, &more.uuid),
        (&mut known.serial, &more.serial),
        (&mut known.manufacturer, &more.manufacturer),
        (&mut known.model, &more.model),
    ] {
        if known.is_none() {
            replace(known, more);
        }
    }
    if known.cpus == 0 {
        known.cpus = more.cpus;
    }
    if known.memory_bytes == 0 {
        known.memory_bytes = more.memory_bytes;
    }
}

fn add_macs(known: &mut MachineFacts, macs: &[MacAddr]) {
    known.macs.extend(macs.iter().filter(|mac| mac.is_usable()));
    known.macs.sort_unstable();
    known.macs.dedup();
}

/// Sets a condition. Its transition time moves only when the status does.
pub(super) fn set_condition(
    conditions: &mut Vec<Condition>,
    wanted: (&str, &str, &str, &str),
    now: WallClock,
) {
    let (about, status, reason, message) = wanted;
    let mut condition = Condition {
        r#type: about.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
    };
    match conditions.iter_mut().find(|known| known.r#type == about) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time;
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}
