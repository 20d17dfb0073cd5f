//! What is kept of a machine once it was met or seen.

use boot_proto::ids::MacAddr;
use boot_proto::resources::MachineStatus;
use boot_proto::slot::Slot;
use boot_proto::time::WallClock;
use serde::{Deserialize, Serialize};

use crate::store::Record;

/// A machine as it was met at the boot face or seen by a chassis manager. A
/// declared machine has one of these, too, under its declared name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LearnedMachine {
    /// Name; given once and kept.
    pub name: String,
    /// What identifies it.
    pub found: Found,
    /// What is known of it.
    pub status: MachineStatus,
    /// When it was first met or seen.
    pub first_seen: WallClock,
    /// When it last was.
    pub last_seen: WallClock,
}

/// What identifies a machine, as it was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Found {
    /// Chassis that showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chassis: Option<String>,
    /// Its position there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Its MACs, in the order they were found.
    pub macs: Vec<MacAddr>,
    /// Those of them that its chassis manager or BMC has shown itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<MacAddr>,
    /// Serial number that its chassis manager or BMC shows, as far as it tells
    /// one machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its SMBIOS UUID, lower case; never a placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

impl LearnedMachine {
    /// A machine just met for the first time.
    #[must_use]
    pub fn new(name: &str, now: WallClock) -> Self {
        Self {
            name: name.to_owned(),
            first_seen: now,
            last_seen: now,
            ..Self::default()
        }
    }
}

impl Found {
    /// Adds MACs that are not known yet and can tell a NIC. Says whether any was new.
    pub fn add_macs(&mut self, macs: &[MacAddr]) -> bool {
        let before = self.macs.len();
        for mac in macs {
            let has_room = self.macs.len() < MAX_MACS;
            if has_room && mac.is_usable() && !self.macs.contains(mac) {
                self.macs.push(*mac);
            }
        }
        self.macs.len() != before
    }

    /// Whether `macs` has one of this machine's.
    #[must_use]
    pub fn shares_mac(&self, macs: &[MacAddr]) -> bool {
        macs.iter().any(|mac| self.macs.contains(mac))
    }
}

/// More NICs than any server has; a node that reports more reports nonsense.
const MAX_MACS: usize = 64;

impl Record for LearnedMachine {
    const TABLE: &'static str = "machines";

    fn key(&self) -> String {
        self.name.clone()
    }
}
