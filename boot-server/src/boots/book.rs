//! The boot log's decisions: which boot an event belongs to, when a new one
//! begins, when one counts as failed. Pure: time comes in with each call.
//! Boots that go on from another NIC are in `join.rs`, files that went out in
//! `sent.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::report::{Phase, PhaseTime};
use boot_proto::time::WallClock;

use super::join::Who;
use super::record::{Boot, HANDED_OVER, READY, RUNNING, Stage};
use super::{Given, Script};
use crate::events::{BootEvent, Firmware};

/// Boots kept of one MAC.
const KEPT_PER_MAC: usize = 20;
/// Boots kept in all.
const KEPT: usize = 10_000;
/// A boot that is not ready and has not moved for this long has failed.
pub(super) const SILENCE: Duration = Duration::from_secs(600);
/// A firmware that asks anew after this long has started again.
const IDLE: Duration = Duration::from_secs(120);

/// All boots, and what has to be written.
#[derive(Debug, Default)]
pub(super) struct Book {
    boots: BTreeMap<u64, Boot>,
    by_mac: HashMap<MacAddr, VecDeque<u64>>,
    pub(super) by_address: HashMap<Ipv4Addr, MacAddr>,
    /// The latest boot of each machine, by name and by UUID.
    pub(super) by_machine: HashMap<String, u64>,
    pub(super) by_uuid: HashMap<String, u64>,
    changed: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

impl Book {
    pub fn new(records: Vec<Boot>) -> Self {
        let mut book = Self::default();
        for boot in records {
            let Some(mac) = boot.view.mac else { continue };
            if let Some(address) = boot.view.address {
                book.by_address.insert(address, mac);
            }
            for mac in boot.more_macs.iter().chain([&mac]) {
                book.by_mac.entry(*mac).or_default().push_back(boot.view.id);
            }
            book.remember_machine(&boot);
            book.boots.insert(boot.view.id, boot);
        }
        book
    }

    pub fn boots(&self) -> impl Iterator<Item = &Boot> {
        self.boots.values()
    }

    pub fn latest(&self, mac: MacAddr) -> Option<&Boot> {
        self.boots.get(self.by_mac.get(&mac)?.back()?)
    }

    /// The boots of a MAC, the latest first.
    pub(super) fn ids_of(&self, mac: MacAddr) -> Vec<u64> {
        self.by_mac
            .get(&mac)
            .map(|ids| ids.iter().rev().copied().collect())
            .unwrap_or_default()
    }

    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.gone.is_empty()
    }

    /// What to write and what to delete.
    pub fn take_changes(&mut self) -> (Vec<Boot>, Vec<u64>) {
        let changed = std::mem::take(&mut self.changed);
        let changed = changed
            .iter()
            .filter_map(|id| self.boots.get(id).cloned())
            .collect();
        (
            changed,
            std::mem::take(&mut self.gone).into_iter().collect(),
        )
    }

    /// Takes back what could not be written.
    pub fn give_back(&mut self, changed: &[Boot], gone: Vec<u64>) {
        self.changed.extend(changed.iter().map(|boot| boot.view.id));
        self.gone.extend(gone);
    }

    pub fn event(&mut self, now: WallClock, event: BootEvent) {
        match event {
            BootEvent::Offered {
                mac,
                address,
                firmware,
                uuid,
                machine,
                boot_file,
            } => {
                let message = match (address, boot_file) {
                    (Some(address), Ok(file)) => format!("offered {address} and {file}"),
                    (Some(address), Err(why)) => {
                        format!("offered {address} and nothing to boot: {why}")
                    }
                    (None, Ok(file)) => format!("offered {file}"),
                    (None, Err(why)) => format!("offered nothing to boot: {why}"),
                };
                let who = Who { uuid, machine };
                self.dhcp_of(now, mac, address, firmware, &message, who);
            }
            BootEvent::AgentAsked { mac, machine } => {
                self.agent_asked(now, mac, machine.as_deref())
            }
            BootEvent::Unanswered {
                mac,
                firmware,
                reason,
            } => {
                let message = format!("gets no answer: {reason}");
                self.dhcp(now, mac, None, firmware, &message);
                let latest = self.by_mac.get(&mac).and_then(VecDeque::back).copied();
                let boot = latest.and_then(|id| self.boots.get_mut(&id));
                if let Some(boot) = boot.filter(|boot| boot.stage() == Stage::Dhcp) {
                    boot.view.reason = Some(reason);
                }
            }
            BootEvent::Acknowledged {
                mac,
                address,
                firmware,
            } => {
                let message = format!("acknowledged {address}");
                self.dhcp(now, mac, Some(address), firmware, &message);
            }
            BootEvent::File {
                address,
                path,
                bytes,
                error,
            } => match error {
                None => {
                    let message = format!("{path} sent, {bytes} bytes");
                    self.at_address(now, address, Some(Stage::Loader), &message);
                }
                // Firmware also breaks off a transfer once it knows the size.
                // It counts as a reason only until the boot gets further.
                Some(error) => {
                    let message = format!("{path}: {error} after {bytes} bytes");
                    if let Some(boot) = self.at_address(now, address, None, &message)
                        && boot.stage() <= Stage::Loader
                    {
                        boot.view.reason = Some(message);
                    }
                }
            },
        }
    }

    fn dhcp(
        &mut self,
        now: WallClock,
        mac: MacAddr,
        address: Option<Ipv4Addr>,
        firmware: Firmware,
        message: &str,
    ) {
        self.dhcp_of(now, mac, address, firmware, message, Who::default());
    }

    fn dhcp_of(
        &mut self,
        now: WallClock,
        mac: MacAddr,
        address: Option<Ipv4Addr>,
        firmware: Firmware,
        message: &str,
        who: Who,
    ) {
        if let Some(address) = address {
            self.by_address.insert(address, mac);
        }
        if firmware != Firmware::Other {
            self.join_by_firmware(now, mac, firmware, &who);
        }
        let starts_anew = match self.latest(mac) {
            // A running operating system that renews its lease is no boot.
            None => firmware != Firmware::Other,
            Some(boot) => starts_anew(boot, now, firmware),
        };
        let id = if starts_anew {
            self.begin(now, mac, address)
        } else {
            match self.latest(mac) {
                Some(boot) => boot.view.id,
                None => return,
            }
        };
        let Some(boot) = self.boots.get_mut(&id) else {
            return;
        };
        if address.is_some() && boot.view.address != address {
            boot.view.address = address;
            self.changed.insert(id);
        }
        if firmware == Firmware::Other {
            return;
        }
        if boot.view.firmware.is_none() {
            boot.view.firmware = firmware_name(firmware).map(str::to_owned);
        }
        let loader = if firmware == Firmware::Ipxe {
            "iPXE"
        } else {
            "firmware"
        };
        boot.asked = now;
        boot.uuid = boot.uuid.take().or(who.uuid);
        boot.known_as = who.machine.or(boot.known_as.take());
        boot.reach(now, Stage::Dhcp);
        boot.step(now, Stage::Dhcp.name(), &format!("{loader} {message}"));
        self.changed.insert(id);
        self.remember_machine_of(id);
    }

    pub fn script(&mut self, now: WallClock, script: &Script<'_>) {
        self.by_address.insert(script.address, script.mac);
        // Without a firmware's DHCP before it (foreign DHCP server, iPXE from a
        // disk) the script is the first that is seen of a boot.
        if self.latest(script.mac).is_some_and(Boot::is_settled) {
            let message = "a script was asked for without DHCP before; this is no new boot";
            return self.note(now, script.mac, Stage::Script.name(), message);
        }
        self.join_by_machine(now, script.mac, script.machine, Stage::Script);
        let is_new = self.latest(script.mac).is_none_or(|boot| {
            !boot.is_running()
                || boot.stage() > Stage::Script
                || now.since(boot.view.updated) > SILENCE
        });
        let id = match self.latest(script.mac) {
            Some(boot) if !is_new => boot.view.id,
            _ => self.begin(now, script.mac, Some(script.address)),
        };
        let Some(boot) = self.boots.get_mut(&id) else {
            return;
        };
        boot.view.machine = Some(script.machine.to_owned());
        boot.view.address = Some(script.address);
        if boot.view.firmware.is_none() {
            boot.view.firmware = script.firmware.map(str::to_owned);
        }
        boot.asked = now;
        boot.reach(now, Stage::Script);
        match &script.given {
            Given::Image(digest) => {
                boot.view.image = Some(*digest);
                boot.view.reason = None;
                boot.step(
                    now,
                    Stage::Script.name(),
                    &format!("script for image {}", digest.short()),
                );
            }
            Given::Profile(profile) => {
                boot.view.reason = None;
                let message = format!("script of MatchboxProfile {profile}");
                boot.step(now, Stage::Script.name(), &message);
            }
            Given::Nothing(reason) => {
                boot.view.reason = Some(reason.clone());
                boot.step(now, Stage::Script.name(), reason);
            }
        }
        self.changed.insert(id);
        self.remember_machine_of(id);
    }

    pub fn note(&mut self, now: WallClock, mac: MacAddr, step: &str, message: &str) {
        let Some(id) = self.latest(mac).map(|boot| boot.view.id) else {
            return;
        };
        if let Some(boot) = self.boots.get_mut(&id) {
            boot.view.updated = now;
            boot.step(now, step, message);
            self.changed.insert(id);
        }
    }

    pub fn handed_over(&mut self, now: WallClock, mac: MacAddr, message: &str) {
        self.note(now, mac, Stage::Script.name(), message);
        let Some(id) = self.latest(mac).map(|boot| boot.view.id) else {
            return;
        };
        if let Some(boot) = self.boots.get_mut(&id)
            && boot.view.outcome == RUNNING
        {
            boot.view.outcome = HANDED_OVER.into();
            boot.view.reason = None;
        }
    }

    pub fn ready(&mut self, now: WallClock, id: u64, message: &str) {
        let Some(boot) = self.boots.get_mut(&id) else {
            return;
        };
        if boot.view.outcome == READY {
            return;
        }
        let last_end = boot
            .view
            .phases
            .iter()
            .map(|time| time.started_ms.saturating_add(time.elapsed_ms))
            .max();
        if let (Some(kernel), Some(started_ms)) = (boot.kernel_started, last_end) {
            let since_kernel = u64::try_from(now.since(kernel).as_millis()).unwrap_or(u64::MAX);
            let elapsed_ms = since_kernel.saturating_sub(started_ms);
            boot.view.phases.retain(|time| time.phase != Phase::Ready);
            boot.view.phases.push(PhaseTime {
                phase: Phase::Ready,
                started_ms,
                elapsed_ms,
            });
        }
        boot.reach(now, Stage::Node(Phase::Ready));
        boot.view.outcome = READY.into();
        boot.view.reason = None;
        boot.view.log = None;
        boot.view.percent = None;
        boot.step(now, Phase::Ready.name(), message);
        self.changed.insert(id);
    }

    pub fn stuck(&mut self, now: WallClock, id: u64, reason: &str) {
        let Some(boot) = self.boots.get_mut(&id) else {
            return;
        };
        if boot.view.reason.as_deref() == Some(reason) && !boot.is_running() {
            return;
        }
        boot.view.updated = now;
        boot.fail(reason);
        let step = boot.view.phase.clone();
        boot.step(now, &step, reason);
        self.changed.insert(id);
    }

    /// Marks boots that have gone silent.
    pub fn expire(&mut self, now: WallClock) {
        let silent: Vec<u64> = self
            .by_mac
            .values()
            .filter_map(|ids| self.boots.get(ids.back()?))
            .filter(|boot| boot.is_running() && now.since(boot.view.updated) > SILENCE)
            .map(|boot| boot.view.id)
            .collect();
        for id in silent {
            let Some(boot) = self.boots.get_mut(&id) else {
                continue;
            };
            let silence = format!("no sign of life since {}", boot.view.phase);
            let reason = match &boot.view.reason {
                Some(reason) => format!("{reason}; {silence}"),
                None => silence,
            };
            boot.fail(&reason);
            let step = boot.view.phase.clone();
            boot.step(now, &step, &reason);
            self.changed.insert(id);
        }
    }

    pub(super) fn begin(&mut self, now: WallClock, mac: MacAddr, address: Option<Ipv4Addr>) -> u64 {
        if let Some(boot) = self
            .by_mac
            .get(&mac)
            .and_then(|ids| self.boots.get_mut(ids.back()?))
            .filter(|boot| boot.is_running())
        {
            let phase = &boot.view.phase;
            let reason = boot.view.reason.clone();
            let reason = reason
                .unwrap_or_else(|| format!("started again after {phase} without being ready"));
            boot.fail(&reason);
            self.changed.insert(boot.view.id);
        }
        let machine = self.latest(mac).and_then(|boot| boot.view.machine.clone());
        let id = self
            .boots
            .last_key_value()
            .map_or(1, |(id, _)| id.saturating_add(1));
        let mut boot = Boot::begin(id, now, mac, address);
        boot.view.machine = machine;
        debug_assert_eq!(boot.view.outcome, RUNNING);
        self.boots.insert(id, boot);
        self.by_mac.entry(mac).or_default().push_back(id);
        self.changed.insert(id);
        self.forget_old(mac);
        id
    }

    fn forget_old(&mut self, mac: MacAddr) {
        while let Some(ids) = self.by_mac.get(&mac).filter(|ids| ids.len() > KEPT_PER_MAC) {
            let Some(oldest) = ids.front().copied() else {
                break;
            };
            self.forget(oldest);
        }
        while self.boots.len() > KEPT {
            let Some((oldest, _)) = self.boots.first_key_value() else {
                break;
            };
            self.forget(*oldest);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(boot) = self.boots.remove(&id) else {
            return;
        };
        self.changed.remove(&id);
        self.gone.insert(id);
        self.forget_machine(&boot);
        for mac in boot.more_macs.into_iter().chain(boot.view.mac) {
            if let Some(ids) = self.by_mac.get_mut(&mac) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_mac.remove(&mac);
                    self.by_address.retain(|_, other| *other != mac);
                }
            }
        }
    }

    /// Takes down that a boot is that NIC's too.
    pub(super) fn add_mac(&mut self, id: u64, mac: MacAddr) {
        self.by_mac.entry(mac).or_default().push_back(id);
        self.changed.insert(id);
    }

    pub(super) fn boot_mut(&mut self, id: u64) -> Option<&mut Boot> {
        self.boots.get_mut(&id)
    }

    pub(super) fn boot(&self, id: u64) -> Option<&Boot> {
        self.boots.get(&id)
    }

    pub(super) fn mark(&mut self, id: u64) {
        self.changed.insert(id);
    }

    /// Whether a boot is under way at an address.
    pub fn has_boot_at(&self, address: Ipv4Addr) -> bool {
        let mac = self.by_address.get(&address);
        mac.and_then(|mac| self.latest(*mac))
            .is_some_and(Boot::is_running)
    }

    /// An address that somebody else gave, of a machine that was met.
    pub fn found_at(&mut self, address: Ipv4Addr, mac: MacAddr) {
        if self.latest(mac).is_some_and(Boot::is_running) {
            self.by_address.insert(address, mac);
        }
    }

    pub(super) fn seen_at(&mut self, address: Ipv4Addr, mac: MacAddr) {
        self.by_address.insert(address, mac);
    }
}

/// Whether DHCP from this firmware means that the machine has started again.
pub(super) fn starts_anew(boot: &Boot, now: WallClock, firmware: Firmware) -> bool {
    let idle = now.since(boot.view.updated);
    match firmware {
        Firmware::Other => false,
        _ if !boot.is_running() => true,
        // iPXE asks after the firmware has, in the same boot. As the NIC's own
        // ROM it comes first, so that what is past the script is an old boot.
        Firmware::Ipxe => boot.stage() > Stage::Script || idle > IDLE,
        _ => boot.stage() > Stage::Dhcp || idle > IDLE,
    }
}

const fn firmware_name(firmware: Firmware) -> Option<&'static str> {
    match firmware {
        Firmware::Bios => Some("bios"),
        Firmware::Uefi => Some("uefi"),
        Firmware::UefiHttp => Some("http"),
        Firmware::Ipxe | Firmware::Other => None,
    }
}
