//! What a node tells boot-server while it boots: `POST /v1/report`.

use serde::{Deserialize, Serialize};

use crate::ids::MacAddr;

/// The version of the format that this code writes.
pub const VERSION: u32 = 1;

/// The phases of a boot that the node walks itself, in order.
///
/// `mounts` to `switch-root` run in the initramfs, `join` in the new root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// `/proc`, `/sys`, `/dev` and the console.
    Mounts,
    /// Kernel modules for the hardware found.
    Modules,
    /// The booting link is found and up, with carrier.
    Links,
    /// An address on it.
    Address,
    /// The boot config is fetched and read.
    Config,
    /// The image is in RAM and its digest is right.
    Image,
    /// Loop device, squashfs and overlay are mounted.
    Root,
    /// The new root is configured.
    Configure,
    /// The new root becomes the root.
    SwitchRoot,
    /// `kubeadm join`, in the new root.
    Join,
    /// The kubelet of this node said Ready.
    Ready,
}

impl Phase {
    /// The name in the words of the design, such as `switch-root`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mounts => "mounts",
            Self::Modules => "modules",
            Self::Links => "links",
            Self::Address => "address",
            Self::Config => "config",
            Self::Image => "image",
            Self::Root => "root",
            Self::Configure => "configure",
            Self::SwitchRoot => "switch-root",
            Self::Join => "join",
            Self::Ready => "ready",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It has begun.
    Started,
    /// It goes on; `BootReport::percent` says how far it is.
    Running,
    /// It is done.
    Done,
    /// It failed; `BootReport::message` says why. A later report may tell of a retry.
    Failed,
}

/// One report. Several may arrive late, twice or out of order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BootReport {
    /// Version of this format: 1.
    pub version: u32,
    /// The MAC of the NIC the node booted from.
    pub mac: MacAddr,
    /// The phase this is about.
    pub phase: Phase,
    /// How far the phase is.
    pub progress: Progress,
    /// Percent of the phase's work done, 0 to 100, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Milliseconds since the kernel started (`CLOCK_BOOTTIME`).
    pub uptime_ms: u64,
    /// Milliseconds this phase has taken so far.
    pub elapsed_ms: u64,
    /// For people: what was done, or why it failed. At most a few lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The last lines of the agent's log, where the phase failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// What the machine found out about itself; sent once, with `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<MachineFacts>,
    /// All phases that are done so far with the milliseconds each took, so that
    /// the phases before the network was there are not lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseTime>,
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Milliseconds since the kernel started when it began.
    pub started_ms: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
}

/// What a machine found out about itself (SMBIOS by way of `/sys/class/dmi/id`,
/// `/proc/meminfo`, `/sys/class/net`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MachineFacts {
    /// MACs of all physical NICs, sorted.
    #[serde(default)]
    pub macs: Vec<MacAddr>,
    /// SMBIOS system UUID, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SMBIOS system serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// SMBIOS manufacturer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// SMBIOS product name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Online CPUs.
    #[serde(default)]
    pub cpus: u32,
    /// `MemTotal` in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
}
