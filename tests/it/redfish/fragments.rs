//! Single resources of further devices, and resources that nobody meant.

use std::path::{Path, PathBuf};

use boot_proto::redfish_rules::MacRules;
use chassis_agent::drivers::redfish::boot::Override;
use chassis_agent::drivers::redfish::macs::NicList;
use chassis_agent::drivers::redfish::power::{ResetAction, allowed_by};
use chassis_agent::drivers::redfish::resources::{Root, members, next_page};
use chassis_agent::drivers::redfish::walk::System;
use moonfarm_tests::needs::is_met;
use serde_json::{Value, json};

use super::hardware;

/// All readers on one resource. None of them may fail, whatever it is.
fn read(resource: &Value) -> (Vec<String>, usize) {
    let rules = MacRules {
        bios_attributes: vec!["*".into()],
        ..MacRules::default()
    };
    let mut list = NicList::new(&rules);
    list.interface(resource);
    list.base_adapter(resource);
    list.function("a", resource);
    list.port("a", resource);
    list.boot_option(resource);
    list.boot_targets(resource);
    list.bios(resource);
    let system = System {
        uri: "/redfish/v1/Systems/x".into(),
        body: resource.clone(),
    };
    let _ = (
        system.machine(),
        ResetAction::read(&system),
        Override::read(resource),
    );
    let _ = (
        allowed_by(resource),
        members(resource),
        next_page(resource),
        Root::read(resource),
    );
    let (macs, nics) = list.finish();
    (macs.iter().map(ToString::to_string).collect(), nics.len())
}

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            json_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_fragment_is_read_without_harm() {
    let folder = hardware().join("redfish-fragments");
    let missing = (!folder.is_dir()).then(|| format!("{} is not there", folder.display()));
    if !is_met(missing) {
        return;
    }
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    assert!(files.len() > 50, "{}", files.len());
    for file in &files {
        let Ok(resource) = serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()) else {
            continue;
        };
        read(&resource);
    }
    let fragment = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    };
    // An interface whose MAC is an empty text is a NIC without a MAC.
    let empty = fragment("dell-idrac10-r770-empty-mac.json");
    assert_eq!(read(&empty["body"]), (Vec::new(), 1));
    for (name, macs) in [
        ("bmclib/smc_aoc/ethernet_1.json", vec!["3c:ec:ef:10:20:01"]),
        (
            "bmclib/smc_aoc/network_port_1.json",
            vec!["3c:ec:ef:10:20:01"],
        ),
        // Locally administered.
        ("hpe-ilo5-proliantutils/ethernet_interface.json", vec![]),
    ] {
        assert_eq!(read(&fragment(name)).0, macs, "{name}");
    }
}

#[test]
fn resources_that_nobody_meant() {
    let odd = [
        json!(null),
        json!(true),
        json!(1e308),
        json!("MAC("),
        json!([]),
        json!([[[{}]]]),
        json!({ "Members": {} }),
        json!({ "Members": [[]], "Members@odata.nextLink": 7 }),
        json!({ "Ethernet": [], "Oem": { "a": null }, "Links": "x", "Boot": [] }),
        json!({ "Ethernet": { "AssociatedMACAddresses": [null, 3, {}] } }),
        json!({ "PhysicalPorts": [null, { "MacAddress": [] }] }),
        json!({ "Attributes": [1], "UefiDevicePath": "MAC(é)MAC(0123456789é" }),
        json!({ "Actions": { "#ComputerSystem.Reset": [] }, "Parameters": [3] }),
        json!({ "Id": {}, "UUID": 3, "PowerState": [], "SerialNumber": -1.5 }),
        json!({ "ProtocolFeaturesSupported": { "ExpandQuery": "yes" }, "Systems": [] }),
    ];
    for resource in &odd {
        assert_eq!(read(resource).0, Vec::<String>::new(), "{resource}");
    }
}
