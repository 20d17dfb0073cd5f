use boot_proto::resources::NetworkSpec;

use super::*;
use crate::net::desired::{Impossible, work_out};
use crate::net::fake::FakeLinks;
use crate::net::nics::Nic;
use crate::net::{Links as _, apply_all};

fn nics(links: &[Link]) -> Vec<Nic> {
    let nics = links.iter().filter(|link| link.kind.is_none());
    nics.map(|link| Nic {
        link: link.clone(),
        driver: None,
        names: vec![link.name.clone()],
    })
    .collect()
}

fn network(json: serde_json::Value) -> NetworkSpec {
    serde_json::from_value(json).unwrap()
}

fn bonded(mode: &str, more: serde_json::Value) -> NetworkSpec {
    let mut interfaces = serde_json::json!({
        "a": {"match": {"boot": true}}, "b": {"match": {"boot": false}},
        "bond0": {"bond": {"ports": ["a", "b"], "mode": mode, "primary": null}, "mtu": 9000},
    });
    let all = interfaces.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    network(serde_json::json!({"interfaces": interfaces}))
}

/// Brings `network` about and tells what was done; asked again, nothing is.
fn bring_about(network: &NetworkSpec, fake: &mut FakeLinks, boot: u8) -> Vec<String> {
    let boot = Some(MacAddr::new([0x52, 0x54, 0, 0, 0, boot]));
    let mut told = Vec::new();
    for round in 0..2 {
        let links = fake.all().unwrap();
        let desired = work_out(network, &nics(&links), boot).unwrap().unwrap();
        let list = changes(&desired, &links);
        assert!(round == 0 || list.is_empty(), "{list:?}");
        told.extend(list.iter().map(ToString::to_string));
        apply_all(fake, &list).unwrap();
    }
    told
}

#[test]
fn a_bond_of_two_nics_whichever_booted() {
    for (boot, order) in [(0, ["eth0", "eth1"]), (1, ["eth1", "eth0"])] {
        let mut fake = FakeLinks::new(2);
        let told = bring_about(&bonded("802.3ad", serde_json::json!({})), &mut fake, boot);
        assert_eq!(
            told,
            [
                "making the bond bond0 (802.3ad)".to_owned(),
                format!("making {} a port of bond0", order[0]),
                format!("making {} a port of bond0", order[1]),
                "setting the MTU of bond0 to 9000".to_owned(),
                "setting bond0 up".to_owned(),
            ]
        );
        let bond = fake
            .all()
            .unwrap()
            .into_iter()
            .find(|link| link.name == "bond0")
            .unwrap();
        assert_eq!(bond.mac, MacAddr::new([0x52, 0x54, 0, 0, 0, boot]));
    }
}

#[test]
fn a_link_that_is_up_is_set_down_to_become_a_port() {
    let mut fake = FakeLinks::new(2);
    fake.links[1].is_up = true;
    let told = bring_about(
        &bonded("active-backup", serde_json::json!({})),
        &mut fake,
        0,
    );
    assert_eq!(
        told[2..4],
        ["setting eth1 down", "making eth1 a port of bond0"]
    );
}

#[test]
fn a_vlan_of_a_bond_and_of_a_nic() {
    let mut spec = bonded(
        "active-backup",
        serde_json::json!({"v": {"vlan": {"link": "bond0", "id": 20}}}),
    );
    spec.boot = Some("v".to_owned());
    let told = bring_about(&spec, &mut FakeLinks::new(2), 0);
    assert_eq!(
        told[4..],
        [
            "setting bond0 up",
            "making v, VLAN 20 of bond0",
            "setting v up"
        ]
    );
    let spec = network(serde_json::json!({"interfaces": {
        "a": {"match": {"name": "eth*"}}, "v": {"vlan": {"link": "a", "id": 7}}}}));
    let told = bring_about(&spec, &mut FakeLinks::new(2), 1);
    assert_eq!(
        told,
        [
            "setting eth1 up",
            "making v, VLAN 7 of eth1",
            "setting v up"
        ]
    );
}

#[test]
fn a_missing_port_is_told_and_done_without() {
    let spec = bonded("802.3ad", serde_json::json!({}));
    let fake = FakeLinks::new(1);
    let boot = Some(fake.links[0].mac);
    let desired = work_out(&spec, &nics(&fake.links), boot).unwrap().unwrap();
    assert_eq!(desired.missing, ["b"]);
    let none = work_out(&spec, &[], boot);
    assert_eq!(none, Err(Impossible::NoPort("bond0".to_owned())));
}

#[test]
fn the_primary_port() {
    let spec = network(serde_json::json!({"interfaces": {
        "a": {"match": {"name": "eth0"}}, "b": {"match": {"name": "eth1"}},
        "bond0": {"bond": {"ports": ["a", "b"], "primary": "b"}}}}));
    let told = bring_about(&spec, &mut FakeLinks::new(2), 0);
    assert!(
        told.contains(&"preferring eth1 in bond0".to_owned()),
        "{told:?}"
    );
}
