//! `show node info`: what a cartridge is.

use std::collections::BTreeMap;

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::SlotId;

use super::power::Place;
use super::{Answer, is_absent};

/// What the device tells of a node or of its cartridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Maker of the cartridge.
    pub manufacturer: Option<String>,
    /// Product name.
    pub model: Option<String>,
    /// Serial number; of the cartridge where it has one node.
    pub serial: Option<String>,
    /// SMBIOS UUID; likewise.
    pub uuid: Option<String>,
}

impl Facts {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Longest value that is kept.
const LONGEST_VALUE: usize = 128;

/// Reads facts of the nodes in `present`. `asked` is the node an answer without
/// headings is about.
#[must_use]
pub fn parse_facts(
    answer: &Answer,
    asked: Option<SlotId>,
    present: &[SlotId],
    rules: &CliRules,
) -> BTreeMap<SlotId, Facts> {
    let mut of_cartridge: BTreeMap<u8, Facts> = BTreeMap::new();
    let mut of_node: BTreeMap<(u8, u8), Facts> = BTreeMap::new();
    let mut place = Place::default();
    for line in &answer.lines {
        if place.read(line) {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let Some(cartridge) = place.cartridge().or_else(|| asked.map(SlotId::cartridge)) else {
            continue;
        };
        let facts = match place.node() {
            Some(node) => of_node.entry((cartridge, node)).or_default(),
            None => of_cartridge.entry(cartridge).or_default(),
        };
        note(facts, name.trim(), value.trim(), rules);
    }
    let merged = present.iter().filter_map(|slot| {
        let cartridge = of_cartridge
            .get(&slot.cartridge())
            .cloned()
            .unwrap_or_default();
        let node = of_node
            .get(&(slot.cartridge(), slot.node()))
            .cloned()
            .unwrap_or_default();
        let nodes = present
            .iter()
            .filter(|other| other.cartridge() == slot.cartridge())
            .count();
        let facts = merge(node, cartridge, nodes == 1);
        (!facts.is_empty()).then_some((*slot, facts))
    });
    merged.collect()
}

/// Takes a value if its name is one of those the profile knows.
fn note(facts: &mut Facts, name: &str, value: &str, rules: &CliRules) {
    if is_absent(rules, value) {
        return;
    }
    let is_one_of = |names: &[String]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let field = if is_one_of(&rules.facts.manufacturer) {
        &mut facts.manufacturer
    } else if is_one_of(&rules.facts.model) {
        &mut facts.model
    } else if is_one_of(&rules.facts.serial) {
        &mut facts.serial
    } else if is_one_of(&rules.facts.uuid) {
        &mut facts.uuid
    } else {
        return;
    };
    field.get_or_insert_with(|| value.chars().take(LONGEST_VALUE).collect());
}

/// What the node says goes before what its cartridge says. A cartridge's serial
/// number and UUID name a machine only where it is the cartridge's only one.
fn merge(node: Facts, cartridge: Facts, is_alone: bool) -> Facts {
    Facts {
        manufacturer: node.manufacturer.or(cartridge.manufacturer),
        model: node.model.or(cartridge.model),
        serial: node.serial.or(cartridge.serial.filter(|_| is_alone)),
        uuid: node.uuid.or(cartridge.uuid.filter(|_| is_alone)),
    }
}
