//! `SystemsSummary`, one answer about all nodes -> machines. Pure and tolerant:
//! a value of the wrong type loses that value, not the machine.

use std::collections::BTreeMap;

use boot_proto::api::{ObservedMachine, ObservedNic};
use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::{MacAddr, SlotId};
use serde_json::Value;

use crate::drivers::moonshot::parse::power_word;
use crate::drivers::redfish::resources;

/// More NICs than any node has.
const MOST_NICS: usize = 16;

/// Reads the summary; `None` when it is none. Entries that name no node, such
/// as the filler "Cartridge 0 Node 0", are left out.
#[must_use]
pub fn parse_summary(
    summary: &Value,
    switches: &[String],
    rules: &CliRules,
) -> Option<Vec<ObservedMachine>> {
    let systems = summary.get("Systems")?.as_array()?;
    let most = usize::try_from(rules.limits.nodes).unwrap_or(usize::MAX);
    let mut machines: BTreeMap<SlotId, ObservedMachine> = BTreeMap::new();
    for system in systems.iter().take(most) {
        match slot_of(system) {
            Some(slot) => {
                machines
                    .entry(slot)
                    .or_insert_with(|| machine(slot, system, switches, rules));
            }
            None => tracing::trace!(name = ?system.get("Name"), "an entry without a node"),
        }
    }
    let mut machines: Vec<ObservedMachine> = machines.into_values().collect();
    drop_shared_uuids(&mut machines);
    Some(machines)
}

/// The node an entry is about: from its name, its link or its id.
fn slot_of(system: &Value) -> Option<SlotId> {
    let by_name = system
        .get("Name")
        .and_then(Value::as_str)
        .and_then(slot_in_name);
    let path = || {
        let link = system.pointer("/links/self/href");
        link.or_else(|| system.get("@odata.id"))
            .or_else(|| system.get("Id"))
            .and_then(Value::as_str)
            .and_then(|path| path.trim_end_matches('/').rsplit('/').next()?.parse().ok())
    };
    by_name.or_else(path)
}

/// The node in `Cartridge 28 Node 1`, or in `C28N1`.
fn slot_in_name(name: &str) -> Option<SlotId> {
    if let Ok(slot) = name.parse() {
        return Some(slot);
    }
    let lower = name.to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    let mut number_after = |expected: &str| -> Option<u8> {
        words.by_ref().find(|word| *word == expected)?;
        words.next()?.trim_start_matches('#').parse().ok()
    };
    let (cartridge, node) = (number_after("cartridge")?, number_after("node")?);
    SlotId::new(cartridge, node).ok()
}

fn machine(slot: SlotId, system: &Value, switches: &[String], rules: &CliRules) -> ObservedMachine {
    let nics = nics(system.get("HostMACAddress"), switches);
    let mut macs: Vec<MacAddr> = Vec::new();
    for mac in nics.iter().filter_map(|nic| nic.mac) {
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let word = ["Power", "PowerState"]
        .iter()
        .find_map(|name| system.get(*name).and_then(Value::as_str));
    let power = word.and_then(|word| power_word(rules, word.trim()));
    ObservedMachine {
        slot: slot.to_string(),
        macs,
        power: power.unwrap_or_default(),
        uuid: resources::text(system, "UUID"),
        serial: resources::text(system, "SerialNumber"),
        manufacturer: resources::text(system, "Manufacturer"),
        model: resources::text(system, "Model"),
        nics,
    }
}

/// A list of MACs, or one alone.
fn nics(value: Option<&Value>, switches: &[String]) -> Vec<ObservedNic> {
    let values = match value {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let numbered = values.into_iter().take(MOST_NICS).zip(1..);
    numbered
        .filter_map(|(value, number): (&Value, usize)| {
            let mac: MacAddr = value.as_str()?.parse().ok()?;
            let switch = switches.get((number - 1) % switches.len().max(1)).cloned();
            mac.is_usable().then(|| ObservedNic {
                name: format!("NIC {number}"),
                mac: Some(mac),
                switch,
            })
        })
        .collect()
}

/// A UUID that two nodes have is their cartridge's and would make one machine
/// of them.
fn drop_shared_uuids(machines: &mut [ObservedMachine]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for uuid in machines.iter().filter_map(|machine| machine.uuid.as_ref()) {
        *seen.entry(uuid.to_ascii_lowercase()).or_default() += 1;
    }
    for machine in machines {
        let is_shared = |uuid: &String| seen.get(&uuid.to_ascii_lowercase()) != Some(&1);
        if machine.uuid.as_ref().is_some_and(is_shared) {
            machine.uuid = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profiles::Profiles;

    fn read(summary: &Value) -> Option<Vec<String>> {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.named("hpe-moonshot-1500").unwrap();
        let switches = &profile.rest.as_ref().unwrap().switches;
        let machines = parse_summary(summary, switches, profile.cli.as_ref().unwrap())?;
        let line = |m: &ObservedMachine| {
            let nics: Vec<String> = m
                .nics
                .iter()
                .map(|nic| format!("{} {}", nic.mac.unwrap(), nic.switch.clone().unwrap()))
                .collect();
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            format!(
                "{} {} {} {} {} {}",
                m.slot,
                m.power,
                nics.join(","),
                or(&m.model),
                or(&m.serial),
                or(&m.uuid)
            )
        };
        Some(machines.iter().map(line).collect())
    }

    #[test]
    fn one_odd_value_loses_that_value() {
        let summary = json!({"Systems": [
            {"Name": "Cartridge 0 Node 0", "Power": "Off", "HostMACAddress": []},
            {"Name": "Cartridge 28 Node 1", "Power": "On", "Model": "ProLiant m510",
             "HostMACAddress": ["94:57:A5:00:00:01", "94-57-a5-00-00-02"], "SerialNumber": "CN1", "UUID": "u-1"},
            {"Name": "Cartridge 3 Node 2", "Power": 1, "Model": ["x"], "HostMACAddress": [7, "N/A", "9457a5000003"],
             "SerialNumber": 12, "UUID": "shared"},
            {"Name": null, "links": {"self": {"href": "/rest/v1/Systems/C3N1"}}, "Power": "PoweringOn",
             "HostMACAddress": "94:57:a5:00:00:04", "UUID": "SHARED"},
            {"Name": "Cartridge 28 Node 1", "Power": "Off"},
            "text", null,
        ]});
        assert_eq!(
            read(&summary).unwrap(),
            [
                "c3n1 On 94:57:a5:00:00:04 Switch A - - -",
                "c3n2 Unknown 94:57:a5:00:00:03 Switch A - 12 -",
                "c28n1 On 94:57:a5:00:00:01 Switch A,94:57:a5:00:00:02 Switch B ProLiant m510 CN1 u-1",
            ]
        );
        assert_eq!(read(&json!({"Systems": []})), Some(vec![]));
        for nothing in [json!(null), json!([]), json!({"Systems": {}}), json!("x")] {
            assert_eq!(read(&nothing), None, "{nothing}");
        }
    }
}
