//! `show node power` and the headings that it shares with `show node info`.

use std::collections::BTreeMap;

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::SlotId;
use boot_proto::resources::ObservedPower;

use super::{Answer, power_word};

/// Reads power states. `asked` is the node an answer without headings is about.
#[must_use]
pub fn parse_power(
    answer: &Answer,
    asked: Option<SlotId>,
    rules: &CliRules,
) -> BTreeMap<SlotId, ObservedPower> {
    let most = usize::try_from(rules.limits.nodes).unwrap_or(usize::MAX);
    let mut states = BTreeMap::new();
    let mut place = Place::default();
    for line in &answer.lines {
        place.read(line);
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if !name.replace(' ', "").eq_ignore_ascii_case("powerstate") {
            continue;
        }
        let state = power_word(rules, value.trim()).unwrap_or(ObservedPower::Unknown);
        if let Some(slot) = place.slot().or(asked).filter(|_| states.len() < most) {
            states.insert(slot, state);
        }
    }
    states
}

/// Where in an indented answer a line stands.
///
/// Headings seen: `Cartridge #1` with `Node #1` below it, `c1: #Cartridge 1`,
/// `b1:` for the blade in slot 1, and a node id with a colon and a name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    cartridge: Option<u8>,
    node: Option<u8>,
}

impl Place {
    /// Takes a line; says whether it is a heading.
    pub(super) fn read(&mut self, line: &str) -> bool {
        let line = line.trim();
        if let Some(slot) = leading_slot(line) {
            *self = Self {
                cartridge: Some(slot.cartridge()),
                node: Some(slot.node()),
            };
            return true;
        }
        if let Some(number) = number_after(line, "cartridge").or_else(|| blade(line)) {
            *self = Self {
                cartridge: Some(number),
                node: None,
            };
            return true;
        }
        if let Some(number) = number_after(line, "node") {
            self.node = Some(number);
            return true;
        }
        false
    }

    /// The cartridge the line belongs to.
    pub(super) const fn cartridge(self) -> Option<u8> {
        self.cartridge
    }

    /// The node the line belongs to, if a heading named one.
    pub(super) const fn node(self) -> Option<u8> {
        self.node
    }

    /// The node a state belongs to; a cartridge without a node's heading has
    /// one node.
    fn slot(self) -> Option<SlotId> {
        SlotId::new(self.cartridge?, self.node.unwrap_or(1)).ok()
    }
}

/// The node id in `c1n1: name` or in a line that is nothing but a node id.
fn leading_slot(line: &str) -> Option<SlotId> {
    line.split(':').next()?.trim().parse().ok()
}

/// The number in `b7:`.
fn blade(line: &str) -> Option<u8> {
    let line = line.to_ascii_lowercase();
    let number = line.strip_prefix('b')?.strip_suffix(':')?;
    number.parse().ok().filter(|number| *number > 0)
}

/// The number in `Cartridge #7`, `#Cartridge 7`, `c7: #Cartridge 7`.
fn number_after(line: &str, word: &str) -> Option<u8> {
    let lower = line.to_ascii_lowercase();
    let heading = match lower.split_once(':') {
        Some((before, after)) if before.trim_start_matches('c').parse::<u8>().is_ok() => after,
        // `Node Name: 3` is a value, not a heading.
        Some(_) => return None,
        None => &lower,
    };
    let heading = heading.trim();
    let rest = heading
        .strip_prefix('#')
        .unwrap_or(heading)
        .strip_prefix(word)?;
    let number = rest.trim().trim_start_matches('#').trim();
    number.parse().ok().filter(|number| *number > 0)
}
