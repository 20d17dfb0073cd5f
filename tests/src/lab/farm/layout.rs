//! Addresses and files of a farm. Addresses are the same in every farm: they
//! mean something inside its namespace alone.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use boot_proto::ids::{MacAddr, SlotId};

use crate::lab::qemu::{Firmware, MachineSpec, NicSpec, Smbios};

/// The provisioning network's bridge.
pub const BRIDGE: &str = "br0";
/// Its network.
pub const NETWORK: &str = "10.77.0.0/24";
/// Boot-server and the Kubernetes API server in it.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// A second boot-server in it, where two share an API server as the store.
pub const SECOND_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The API server's namespace of the resources.
pub const NAMESPACE: &str = "moonfarm";
/// The management network's bridge, which only the chassis manager is on.
pub const MANAGEMENT_BRIDGE: &str = "mgmt0";
/// The chassis manager.
pub const CHASSIS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// Name of the chassis, and thus the beginning of its nodes' names.
pub const CHASSIS_NAME: &str = "m1";

/// The chassis manager's password. No secret: nothing outside the namespace can
/// reach it.
pub const PASSWORD: &str = "virtual-farm";

/// Files of a farm, all in one folder.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The layout of a farm in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder itself; logs are directly in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Manifests.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// Boot-server's state: database and images.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The second boot-server's state.
    #[must_use]
    pub fn second_state(&self) -> PathBuf {
        self.folder.join("state-2")
    }

    /// Chassis-agent's state: host keys.
    #[must_use]
    pub fn agent_state(&self) -> PathBuf {
        self.folder.join("agent-state")
    }

    /// The bearer token of the management API, which boot-server makes.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.state().join("management.token")
    }

    /// The chassis manager's password.
    #[must_use]
    pub fn password(&self) -> PathBuf {
        self.folder.join("m1.password")
    }

    /// The Kubernetes control plane.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// A machine's console, monitor and firmware variables.
    #[must_use]
    pub fn machine(&self, name: &str) -> PathBuf {
        self.folder.join("machines").join(name)
    }
}

/// A cartridge with a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cartridge {
    /// Where it sits.
    pub slot: SlotId,
    /// Its firmware.
    pub firmware: Firmware,
}

impl Cartridge {
    /// The machine's and the node's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{CHASSIS_NAME}-{}", self.slot)
    }

    /// The MAC of its NIC of this index; cartridges have two.
    #[must_use]
    pub fn mac(&self, nic: u8) -> MacAddr {
        MacAddr::new([
            0x94,
            0x57,
            0xa5,
            self.slot.node(),
            self.slot.cartridge(),
            nic + 1,
        ])
    }

    /// The tap its NIC of this index is plugged into.
    #[must_use]
    pub fn tap(&self, nic: u8) -> String {
        format!("{}-{}", self.slot, nic + 1)
    }

    /// The whole machine.
    #[must_use]
    pub fn spec(&self, layout: &Layout) -> MachineSpec {
        let nic = |index| NicSpec::new(self.mac(index), &self.tap(index));
        MachineSpec {
            name: self.name(),
            firmware: self.firmware,
            nics: vec![nic(0), nic(1)],
            memory_mib: 2048,
            cpus: 2,
            smbios: smbios(&self.slot.to_string(), self.slot.cartridge()),
            folder: layout.machine(&self.name()),
            ..MachineSpec::default()
        }
    }
}

/// A machine outside of any chassis, which nobody declared.
#[must_use]
pub fn stray(layout: &Layout, firmware: Firmware) -> MachineSpec {
    MachineSpec {
        name: "stray".into(),
        firmware,
        nics: vec![NicSpec::new(STRAY_MAC, STRAY_TAP)],
        memory_mib: 2048,
        cpus: 2,
        smbios: smbios("stray", 0xee),
        folder: layout.machine("stray"),
        ..MachineSpec::default()
    }
}

/// The stray machine's MAC.
pub const STRAY_MAC: MacAddr = MacAddr::new([0x94, 0x57, 0xa5, 0xd3, 0xec, 0xf2]);
/// The tap it is plugged into.
pub const STRAY_TAP: &str = "stray";

fn smbios(serial: &str, last: u8) -> Smbios {
    Smbios {
        uuid: Some(format!("37303437-3538-4d32-3237-3138303000{last:02x}")),
        serial: Some(format!("MF{}", serial.to_uppercase())),
        manufacturer: Some("Moonfarm".into()),
        product: Some("Virtual Cartridge".into()),
    }
}
