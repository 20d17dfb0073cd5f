//! What stands in the `status` of objects.
//!
//! `MachineStatus` has three writers, each with fields of its own: chassis-agent
//! writes `power`, `observedAt`, `observed` and the conditions of its own types;
//! boot-server writes the rest.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, MacAddr};
use crate::report::MachineFacts;
use crate::resources::{Condition as Learned, Membership, ObservedPower};
use crate::slot::Slot;
use crate::time::WallClock;

/// A point in time, written as RFC 3339 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub WallClock);

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time such as 2023-11-14T22:13:20Z")]
pub struct InvalidTimestamp(String);

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;
    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        WallClock::from_rfc3339(&text)
            .map(Self)
            .ok_or_else(|| InvalidTimestamp(text.chars().take(40).collect()))
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.0.to_rfc3339()
    }
}

/// A condition by Kubernetes' conventions (API conventions, "typical status
/// properties").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Reachable`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Since when the status is what it is.
    pub last_transition_time: Timestamp,
    /// `metadata.generation` of the object it was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl From<&Learned> for Condition {
    fn from(learned: &Learned) -> Self {
        Self {
            r#type: learned.r#type.clone(),
            status: learned.status.clone(),
            reason: learned.reason.clone(),
            message: learned.message.clone(),
            last_transition_time: Timestamp(learned.last_transition_time),
            observed_generation: None,
        }
    }
}

impl From<&Condition> for Learned {
    fn from(condition: &Condition) -> Self {
        Self {
            r#type: condition.r#type.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            last_transition_time: condition.last_transition_time.0,
        }
    }
}

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// Power at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<ObservedPower>,
    /// When that power was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// What its chassis manager or BMC shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// The pool it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its host name and node name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Address of its latest lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Phase of its latest boot, such as `image` or `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Image of its latest boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// When its firmware or boot loader last asked boot-server for something to
    /// boot, at the latest write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Which node it is, and how far it is with becoming another one; written by
    /// boot-server under a field manager of its own, by the version it read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
    /// What it was met with when it booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<Met>,
    /// What it said of itself when it booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<MachineFacts>,
    /// What is wrong, in words, and since when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a chassis manager or BMC shows of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// Chassis it sits in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chassis: Option<String>,
    /// Position in that chassis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// MACs of its NICs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<MacAddr>,
    /// SMBIOS system UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Manufacturer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What a machine was met with at the boot face.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Met {
    /// MACs it booted from or reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<MacAddr>,
    /// SMBIOS system UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// When it was first met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When it last booted, at the latest write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
}

/// What is known of a chassis manager or BMC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ChassisStatus {
    /// When it was last read without an error, at the latest write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Machines in it at the last scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// Hardware profile in use, where it was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is wrong, in words, and since when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What is known of a resource that is only declared: whether it can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceStatus {
    /// `Accepted` says whether boot-server uses it, and if not, why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_go_both_ways() {
        let learned = Learned {
            r#type: "Reachable".into(),
            status: "False".into(),
            reason: "Unreachable".into(),
            message: "no answer".into(),
            last_transition_time: WallClock(1_700_000_000_000),
        };
        let condition = Condition::from(&learned);
        let text = serde_json::to_string(&condition).unwrap();
        assert!(text.contains("\"2023-11-14T22:13:20Z\""), "{text}");
        let read: Condition = serde_json::from_str(&text).unwrap();
        assert_eq!(Learned::from(&read), learned);
    }

    #[test]
    fn an_empty_status_applies_nothing() {
        assert_eq!(
            serde_json::to_string(&MachineStatus::default()).unwrap(),
            "{}"
        );
    }
}
