//! Tests of the inventory: who is who, in which pool, with which profile.

use std::sync::Arc;

use boot_proto::ids::MacAddr;
use boot_proto::resources::DesiredPower;
use boot_proto::time::WallClock;

use super::{Client, Found, Inventory, LearnedMachine, MatchedBy, PoolRule, Unassigned};
use crate::manifests::tests::declared;

const FARM: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1}
spec: {address: m1, credentials: {secret: m1}, pool: chassis-pool}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: one, labels: {row: a}}
spec:
  chassis: m1
  slot: c1n1
  macs: [94:57:a5:00:00:01]
  uuid: 31393736-3935-584D-5137-343630314D58
  address: 10.0.0.7
  profiles: [late]
  labels: {who: machine, three: machine}
  taints: [{key: machine, effect: NoExecute}]
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: two}
spec: {macs: [94:57:a5:00:00:02], pool: catch, hostname: second, power: "Off"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec:
  machines: {slots: [m1/C1N1]}
  image: debian
  cluster: prod
  subnet: lan
  profiles: [base, extra]
  hostname: n-{chassis}-{slot}
  labels: {two: pool, who: pool}
  taints: [{key: pool, effect: NoSchedule}]
  power: "On"
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: chassis-pool}
spec: {image: debian, power: "On"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: catch}
spec: {image: sha256, catchAll: true, power: "On"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: base}
spec: {mtu: 1500, timeZone: UTC, labels: {one: base, two: base, three: base, who: base}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: extra}
spec: {mtu: 9000, labels: {one: extra}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: late}
spec: {timeZone: Europe/Prague}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {name: prod}
spec:
  endpoint: 10.0.0.2:6443
  caCertHashes: ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
  kubeconfigFile: kubeconfig
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan}
spec: {cidr: 10.0.0.0/24}
"#;

fn mac(last: u8) -> MacAddr {
    MacAddr::new([0x94, 0x57, 0xa5, 0, 0, last])
}

fn client(last: u8) -> Client {
    Client {
        mac: mac(last),
        uuid: None,
    }
}

fn learned(name: &str, slot: Option<&str>, macs: &[u8]) -> LearnedMachine {
    let found = Found {
        shown: Vec::new(),
        serial: None,
        chassis: slot.map(|_| "m1".to_owned()),
        slot: slot.map(|slot| slot.parse().unwrap()),
        macs: macs.iter().map(|last| mac(*last)).collect(),
        uuid: None,
    };
    LearnedMachine {
        found,
        ..LearnedMachine::new(name, WallClock(1))
    }
}

fn farm(learned: Vec<LearnedMachine>) -> Inventory {
    Inventory::new(declared(FARM), learned)
}

#[test]
fn a_declared_machine_gets_all_that_is_declared() {
    let inventory = farm(vec![learned("one", None, &[1, 9])]);
    let one = inventory.assign(&client(9)).unwrap();
    assert_eq!(
        (one.machine.as_str(), one.hostname.as_str()),
        ("one", "n-m1-c1n1")
    );
    assert_eq!((one.declared, one.matched), (true, MatchedBy::Mac));
    assert_eq!(one.macs, [mac(1), mac(9)]);
    assert_eq!(one.address, Some("10.0.0.7".parse().unwrap()));
    assert_eq!(
        (one.pool.as_deref(), one.pool_rule),
        (Some("workers"), Some(PoolRule::Slot))
    );
    assert_eq!(
        (one.subnet.as_deref(), one.image.as_deref()),
        (Some("lan"), Some("debian"))
    );
    assert_eq!(one.cluster.unwrap().name(), "prod");
    assert_eq!(one.power, Some(DesiredPower::On));
    assert_eq!(inventory.assignment_of("one").unwrap().machine, "one");
    assert_eq!(inventory.assignment_of("nobody"), None);
}

#[test]
fn profiles_merge_in_order_and_the_machine_wins() {
    let profile = farm(Vec::new()).assign(&client(1)).unwrap().profile;
    assert_eq!(profile.mtu, Some(9000));
    assert_eq!(profile.time_zone.as_deref(), Some("Europe/Prague"));
    let labels: Vec<(&str, &str)> = profile
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        labels,
        [
            ("one", "extra"),
            ("three", "machine"),
            ("two", "pool"),
            ("who", "machine")
        ]
    );
    let taints: Vec<&str> = profile
        .taints
        .iter()
        .map(|taint| taint.key.as_str())
        .collect();
    assert_eq!(taints, ["pool", "machine"]);
}

#[test]
fn clients_are_recognised() {
    let uuid = Some("31393736-3935-584d-5137-343630314d58".to_owned());
    let inventory = farm(vec![learned("m1-c2n1", Some("c2n1"), &[3])]);
    // Whoever claims the UUID of a machine that is declared by its MACs is not
    // that machine.
    let met = inventory
        .assign(&Client {
            mac: mac(8),
            uuid: uuid.clone(),
        })
        .unwrap();
    assert_eq!(
        (met.machine.as_str(), met.matched),
        ("94-57-a5-00-00-08", MatchedBy::CatchAll)
    );
    // A second NIC of a machine that nobody declared.
    let mut found = learned("m1-c2n1", Some("c2n1"), &[3]);
    found.found.uuid = Some("41393736-3935-584d-5137-343630314d58".into());
    let second = Client {
        mac: mac(9),
        uuid: found.found.uuid.clone(),
    };
    let met = farm(vec![found]).assign(&second).unwrap();
    assert_eq!(
        (met.machine.as_str(), met.matched),
        ("m1-c2n1", MatchedBy::Uuid)
    );
    assert_eq!(met.macs, [mac(3), mac(9)]);
    // The MAC beats the UUID.
    let met = inventory.assign(&Client { mac: mac(2), uuid }).unwrap();
    assert_eq!((met.machine.as_str(), met.matched), ("two", MatchedBy::Mac));
    // A found machine.
    let met = inventory.assign(&client(3)).unwrap();
    assert_eq!((met.machine.as_str(), met.declared), ("m1-c2n1", false));
    // A stranger, for the catch-all pool; its placeholder UUID tells nothing.
    let placeholder = Some("03000200-0400-0500-0006-000700080009".to_owned());
    let met = inventory
        .assign(&Client {
            mac: mac(0xf2),
            uuid: placeholder,
        })
        .unwrap();
    assert_eq!(
        (met.machine.as_str(), met.matched),
        ("94-57-a5-00-00-f2", MatchedBy::CatchAll)
    );
    assert_eq!(
        (met.hostname.as_str(), met.uuid),
        ("94-57-a5-00-00-f2", None)
    );
    assert_eq!((met.pool.as_deref(), met.power), (Some("catch"), None));
    let zero = Client {
        mac: MacAddr::new([0; 6]),
        uuid: None,
    };
    assert!(matches!(
        inventory.assign(&zero),
        Err(Unassigned::Placeholder { .. })
    ));
    let without = declared(&FARM.replace("catchAll: true", "catchAll: false"));
    let inventory = Inventory::new(without, Vec::new());
    assert_eq!(
        inventory.assign(&client(0xf2)),
        Err(Unassigned::Unknown { mac: mac(0xf2) })
    );
}

#[test]
fn a_uuid_that_two_machines_report_tells_neither() {
    let uuid = "41393736-3935-584d-5137-343630314d58";
    let with_uuid = |name: &str, last: u8| {
        let mut machine = learned(name, None, &[last]);
        machine.found.uuid = Some(uuid.to_owned());
        machine
    };
    let one = farm(vec![with_uuid("a", 0x21)]);
    assert_eq!(one.machine_of_uuid(&uuid.to_uppercase()), Some("a"));
    let both = farm(vec![with_uuid("a", 0x21), with_uuid("b", 0x22)]);
    assert_eq!(both.machine_of_uuid(uuid), None);
}

#[test]
fn pools_of_found_machines() {
    let inventory = farm(vec![
        learned("m1-c2n1", Some("c2n1"), &[3]),
        learned("x", None, &[4]),
    ]);
    let met = inventory.assign(&client(3)).unwrap();
    assert_eq!(
        (met.pool.as_deref(), met.pool_rule),
        (Some("chassis-pool"), Some(PoolRule::Chassis))
    );
    assert_eq!(met.power, Some(DesiredPower::On));
    // What only the catch-all pool takes is not switched on by its pool.
    let met = inventory.assign(&client(4)).unwrap();
    assert_eq!((met.pool.as_deref(), met.power), (Some("catch"), None));
    // A declared machine's own words win.
    let two = inventory.assign(&client(2)).unwrap();
    assert_eq!(
        (two.pool_rule, two.power),
        (Some(PoolRule::Machine), Some(DesiredPower::Off))
    );
    assert_eq!(two.hostname, "second");
}

#[test]
fn a_pool_that_names_a_mac_knows_its_machine() {
    let text = FARM.replace("{slots: [m1/C1N1]}", "{macs: [94-57-A5-00-00-07]}");
    for text in [
        text.clone(),
        text.replace("catchAll: true", "catchAll: false"),
    ] {
        let inventory = Inventory::new(declared(&text), Vec::new());
        let met = inventory.assign(&client(7)).unwrap();
        assert_eq!(
            (met.machine.as_str(), met.matched, met.pool.as_deref()),
            ("94-57-a5-00-00-07", MatchedBy::Pool, Some("workers"))
        );
    }
}

#[test]
fn the_narrowest_selector_wins() {
    let check = |selector: &str, rule: PoolRule| {
        let text = FARM.replace("{slots: [m1/C1N1]}", selector);
        let one = Inventory::new(declared(&text), Vec::new())
            .assign(&client(1))
            .unwrap();
        assert_eq!(
            (one.pool.as_deref(), one.pool_rule),
            (Some("workers"), Some(rule)),
            "{selector}"
        );
    };
    check("{names: [one], slots: [m1/*]}", PoolRule::Name);
    check("{macs: [94-57-A5-00-00-01]}", PoolRule::Mac);
    check("{matchLabels: {row: a}}", PoolRule::Labels);
    check("{slots: [m1/*]}", PoolRule::WholeChassis);
    let text = FARM.replace("{slots: [m1/C1N1]}", "{matchLabels: {row: a, rack: b}}");
    let one = Inventory::new(declared(&text), Vec::new())
        .assign(&client(1))
        .unwrap();
    assert_eq!(one.pool_rule, Some(PoolRule::Chassis));
}

#[test]
fn host_names_of_patterns() {
    let name = |pattern: &str, machine: &LearnedMachine| {
        let text = FARM.replace(
            "{image: debian, power: \"On\"}",
            &format!("{{image: debian, hostname: \"{pattern}\"}}"),
        );
        let inventory = Inventory::new(declared(&text), vec![machine.clone()]);
        inventory.assign(&client(3)).unwrap().hostname
    };
    let machine = learned("m1-c2n1", Some("c2n1"), &[3]);
    assert_eq!(name("w-{slot}", &machine), "w-c2n1");
    assert_eq!(name("{machine}.farm.test", &machine), "m1-c2n1.farm.test");
    assert_eq!(name("w-{mac}", &machine), "w-94-57-a5-00-00-03");
    // Without a slot the pattern cannot be filled.
    let mut elsewhere = learned("lonely", None, &[3]);
    elsewhere.found.chassis = Some("m1".into());
    assert_eq!(name("w-{slot}", &elsewhere), "lonely");
}

#[test]
fn look_ups() {
    let inventory = farm(vec![learned("m1-c2n1", Some("c2n1"), &[3, 1])]);
    assert_eq!(
        inventory.machine_of_slot("m1", &"c2n1".parse().unwrap()),
        Some("m1-c2n1")
    );
    assert_eq!(
        inventory.machine_of_slot("m1", &"c1n1".parse().unwrap()),
        Some("one")
    );
    // A declared MAC is the declared machine's, whoever was seen with it.
    assert_eq!(inventory.machine_of_mac(mac(1)), Some("one"));
    assert_eq!(inventory.assignment_of("m1-c2n1").unwrap().macs, [mac(3)]);
    assert_eq!(
        inventory.reservation_of("10.0.0.7".parse().unwrap()),
        Some("one")
    );
    assert_eq!(inventory.reservation_of("10.0.0.8".parse().unwrap()), None);
    assert_eq!(
        inventory
            .subnet_of("10.0.0.8".parse().unwrap())
            .unwrap()
            .name(),
        "lan"
    );
    assert!(inventory.subnet_of("10.0.1.8".parse().unwrap()).is_none());
    assert_eq!(
        inventory.pools_of_image("debian"),
        ["chassis-pool", "workers"]
    );
    let names: Vec<String> = inventory
        .machines()
        .into_iter()
        .map(|view| view.name)
        .collect();
    assert_eq!(names, ["m1-c2n1", "one", "two"]);
    assert_eq!(Arc::strong_count(inventory.declared()), 1);
}
