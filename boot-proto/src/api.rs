//! Messages of boot-server's management API, JSON over HTTP.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /api/v1/machines` | | `[MachineView]` |
//! | `GET /api/v1/chassis` | | `[ChassisView]` |
//! | `GET /api/v1/leases` | | `[LeaseView]` |
//! | `GET /api/v1/boots` | | `[BootView]` |
//! | `GET /api/v1/images` | | `[ImageView]` |
//! | `PUT /api/v1/chassis/NAME/inventory` | [`ChassisInventory`] | [`PowerOrders`] |
//!
//! Every request carries `Authorization: Bearer TOKEN`. An error is a JSON
//! [`ApiError`] with a 4xx or 5xx status.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, MacAddr};
use crate::report::PhaseTime;
use crate::resources::{
    ChassisSpec, ChassisStatus, DesiredPower, MachineSpec, MachineStatus, ObservedPower,
};
use crate::slot::Slot;
use crate::time::WallClock;

/// One machine as a chassis manager or BMC shows it. `chassis-agent observe`
/// prints an array of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedMachine {
    /// Position, such as `c11n1`, or the BMC's own name of the system.
    pub slot: String,
    /// MACs of its host NICs, in the order of the NICs.
    pub macs: Vec<MacAddr>,
    /// Power state.
    pub power: ObservedPower,
    /// SMBIOS system UUID.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Its NICs.
    pub nics: Vec<ObservedNic>,
}

/// One host NIC as a chassis manager or BMC shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedNic {
    /// Name, such as `NIC 1`.
    pub name: String,
    /// MAC.
    pub mac: Option<MacAddr>,
    /// Switch module or port it leads to, such as `Switch A`.
    pub switch: Option<String>,
}

/// One scan of one chassis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChassisInventory {
    /// Whether the chassis could be read. When it could not, `machines` is empty
    /// and means nothing.
    pub reachable: bool,
    /// Why it could not be read, or what it did not obey, in words.
    pub message: String,
    /// Whether `machines` has MACs and facts, or power states alone.
    pub complete: bool,
    /// What it shows.
    pub machines: Vec<ObservedMachine>,
    /// Hardware profile in use, where the chassis was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is well and what is wrong with the chassis and its machines, each
    /// with a type of its own; what is not named here stays as it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ReportedCondition>,
}

/// A condition as chassis-agent finds it; who keeps it knows since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedCondition {
    /// Position of the machine it is about; `None` for the chassis itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// What it is about, such as `NetworkBoot`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Types of conditions of a Machine that chassis-agent finds.
pub mod condition {
    /// Whether its chassis shows it.
    pub const REACHABLE: &str = "Reachable";
    /// Whether it obeyed its last power order.
    pub const POWER_OBEYED: &str = "PowerObeyed";
    /// Whether it took its last order for the next boot.
    pub const BOOT_ONCE_TAKEN: &str = "BootOnceTaken";
    /// Whether its request for a network boot came after it was powered on.
    pub const NETWORK_BOOT: &str = "NetworkBoot";
    /// All of them; whoever else writes to a Machine leaves these alone.
    pub const OF_MACHINES: [&str; 4] = [REACHABLE, POWER_OBEYED, BOOT_ONCE_TAKEN, NETWORK_BOOT];
}

/// What boot-server wants done to the machines of a chassis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PowerOrders {
    /// Wanted power of each machine that has a wish.
    pub orders: Vec<PowerOrder>,
}

/// The power wanted of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PowerOrder {
    /// Machine's name.
    pub machine: String,
    /// Position in the chassis, or the BMC's own name of the system.
    pub slot: Slot,
    /// Wanted power.
    pub power: DesiredPower,
    /// Whether it is to boot from the network when it is powered on.
    pub network_boot: bool,
    /// Whether boot-server would know its request for a network boot: it knows
    /// MACs of the machine.
    #[serde(default)]
    pub is_watched: bool,
    /// Milliseconds since its firmware or boot loader last asked boot-server for
    /// a network boot. An age and no time: the clocks of two hosts may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms_ago: Option<u64>,
}

/// A chassis manager or BMC, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChassisView {
    /// Name.
    pub name: String,
    /// How it is reached; where its credentials are, never themselves.
    pub spec: ChassisSpec,
    /// What is known of it.
    pub status: ChassisStatus,
}

/// A machine, declared or found, with what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineView {
    /// Name.
    pub name: String,
    /// Host name and node name.
    pub hostname: String,
    /// Whether a manifest declares it, or it was only found.
    pub declared: bool,
    /// Pool it belongs to.
    pub pool: Option<String>,
    /// What is wanted of it.
    pub spec: MachineSpec,
    /// What is known of it.
    pub status: MachineStatus,
}

/// A DHCP lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// Address.
    pub address: Ipv4Addr,
    /// MAC it was given to.
    pub mac: MacAddr,
    /// Machine it belongs to, where known.
    pub machine: Option<String>,
    /// Subnet.
    pub subnet: String,
    /// `reserved`, `dynamic` or `declined`.
    pub kind: String,
    /// When it ends; `None` for a lease without end.
    pub expires: Option<WallClock>,
}

/// One boot of one machine, from its first packet on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootView {
    /// Rising number, unique in this store.
    pub id: u64,
    /// Machine, where known.
    pub machine: Option<String>,
    /// MAC of the booting NIC.
    pub mac: Option<MacAddr>,
    /// Address it got.
    pub address: Option<Ipv4Addr>,
    /// `bios`, `uefi` or `http`, where known.
    pub firmware: Option<String>,
    /// Image it was given.
    pub image: Option<Digest>,
    /// When its first packet came.
    pub started: WallClock,
    /// When it last moved.
    pub updated: WallClock,
    /// The step it is at: `dhcp`, `loader`, `script`, `kernel`, `initramfs`, or
    /// one of the node's phases.
    pub phase: String,
    /// Percent of that step, where known.
    pub percent: Option<u8>,
    /// `running`, `ready`, `failed`, or `handed-over` where a machine that does not
    /// report has got all that it fetches here.
    pub outcome: String,
    /// What went wrong last, in words.
    pub reason: Option<String>,
    /// The last lines of the node's log, where a phase failed.
    pub log: Option<String>,
    /// Every step in order.
    pub steps: Vec<BootStep>,
    /// The node's own phases with their times.
    pub phases: Vec<PhaseTime>,
}

/// One step of a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootStep {
    /// When.
    pub at: WallClock,
    /// Which step, in the words of [`BootView::phase`].
    pub step: String,
    /// What happened.
    pub message: String,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageView {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Name in its manifest.
    pub name: String,
    /// `uname -r` of its kernel.
    pub kernel_release: String,
    /// Bytes of kernel, initramfs and squashfs together.
    pub size: u64,
    /// Size of the squashfs in bytes.
    pub root_size: u64,
    /// When it was added.
    pub added: WallClock,
    /// Pools that name it.
    pub pools: Vec<String>,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What went wrong and what to do, for people.
    pub error: String,
}
