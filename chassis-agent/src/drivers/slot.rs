//! Where a machine is, in the words of its device.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use boot_proto::ids::SlotId;

use super::DriverError;

/// The position of a machine in a chassis, such as `c11n1`, or a BMC's own name
/// of a system, such as `System.Embedded.1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot(String);

impl Slot {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node of a Moonshot chassis.
    ///
    /// # Errors
    /// When the name has another form.
    pub fn node(&self) -> Result<SlotId, DriverError> {
        self.0.parse().map_err(|_| DriverError::NoSuchMachine {
            slot: self.0.clone(),
            present: "only nodes with names such as c11n1".into(),
        })
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

/// A text that names no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no machine: write a slot such as c11n1, or the Id of a system")]
pub struct InvalidSlot(String);

impl FromStr for Slot {
    type Err = InvalidSlot;

    /// Reads a name; nodes of a Moonshot chassis may be in either letter case.
    fn from_str(text: &str) -> Result<Self, InvalidSlot> {
        const LONGEST: usize = 256;
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(InvalidSlot(text.chars().take(80).collect()));
        }
        Ok(text
            .parse::<SlotId>()
            .map_or_else(|_| Self(text.to_owned()), Self::from))
    }
}

impl Ord for Slot {
    /// Nodes of a chassis by their numbers, c2n1 before c10n1; names by letters.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0.parse::<SlotId>(), other.0.parse::<SlotId>()) {
            (Ok(own), Ok(other)) => own.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => self.0.cmp(&other.0),
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
        assert!("".parse::<Slot>().is_err());
        assert!("a\nb".parse::<Slot>().is_err());
        assert!("1".parse::<Slot>().unwrap().node().is_err());
        assert_eq!(slots[0].node().unwrap().cartridge(), 2);
    }
}
