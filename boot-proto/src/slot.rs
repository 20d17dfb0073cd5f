//! Where a machine is, in the words of its device.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidId, SlotId};

/// The position of a machine behind its chassis manager or BMC: a node of a
/// Moonshot chassis, such as `c11n1`, or the Id that a Redfish service gives a
/// system, such as `System.Embedded.1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(String);

const FORM: &str = "a slot such as c11n1, or the Id of a system such as System.Embedded.1";

/// Longest name; Redfish Ids are far shorter.
const LONGEST: usize = 256;

impl Slot {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form it has in a machine's or host's name: `System.Embedded.1` becomes
    /// `system-embedded-1`. Empty where nothing of it can stand in a name.
    #[must_use]
    pub fn name_part(&self) -> String {
        let mut part = String::new();
        for letter in self.0.to_ascii_lowercase().chars() {
            if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
                part.push(letter);
            } else if !part.is_empty() && !part.ends_with('-') {
                part.push('-');
            }
        }
        part.truncate(part.trim_end_matches('-').len());
        part
    }

    /// Its place in a Moonshot chassis; `None` where the name has another form.
    #[must_use]
    pub fn node(&self) -> Option<SlotId> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SlotId> for Slot {
    fn from(node: SlotId) -> Self {
        Self(node.to_string())
    }
}

impl FromStr for Slot {
    type Err = InvalidId;

    /// Reads a name. Nodes of a Moonshot chassis may be in either letter case;
    /// what looks like one and is none, such as `c0n1`, is a slip and no name.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, FORM);
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(invalid());
        }
        match text.parse::<SlotId>() {
            Ok(node) => Ok(Self::from(node)),
            Err(_) if looks_like_a_node(text) => Err(invalid()),
            Err(_) => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Slot {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

/// `c`, digits, `n`, digits.
fn looks_like_a_node(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let parts = lower
        .strip_prefix('c')
        .and_then(|rest| rest.split_once('n'));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.is_some_and(|(cartridge, node)| is_number(cartridge) && is_number(node))
}

impl Ord for Slot {
    /// Nodes of a chassis by their numbers, c2n1 before c10n1; names by letters.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.node(), other.node()) {
            (Some(own), Some(other)) => own.cmp(&other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_machines() {
        let mut slots: Vec<Slot> = ["System.Embedded.1", "C10N1", "c2n1", " 1 "]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        slots.sort();
        let names: Vec<&str> = slots.iter().map(Slot::as_str).collect();
        assert_eq!(names, ["c2n1", "c10n1", "1", "System.Embedded.1"]);
        assert_eq!(slots[0].node().unwrap().cartridge(), 2);
        assert_eq!("1".parse::<Slot>().unwrap().node(), None);
    }

    #[test]
    fn what_is_no_name() {
        for text in ["", "a\nb", "c0n1", "C300N1", &"a".repeat(257)] {
            assert!(text.parse::<Slot>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Slot>("\"c0n1\"").is_err());
        let slot: Slot = serde_json::from_str("\"C3N1\"").unwrap();
        assert_eq!(serde_json::to_string(&slot).unwrap(), "\"c3n1\"");
    }
}
