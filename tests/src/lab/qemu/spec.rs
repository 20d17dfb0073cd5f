//! What a machine is: its firmware, NICs, disks, memory and what its SMBIOS says.

use std::path::PathBuf;

use boot_proto::ids::MacAddr;
use serde::{Deserialize, Serialize};

/// A machine. It boots from the network or from a kernel it is given, never from
/// a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MachineSpec {
    /// Name, for people and file names.
    pub name: String,
    /// Firmware.
    pub firmware: Firmware,
    /// NICs, the booting one first.
    pub nics: Vec<NicSpec>,
    /// Memory in MiB.
    #[serde(default = "memory_mib")]
    pub memory_mib: u32,
    /// CPUs.
    #[serde(default = "cpus")]
    pub cpus: u32,
    /// What SMBIOS type 1 says.
    #[serde(default)]
    pub smbios: Smbios,
    /// Folder for its console, monitor socket and firmware variables.
    pub folder: PathBuf,
    /// Local disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskDrive>,
    /// A kernel that is started without firmware's search for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<DirectKernel>,
    /// Whether it has a screen besides its serial port.
    #[serde(default)]
    pub has_screen: bool,
    /// What its hardware clock says at power-on, in UTC as `2001-02-03T04:05:06`;
    /// the right time where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Whether it has a hardware watchdog (Intel's 6300ESB) that resets it.
    #[serde(default)]
    pub has_watchdog: bool,
    /// Whether the beginning of each frame of its NICs is kept, in files for pcap.
    #[serde(default)]
    pub is_captured: bool,
}

/// A disk: a file with its plain content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DiskDrive {
    /// The file.
    pub file: PathBuf,
    /// Its serial number.
    pub serial: String,
}

/// A kernel as a boot loader would start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DirectKernel {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initramfs: PathBuf,
    /// Its command line.
    pub command_line: String,
}

const fn memory_mib() -> u32 {
    2048
}

const fn cpus() -> u32 {
    2
}

/// Firmware of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// SeaBIOS, with iPXE as the NIC's boot ROM.
    #[default]
    Bios,
    /// OVMF with its own PXE client.
    Uefi,
    /// OVMF with PXE switched off in its setup, so that HTTP Boot is left.
    UefiHttp,
    /// OVMF that enforces Secure Boot, with Microsoft's keys enrolled.
    SecureBoot,
    /// The same, by HTTP Boot.
    SecureBootHttp,
}

impl Firmware {
    /// Whether it enforces Secure Boot.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::SecureBoot | Self::SecureBootHttp)
    }

    /// Whether it boots by HTTP alone.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::UefiHttp | Self::SecureBootHttp)
    }
}

impl std::str::FromStr for Firmware {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bios" => Ok(Self::Bios),
            "uefi" => Ok(Self::Uefi),
            _ => Err(format!("{text:?} is neither bios nor uefi")),
        }
    }
}

/// A NIC and the port it is plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NicSpec {
    /// Its MAC.
    pub mac: MacAddr,
    /// The tap it is plugged into.
    pub tap: String,
    /// QEMU's name of its model.
    #[serde(default = "nic_model")]
    pub model: String,
}

fn nic_model() -> String {
    NicSpec::VIRTIO.to_owned()
}

impl NicSpec {
    /// The model of a NIC for which nobody says one.
    pub const VIRTIO: &str = "virtio-net-pci";

    /// A virtio NIC.
    #[must_use]
    pub fn new(mac: MacAddr, tap: &str) -> Self {
        Self {
            mac,
            tap: tap.to_owned(),
            model: nic_model(),
        }
    }
}

/// SMBIOS type 1, "System Information" (DMTF DSP0134 §7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Smbios {
    /// UUID; without one QEMU has all zeroes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Manufacturer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Product name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

impl MachineSpec {
    /// The socket that is the machine's serial port.
    #[must_use]
    pub fn console_socket(&self) -> PathBuf {
        self.folder.join("console.sock")
    }

    /// The file that has all the machine ever printed on its serial port.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// The frames of its NIC of this index, where they are kept; of its last time
    /// on only.
    #[must_use]
    pub fn capture(&self, nic: usize) -> PathBuf {
        self.folder.join(format!("nic{nic}.pcap"))
    }

    /// The monitor's socket.
    #[must_use]
    pub fn monitor_socket(&self) -> PathBuf {
        self.folder.join("monitor.sock")
    }
}
