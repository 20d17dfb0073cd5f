//! `show node info` and `show blades`: what a cartridge is.

use std::collections::BTreeMap;

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::{MacAddr, SlotId};

use super::macs::MOST_NICS;
use super::power::Place;
use super::{Answer, ListedNic, is_absent};

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
    /// NICs, where the facts name them; likewise.
    pub nics: Vec<ListedNic>,
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
    if let Some(nic) = nic(name, value) {
        if facts.nics.len() < MOST_NICS && facts.nics.iter().all(|n| n.number != nic.number) {
            facts.nics.push(nic);
        }
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

/// Reads `NIC 1 MAC (Switch A): 9c:b6:54:01:01:01`. Other MACs, such as that of
/// the blade's own iLO, are none of the machine's.
fn nic(name: &str, value: &str) -> Option<ListedNic> {
    let lower = name.to_ascii_lowercase();
    let (number, rest) = lower.strip_prefix("nic ")?.split_once(' ')?;
    let number: usize = number
        .parse()
        .ok()
        .filter(|number| (1..=MOST_NICS).contains(number))?;
    let is_mac = rest.starts_with("mac");
    let mac: MacAddr = value.parse().ok()?;
    let switch = name
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    (is_mac && mac.is_usable()).then(|| ListedNic {
        number,
        mac,
        switch: switch.map(|(switch, _)| switch.trim().to_owned()),
    })
}

/// What the node says goes before what its cartridge says. A cartridge's serial
/// number and UUID name a machine only where it is the cartridge's only one.
fn merge(node: Facts, cartridge: Facts, is_alone: bool) -> Facts {
    Facts {
        manufacturer: node.manufacturer.or(cartridge.manufacturer),
        model: node.model.or(cartridge.model),
        serial: node.serial.or(cartridge.serial.filter(|_| is_alone)),
        uuid: node.uuid.or(cartridge.uuid.filter(|_| is_alone)),
        nics: if node.nics.is_empty() && is_alone {
            cartridge.nics
        } else {
            node.nics
        },
    }
}
