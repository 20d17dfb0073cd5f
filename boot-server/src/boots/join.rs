//! One boot from several NICs: firmware asks from the first, the loader goes on
//! from the second, and the node reports from a bond.
//!
//! The machine tells which boot it is: its name, where the inventory knows it (by
//! a MAC, or by the SMBIOS UUID of option 97 where no manifest lists its MACs).
//! Of machines that nobody knows the UUID alone tells. Anybody can claim one, so
//! that it joins a stranger's request to a stranger's boot that it fits into, and
//! touches no boot of a machine that is known.

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use super::book::{Book, SILENCE, starts_anew};
use super::record::{Boot, Stage};
use crate::events::Firmware;

/// NICs of one boot but for the first.
const MAX_MACS: usize = 16;

/// What a request tells of its machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub uuid: Option<String>,
    pub machine: Option<String>,
}

impl Book {
    /// Joins a NIC whose firmware or loader asks to the boot of its machine.
    pub(super) fn join_by_firmware(
        &mut self,
        now: WallClock,
        mac: MacAddr,
        firmware: Firmware,
        who: &Who,
    ) {
        let by_name = || self.by_machine.get(who.machine.as_ref()?);
        let by_uuid = || self.by_uuid.get(who.uuid.as_ref()?);
        let boot = match &who.machine {
            Some(_) => by_name().and_then(|id| self.boot(*id)),
            // Two strangers; what is known goes by its name alone.
            None => by_uuid()
                .and_then(|id| self.boot(*id))
                .filter(|boot| boot.known_as.is_none()),
        };
        let joined = boot.filter(|boot| !starts_anew(boot, now, firmware));
        if let Some(id) = joined.map(|boot| boot.view.id) {
            self.join(now, id, mac);
        }
    }

    /// Joins a NIC to the boot of the machine that is known to be at it, if that
    /// boot is not further than `stage`.
    pub(super) fn join_by_machine(
        &mut self,
        now: WallClock,
        mac: MacAddr,
        machine: &str,
        stage: Stage,
    ) {
        let boot = self.by_machine.get(machine).and_then(|id| self.boot(*id));
        let fits = |boot: &&Boot| {
            let is_before = boot.stage() <= stage
                || matches!((boot.stage(), stage), (Stage::Node(_), Stage::Node(_)));
            boot.is_running() && is_before && now.since(boot.view.updated) <= SILENCE
        };
        if let Some(id) = boot.filter(fits).map(|boot| boot.view.id) {
            self.join(now, id, mac);
        }
    }

    fn join(&mut self, now: WallClock, id: u64, mac: MacAddr) {
        // A NIC with a running boot of its own stays with that.
        let is_busy = self.latest(mac).is_some_and(Boot::is_running);
        let Some(boot) = self.boot_mut(id) else {
            return;
        };
        let is_known = boot.view.mac == Some(mac) || boot.more_macs.contains(&mac);
        if is_known || is_busy || boot.more_macs.len() >= MAX_MACS {
            return;
        }
        boot.more_macs.push(mac);
        let step = boot.view.phase.clone();
        boot.step(now, &step, &format!("goes on from {mac}"));
        self.add_mac(id, mac);
    }

    pub(super) fn remember_machine(&mut self, boot: &Boot) {
        let names = [&boot.view.machine, &boot.known_as];
        for name in names.into_iter().flatten() {
            self.by_machine.insert(name.clone(), boot.view.id);
        }
        if let Some(uuid) = &boot.uuid {
            self.by_uuid.insert(uuid.clone(), boot.view.id);
        }
    }

    pub(super) fn remember_machine_of(&mut self, id: u64) {
        if let Some(boot) = self.boot(id).cloned() {
            self.remember_machine(&boot);
        }
    }

    pub(super) fn forget_machine(&mut self, boot: &Boot) {
        let id = boot.view.id;
        let names = [&boot.view.machine, &boot.known_as];
        for name in names.into_iter().flatten() {
            if self.by_machine.get(name) == Some(&id) {
                self.by_machine.remove(name);
            }
        }
        if let Some(uuid) = &boot.uuid
            && self.by_uuid.get(uuid) == Some(&id)
        {
            self.by_uuid.remove(uuid);
        }
    }
}

#[cfg(test)]
mod tests;
