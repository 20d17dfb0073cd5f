//! `Machine`: one physical server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::profile::Taint;
use crate::ids::{Digest, MacAddr};
use crate::report::MachineFacts;
use crate::slot::Slot;
use crate::time::WallClock;

/// What is wanted of a machine. Every field may be left out: a machine that a
/// chassis manager shows, or that boots, is a Machine without being declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Machine",
        plural = "machines",
        shortname = "mc",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::MachineStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MachineSpec {
    /// Chassis it sits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis: Option<String>,
    /// Position in that chassis, or the Id of the system behind that BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// MACs of its NICs; any of them may boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<MacAddr>,
    /// SMBIOS system UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// DHCP client identifier (option 61) that tells the machine where no MAC of
    /// it is known: text, or bytes as `0x…` or `01:52:54:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Relay port that it hangs on (option 82). Whoever asks through that port
    /// is this machine, and nobody is it through another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_port: Option<RelayPort>,
    /// Pool it belongs to, whatever the pools' own selections say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Host name and node name, where it is not the Machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Reserved IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Desired power; without it the pool's, and without that nothing is ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<DesiredPower>,
    /// Profiles after the pool's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Node labels after the pool's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Node taints in addition to the pool's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// A port of a relay agent or switch, as option 82 names it (RFC 3046); text, or
/// bytes as `0x…` or `00:04:…`. What is left out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayPort {
    /// Circuit, sub-option 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<String>,
    /// Remote end, sub-option 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
}

/// Power an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum DesiredPower {
    /// Running.
    On,
    /// Off.
    Off,
}

/// Power as the chassis manager or BMC shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ObservedPower {
    /// Running, or on its way there.
    On,
    /// Off.
    Off,
    /// Not told, or the device did not answer.
    #[default]
    Unknown,
}

impl std::fmt::Display for ObservedPower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::Unknown => "Unknown",
        })
    }
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// Power at the last look.
    pub power: ObservedPower,
    /// When the chassis manager or BMC was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<WallClock>,
    /// What the machine, or its manager, said of it.
    pub facts: MachineFacts,
    /// Address of its latest lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Phase of its latest boot, such as `image` or `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Image of its latest boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// When its firmware or boot loader last asked for something to boot, as a
    /// store that several programs share has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<WallClock>,
    /// Which node it is, and how far it is with becoming another one.
    #[serde(skip_serializing_if = "Membership::is_empty")]
    pub membership: Membership,
    /// What is wrong, in words, and since when.
    pub conditions: Vec<Condition>,
}

/// The node that a machine is, and how far it is with becoming another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Membership {
    /// The node it is since it last joined; none while it is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<JoinedNode>,
    /// Nodes it was, of which something may be left in their clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<JoinedNode>,
    /// Power ordered to restart it, in place of what is desired otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered_power: Option<DesiredPower>,
}

impl Membership {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A node that a machine has joined a cluster as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct JoinedNode {
    /// The Cluster.
    pub cluster: String,
    /// Name of the Node.
    pub node: String,
    /// The pool it belonged to then.
    pub pool: String,
    /// Name of the Machine then.
    pub machine: String,
}

/// A condition by Kubernetes' conventions (API conventions, "typical status
/// properties").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Reachable`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when the status is what it is.
    pub last_transition_time: WallClock,
}
