//! Tests of the farm: what is learned, from whom, and what a restart knows.

mod flood;
mod moves;

use std::fs;
use std::path::Path;

use boot_proto::api::{ChassisInventory, MachineView, ObservedMachine};
use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;
use boot_proto::resources::{DesiredPower, ObservedPower};
use boot_proto::time::WallClock;
use tempfile::TempDir;

use super::{Farm, FarmError};
use crate::inventory::{Client, MatchedBy};
use crate::store::Database;

const FARM: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1}
spec: {address: m1, credentials: {secret: m1}, pool: workers}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: one}
spec: {chassis: m1, slot: c1n1, power: "Off"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers}
spec: {image: debian, power: "On"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: catch}
spec: {image: debian, catchAll: true}
"#;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.manifests()).unwrap();
        place.declare(FARM);
        place
    }

    fn manifests(&self) -> std::path::PathBuf {
        self.folder.path().join("manifests")
    }

    fn declare(&self, text: &str) {
        fs::write(self.manifests().join("farm.yaml"), text).unwrap();
    }

    fn open(&self) -> Farm {
        let database = Database::open(&self.folder.path().join("state.redb")).unwrap();
        Farm::open(database, &self.manifests()).unwrap()
    }
}

const NOW: WallClock = WallClock(1_700_000_000_000);

fn mac(last: u8) -> MacAddr {
    MacAddr::new([0x94, 0x57, 0xa5, 0, 0, last])
}

fn client(last: u8) -> Client {
    Client {
        mac: mac(last),
        uuid: None,
    }
}

fn seen(slot: &str, macs: &[u8]) -> ObservedMachine {
    ObservedMachine {
        slot: slot.into(),
        macs: macs.iter().map(|last| mac(*last)).collect(),
        power: ObservedPower::Off,
        ..ObservedMachine::default()
    }
}

fn scan(machines: Vec<ObservedMachine>) -> ChassisInventory {
    ChassisInventory {
        reachable: true,
        complete: true,
        machines,
        ..ChassisInventory::default()
    }
}

fn view(farm: &Farm, name: &str) -> MachineView {
    let views = farm.machines();
    let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    views
        .into_iter()
        .find(|view| view.name == name)
        .unwrap_or_else(|| panic!("{name} in {names:?}"))
}

fn names(farm: &Farm) -> Vec<String> {
    farm.machines().into_iter().map(|view| view.name).collect()
}

fn reachable(view: &MachineView) -> (&str, &str) {
    let condition = &view.status.conditions[0];
    assert_eq!(condition.r#type, "Reachable");
    (&condition.status, &condition.reason)
}

#[test]
fn a_stranger_is_remembered() {
    let place = Place::new();
    let farm = place.open();
    let uuid = Some("31393736-3935-584d-5137-343630314d58".to_owned());
    let met = farm
        .met(
            &Client {
                mac: mac(0xf2),
                uuid: uuid.clone(),
            },
            NOW,
        )
        .unwrap();
    assert_eq!(
        (met.machine.as_str(), met.matched),
        ("94-57-a5-00-00-f2", MatchedBy::CatchAll)
    );
    // Its second NIC is the same machine.
    let met = farm
        .met(
            &Client {
                mac: mac(0xf3),
                uuid,
            },
            NOW,
        )
        .unwrap();
    assert_eq!(
        (met.machine.as_str(), met.matched),
        ("94-57-a5-00-00-f2", MatchedBy::Uuid)
    );
    let facts = MachineFacts {
        cpus: 8,
        memory_bytes: 1 << 34,
        macs: vec![mac(0xf4), mac(0xf2)],
        ..MachineFacts::default()
    };
    farm.learn_facts("94-57-a5-00-00-f2", &facts, NOW).unwrap();
    farm.learn_boot(
        "94-57-a5-00-00-f2",
        Some("10.0.0.9".parse().unwrap()),
        "ready",
        None,
    )
    .unwrap();
    drop(farm);

    let farm = place.open();
    let view = view(&farm, "94-57-a5-00-00-f2");
    assert!(!view.declared);
    assert_eq!(view.pool.as_deref(), Some("catch"));
    assert_eq!(view.spec.macs, [mac(0xf2), mac(0xf3), mac(0xf4)]);
    assert_eq!(
        (view.status.facts.cpus, view.status.facts.memory_bytes),
        (8, 1 << 34)
    );
    assert_eq!(view.status.phase.as_deref(), Some("ready"));
    assert_eq!(view.status.address, Some("10.0.0.9".parse().unwrap()));
    assert_eq!(
        farm.met(&client(0xf4), NOW).unwrap().matched,
        MatchedBy::Mac
    );
    assert!(matches!(
        farm.learn_facts("nobody", &facts, NOW),
        Err(FarmError::UnknownMachine(_))
    ));
    assert!(matches!(
        farm.learn_boot("nobody", None, "dhcp", None),
        Err(FarmError::UnknownMachine(_))
    ));
}

#[test]
fn facts_do_not_take_what_belongs_to_another() {
    let place = Place::new();
    let farm = place.open();
    farm.met(&client(1), NOW).unwrap();
    farm.met(&client(2), NOW).unwrap();
    let facts = MachineFacts {
        macs: vec![mac(1), mac(2), MacAddr::new([0; 6])],
        uuid: Some("00000000-0000-0000-0000-000000000000".into()),
        ..MachineFacts::default()
    };
    farm.learn_facts("94-57-a5-00-00-01", &facts, NOW).unwrap();
    let view = view(&farm, "94-57-a5-00-00-01");
    assert_eq!((view.spec.macs, view.spec.uuid), (vec![mac(1)], None));
    assert_eq!(
        farm.met(&client(2), NOW).unwrap().machine,
        "94-57-a5-00-00-02"
    );
}

#[test]
fn a_scan_finds_machines_and_says_which_power_they_shall_have() {
    let place = Place::new();
    let farm = place.open();
    let machines = vec![seen("c1n1", &[1, 2]), seen("c2n1", &[3]), seen("", &[])];
    let orders = farm
        .observe("m1", scan(machines.clone()), NOW)
        .unwrap()
        .orders;
    let orders: Vec<_> = orders
        .iter()
        .map(|order| {
            (
                order.machine.as_str(),
                order.slot.to_string(),
                order.power,
                order.network_boot,
            )
        })
        .collect();
    assert_eq!(
        orders,
        [
            ("m1-c2n1", "c2n1".into(), DesiredPower::On, true),
            ("one", "c1n1".into(), DesiredPower::Off, true)
        ]
    );
    assert_eq!(names(&farm), ["m1-c2n1", "one"]);
    let one = view(&farm, "one");
    assert_eq!((one.declared, one.status.power), (true, ObservedPower::Off));
    assert_eq!(one.spec.macs, [mac(1), mac(2)]);
    assert_eq!(reachable(&one), ("True", "Scanned"));
    assert_eq!(farm.met(&client(2), NOW).unwrap().machine, "one");
    assert!(matches!(
        farm.observe("m7", scan(machines), NOW),
        Err(FarmError::UnknownChassis(_))
    ));
}

#[test]
fn less_is_never_more_than_nothing() {
    let place = Place::new();
    let farm = place.open();
    farm.observe(
        "m1",
        scan(vec![seen("c1n1", &[1, 2]), seen("c2n1", &[3])]),
        NOW,
    )
    .unwrap();
    // Fewer MACs, and power states alone.
    farm.observe("m1", scan(vec![seen("c1n1", &[1]), seen("c2n1", &[])]), NOW)
        .unwrap();
    let powers = ChassisInventory {
        complete: false,
        machines: vec![
            ObservedMachine {
                power: ObservedPower::On,
                ..seen("c1n1", &[])
            },
            seen("c9n1", &[]),
        ],
        ..scan(Vec::new())
    };
    farm.observe("m1", powers, NOW).unwrap();
    assert_eq!(names(&farm), ["m1-c2n1", "one"]);
    assert_eq!(view(&farm, "one").status.power, ObservedPower::On);
    assert_eq!(view(&farm, "one").spec.macs, [mac(1), mac(2)]);
    assert_eq!(view(&farm, "m1-c2n1").spec.macs, [mac(3)]);
    // No answer at all.
    let silence = ChassisInventory {
        message: "connection refused".into(),
        ..ChassisInventory::default()
    };
    let orders = farm.observe("m1", silence, WallClock(NOW.0 + 5)).unwrap();
    assert_eq!(orders.orders.len(), 2);
    assert_eq!(names(&farm), ["m1-c2n1", "one"]);
    let one = view(&farm, "one");
    assert_eq!(reachable(&one), ("Unknown", "ChassisUnreachable"));
    assert_eq!(one.status.conditions[0].message, "connection refused");
    assert_eq!(
        one.status.conditions[0].last_transition_time,
        WallClock(NOW.0 + 5)
    );
    // A cartridge that was pulled.
    farm.observe("m1", scan(vec![seen("c1n1", &[1])]), NOW)
        .unwrap();
    assert_eq!(reachable(&view(&farm, "m1-c2n1")), ("False", "NotInScan"));
    assert_eq!(reachable(&view(&farm, "one")), ("True", "Scanned"));
}

#[test]
fn one_machine_stays_one_machine() {
    let place = Place::new();
    let farm = place.open();
    // Met through the catch-all pool first, then seen in its chassis: it keeps
    // its name, and gets its slot.
    farm.met(&client(3), NOW).unwrap();
    farm.observe("m1", scan(vec![seen("c2n1", &[3, 4])]), NOW)
        .unwrap();
    assert_eq!(names(&farm), ["94-57-a5-00-00-03", "one"]);
    let view = view(&farm, "94-57-a5-00-00-03");
    assert_eq!(
        (view.spec.chassis.as_deref(), view.pool.as_deref()),
        (Some("m1"), Some("workers"))
    );
    assert_eq!(view.spec.macs, [mac(3), mac(4)]);
    // Two records, met through either NIC, become one.
    farm.met(&client(5), NOW).unwrap();
    farm.met(&client(6), WallClock(NOW.0 + 1)).unwrap();
    farm.observe(
        "m1",
        scan(vec![seen("c2n1", &[3, 4]), seen("c3n1", &[5, 6])]),
        NOW,
    )
    .unwrap();
    assert_eq!(
        names(&farm),
        ["94-57-a5-00-00-03", "94-57-a5-00-00-05", "one"]
    );
    // A stranger that turns out to be a declared machine takes its name.
    farm.met(&client(1), NOW).unwrap();
    farm.observe("m1", scan(vec![seen("c1n1", &[1])]), NOW)
        .unwrap();
    assert_eq!(
        names(&farm),
        ["94-57-a5-00-00-03", "94-57-a5-00-00-05", "one"]
    );
    assert_eq!(farm.met(&client(1), NOW).unwrap().machine, "one");
}

#[test]
fn cartridges_move() {
    let place = Place::new();
    let farm = place.open();
    farm.observe(
        "m1",
        scan(vec![seen("c2n1", &[2]), seen("c3n1", &[3])]),
        NOW,
    )
    .unwrap();
    let facts = MachineFacts {
        cpus: 4,
        ..MachineFacts::default()
    };
    farm.learn_facts("m1-c2n1", &facts, NOW).unwrap();
    farm.observe(
        "m1",
        scan(vec![seen("c2n1", &[3]), seen("c3n1", &[2])]),
        NOW,
    )
    .unwrap();
    assert_eq!(farm.met(&client(2), NOW).unwrap().machine, "m1-c3n1");
    assert_eq!(farm.met(&client(3), NOW).unwrap().machine, "m1-c2n1");
    assert_eq!(names(&farm), ["m1-c2n1", "m1-c3n1", "one"]);
}

#[test]
fn manifests_are_reloaded_and_wrong_ones_are_not() {
    let place = Place::new();
    let farm = place.open();
    farm.observe("m1", scan(vec![seen("c2n1", &[2])]), NOW)
        .unwrap();
    assert!(!farm.reload().unwrap());
    assert!(!farm.reload_if_changed());
    // What was found is declared under another name.
    place.declare(&format!("{FARM}---\napiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {{name: web}}\nspec: {{macs: [{}]}}\n", mac(2)));
    assert!(farm.reload_if_changed());
    assert_eq!(names(&farm), ["one", "web"]);
    let web = view(&farm, "web");
    assert_eq!(
        (web.spec.chassis.as_deref(), web.status.power),
        (Some("m1"), ObservedPower::Off)
    );
    // Wrong: all stays, and the mistakes can be asked for.
    place.declare(&FARM.replace("pool: workers", "pool: nowhere"));
    assert!(!farm.reload_if_changed());
    assert_eq!(names(&farm), ["one", "web"]);
    assert_eq!(farm.manifest_mistakes().len(), 1);
    assert!(!farm.reload_if_changed());
    assert!(matches!(farm.reload(), Err(FarmError::Manifests(_))));
    place.declare(FARM);
    assert!(farm.reload_if_changed());
    assert_eq!(farm.manifest_mistakes(), []);
    // No longer declared, it is a found machine under the name it had.
    assert_eq!(names(&farm), ["one", "web"]);
    assert!(!view(&farm, "web").declared);
    fs::remove_dir_all(place.manifests()).unwrap();
    assert!(!farm.reload_if_changed());
    assert_eq!(names(&farm), ["one", "web"]);
}

#[test]
fn wrong_manifests_at_the_start_are_all_told() {
    let place = Place::new();
    place.declare(
        &FARM
            .replace("pool: workers", "pool: nowhere")
            .replace("c1n1", "c0n1"),
    );
    let database = Database::open(&place.folder.path().join("state.redb")).unwrap();
    let error = Farm::open(database, &place.manifests())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("nowhere") && error.contains("c0n1") && error.contains("2 mistakes"),
        "{error}"
    );
    let database = Database::open(&place.folder.path().join("other.redb")).unwrap();
    assert!(Farm::open(database, Path::new("/nonexistent/manifests")).is_err());
}

#[test]
fn systems_behind_a_bmc_are_ordered_by_their_own_names() {
    let place = Place::new();
    place.declare(&format!(
        "{FARM}---\napiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {{name: two}}\n\
         spec: {{chassis: m1, slot: System.Embedded.2, power: \"Off\"}}\n"
    ));
    let farm = place.open();
    let scan = scan(vec![
        seen("System.Embedded.1", &[0x11]),
        seen("System.Embedded.2", &[0x12]),
    ]);
    let orders = farm.observe("m1", scan, NOW).unwrap().orders;
    let orders: Vec<_> = orders
        .iter()
        .map(|order| (order.machine.as_str(), order.slot.as_str(), order.power))
        .collect();
    assert_eq!(
        orders,
        [
            (
                "m1-system-embedded-1",
                "System.Embedded.1",
                DesiredPower::On
            ),
            ("one", "c1n1", DesiredPower::Off),
            ("two", "System.Embedded.2", DesiredPower::Off),
        ]
    );
}
