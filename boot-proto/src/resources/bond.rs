//! Bonds, in the words of the kernel's bonding driver.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::ids::MacAddr;

/// A bond (kernel document networking/bonding). Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BondSpec {
    /// Names of the interfaces it bundles. An interface that several NICs fit
    /// brings them all.
    pub ports: Vec<String>,
    /// Mode.
    pub mode: BondMode,
    /// How often the LACP partner sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacp_rate: Option<LacpRate>,
    /// How often the carrier of the ports is looked at; 100 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miimon: Option<u32>,
    /// Wait before a port with carrier is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_delay: Option<u32>,
    /// Wait before a port without carrier is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_delay: Option<u32>,
    /// What chooses the port of a packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit_hash_policy: Option<TransmitHashPolicy>,
    /// Name of the port that is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Ports that must have carrier before the bond has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_links: Option<u32>,
    /// Which aggregator 802.3ad uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_select: Option<AdSelect>,
    /// How much this end's choice of ports counts beside the partner's in LACP, 1 to
    /// 65535; less is more, and 65535 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_actor_system_priority: Option<u16>,
    /// The MAC that LACP knows this end by, instead of the bond's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_actor_system: Option<MacAddr>,
    /// The upper ten bits of the ports' key in LACP, 0 to 1023.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_user_port_key: Option<u16>,
    /// How often ARP requests watch the ports, instead of `miimon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_interval: Option<u32>,
    /// Whom those requests ask, at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arp_targets: Vec<Ipv4Addr>,
    /// When the preferred port is used again, once it is back; only where there is
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_reselect: Option<PrimaryReselect>,
    /// Which MACs the ports of an active-backup bond have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_over_mac: Option<FailOverMac>,
    /// Which ports only count as working where ARP answers come in over them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_validate: Option<ArpValidate>,
    /// Whether all ARP targets have to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp_all_targets: Option<ArpAllTargets>,
    /// How many gratuitous ARPs tell of a change of ports, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gratuitous_arp: Option<u8>,
    /// Time between two of these, a multiple of `miimon`; `miimon` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_notify_delay: Option<u32>,
    /// How many IGMP reports tell of it, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resend_igmp: Option<u8>,
    /// Seconds between the packets by which balance-tlb and balance-alb have
    /// switches learn which port a MAC is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn_packet_interval: Option<u32>,
    /// Whether balance-tlb and balance-alb move flows by load; else they go by
    /// `transmitHashPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_load_balancing: Option<bool>,
    /// Packets of a turn in balance-rr; 0 is a port by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_port: Option<u16>,
    /// Whether a port that waits takes in packets, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_ports_active: Option<bool>,
}

impl BondSpec {
    /// Whether ports are watched by ARP requests instead of their carrier.
    #[must_use]
    pub fn watches_by_arp(&self) -> bool {
        self.arp_interval.is_some_and(|interval| interval > 0)
    }
}

impl BondMode {
    /// Whether one port may be preferred to the others.
    #[must_use]
    pub const fn has_primary(self) -> bool {
        matches!(
            self,
            Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb
        )
    }

    /// Whether flows go by what is sent over each port.
    #[must_use]
    pub const fn balances_by_load(self) -> bool {
        matches!(self, Self::BalanceTlb | Self::BalanceAlb)
    }

    /// Whether ARP requests may watch its ports.
    #[must_use]
    pub const fn takes_arp(self) -> bool {
        !matches!(self, Self::Lacp | Self::BalanceTlb | Self::BalanceAlb)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// The word that the kernel and netplan have for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The number that the kernel has for it (`if_bonding.h`).
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),+ }
            }

            /// The one of this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// How a bond uses its ports.
    BondMode {
        /// Packets take turns.
        BalanceRr = 0 "balance-rr",
        /// One port works, the others wait.
        ActiveBackup = 1 "active-backup",
        /// The port depends on the addresses.
        BalanceXor = 2 "balance-xor",
        /// Everything goes out of every port.
        Broadcast = 3 "broadcast",
        /// LACP.
        Lacp = 4 "802.3ad",
        /// Outgoing traffic by load.
        BalanceTlb = 5 "balance-tlb",
        /// Both directions by load.
        BalanceAlb = 6 "balance-alb",
    }
}

impl Default for BondMode {
    /// The mode that needs nothing of the switch.
    fn default() -> Self {
        Self::ActiveBackup
    }
}

words! {
    /// How often the partner is asked to send LACPDUs.
    LacpRate {
        /// Every 30 s.
        Slow = 0 "slow",
        /// Every second.
        Fast = 1 "fast",
    }
}

words! {
    /// What a port is chosen by.
    TransmitHashPolicy {
        /// MACs.
        Layer2 = 0 "layer2",
        /// Addresses and ports.
        Layer3And4 = 1 "layer3+4",
        /// MACs and addresses.
        Layer2And3 = 2 "layer2+3",
        /// As layer2+3, of the inner packet.
        Encap2And3 = 3 "encap2+3",
        /// As layer3+4, of the inner packet.
        Encap3And4 = 4 "encap3+4",
    }
}

words! {
    /// Which aggregator is used.
    AdSelect {
        /// The one in use stays until it has no port left.
        Stable = 0 "stable",
        /// The fastest.
        Bandwidth = 1 "bandwidth",
        /// The one with the most ports.
        Count = 2 "count",
    }
}

words! {
    /// When the preferred port is used again.
    PrimaryReselect {
        /// As soon as it is back.
        Always = 0 "always",
        /// Where it is better than the one in use.
        Better = 1 "better",
        /// When the one in use fails.
        Failure = 2 "failure",
    }
}

words! {
    /// Which MACs the ports of an active-backup bond have.
    FailOverMac {
        /// The bond's.
        None = 0 "none",
        /// Their own, and the bond that of the port in use.
        Active = 1 "active",
        /// The bond's moves along with its use.
        Follow = 2 "follow",
    }
}

words! {
    /// Which ports are held to ARP answers.
    ArpValidate {
        /// None.
        None = 0 "none",
        /// The one in use.
        Active = 1 "active",
        /// Those that wait.
        Backup = 2 "backup",
        /// All.
        All = 3 "all",
    }
}

words! {
    /// How many ARP targets have to answer.
    ArpAllTargets {
        /// One.
        Any = 0 "any",
        /// Each.
        All = 1 "all",
    }
}
