//! What a machine is: its firmware, NICs, memory and what its SMBIOS says.

use std::path::PathBuf;

use boot_proto::ids::MacAddr;
use serde::{Deserialize, Serialize};

/// A machine without a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The monitor's socket.
    #[must_use]
    pub fn monitor_socket(&self) -> PathBuf {
        self.folder.join("monitor.sock")
    }
}
