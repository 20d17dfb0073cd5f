//! Cartridges that move, are swapped or replaced, and what a chassis says of
//! itself.

use boot_proto::api::ReportedCondition;

use super::*;

fn serial(machine: ObservedMachine, serial: &str) -> ObservedMachine {
    ObservedMachine {
        serial: Some(serial.into()),
        ..machine
    }
}

fn facts(cpus: u32) -> MachineFacts {
    MachineFacts {
        cpus,
        ..MachineFacts::default()
    }
}

/// `c2n1` and `c3n1` with 2 and 3 CPUs and a boot each.
fn two_cartridges(farm: &Farm) {
    let scan = scan(vec![
        serial(seen("c2n1", &[2]), "CZ2"),
        serial(seen("c3n1", &[3]), "CZ3"),
    ]);
    farm.observe("m1", scan, NOW).unwrap();
    for number in [2, 3] {
        let name = format!("m1-c{number}n1");
        farm.learn_facts(&name, &facts(number), NOW).unwrap();
        let address = format!("10.0.0.{number}").parse().unwrap();
        farm.learn_boot(&name, Some(address), "ready", None)
            .unwrap();
    }
}

fn told(farm: &Farm, name: &str) -> (Vec<MacAddr>, u32, Option<String>) {
    let view = view(farm, name);
    let address = view.status.address.map(|address| address.to_string());
    (view.spec.macs, view.status.facts.cpus, address)
}

#[test]
fn a_cartridge_that_moves_takes_along_what_is_known_of_it() {
    let place = Place::new();
    let farm = place.open();
    two_cartridges(&farm);
    let moved = vec![
        serial(seen("c3n1", &[3]), "CZ3"),
        serial(seen("c9n1", &[2]), "CZ2"),
    ];
    farm.observe("m1", scan(moved), NOW).unwrap();
    assert_eq!(names(&farm), ["m1-c3n1", "m1-c9n1", "one"]);
    let expected = (vec![mac(2)], 2, Some("10.0.0.2".to_owned()));
    assert_eq!(told(&farm, "m1-c9n1"), expected);
    assert_eq!(farm.met(&client(2), NOW).unwrap().machine, "m1-c9n1");
    drop(farm);
    assert_eq!(told(&place.open(), "m1-c9n1"), expected);
}

#[test]
fn two_cartridges_that_were_swapped_keep_their_facts_apart() {
    let place = Place::new();
    let farm = place.open();
    two_cartridges(&farm);
    let swapped = vec![
        serial(seen("c2n1", &[3]), "CZ3"),
        serial(seen("c3n1", &[2]), "CZ2"),
    ];
    farm.observe("m1", scan(swapped), NOW).unwrap();
    assert_eq!(names(&farm), ["m1-c2n1", "m1-c3n1", "one"]);
    let address = |last: u8| Some(format!("10.0.0.{last}"));
    assert_eq!(told(&farm, "m1-c2n1"), (vec![mac(3)], 3, address(3)));
    assert_eq!(told(&farm, "m1-c3n1"), (vec![mac(2)], 2, address(2)));
}

#[test]
fn a_cartridge_without_macs_is_known_by_its_serial_number() {
    let place = Place::new();
    let farm = place.open();
    two_cartridges(&farm);
    // Off, a node shows no MACs for a while.
    let moved = vec![
        serial(seen("c3n1", &[]), "CZ3"),
        serial(seen("c9n1", &[]), "CZ2"),
    ];
    farm.observe("m1", scan(moved), NOW).unwrap();
    assert_eq!(told(&farm, "m1-c9n1").0, [mac(2)]);
    assert_eq!(told(&farm, "m1-c3n1").0, [mac(3)], "fewer MACs delete none");
    assert_eq!(names(&farm), ["m1-c3n1", "m1-c9n1", "one"]);
}

#[test]
fn what_replaces_a_cartridge_starts_afresh() {
    let place = Place::new();
    for replacement in [
        // Another cartridge, another board in the same one, one without MACs yet.
        serial(seen("c2n1", &[9]), "CZ9"),
        serial(seen("c2n1", &[9]), "CZ2"),
        serial(seen("c2n1", &[]), "CZ9"),
    ] {
        let farm = place.open();
        two_cartridges(&farm);
        let macs = replacement.macs.clone();
        let scan = scan(vec![replacement, serial(seen("c3n1", &[3]), "CZ3")]);
        farm.observe("m1", scan, NOW).unwrap();
        assert_eq!(told(&farm, "m1-c2n1"), (macs, 0, None));
        assert_eq!(told(&farm, "m1-c3n1").1, 3);
    }
}

#[test]
fn a_machine_named_by_its_mac_moves_with_its_name() {
    let place = Place::new();
    let farm = place.open();
    farm.met(&client(7), NOW).unwrap();
    farm.observe("m1", scan(vec![seen("c2n1", &[7])]), NOW)
        .unwrap();
    farm.observe("m1", scan(vec![seen("c4n1", &[7, 8])]), NOW)
        .unwrap();
    assert_eq!(names(&farm), ["94-57-a5-00-00-07", "one"]);
    let view = view(&farm, "94-57-a5-00-00-07");
    assert_eq!(view.spec.slot.unwrap().as_str(), "c4n1");
    assert_eq!(view.spec.macs, [mac(7), mac(8)]);
}

#[test]
fn a_uuid_or_mac_that_several_show_joins_nobody() {
    let place = Place::new();
    let farm = place.open();
    let alike = |slot: &str, macs: &[u8]| ObservedMachine {
        uuid: Some("31393736-3935-584d-5137-343630314d58".into()),
        ..seen(slot, macs)
    };
    // 0x77 is the virtual USB NIC that all of them have.
    let machines = vec![alike("c2n1", &[2, 0x77]), alike("c3n1", &[3, 0x77])];
    farm.observe("m1", scan(machines), NOW).unwrap();
    assert_eq!(told(&farm, "m1-c2n1").0, [mac(2)]);
    assert_eq!(told(&farm, "m1-c3n1").0, [mac(3)]);
    assert_eq!(view(&farm, "m1-c2n1").spec.uuid, None);
}

#[test]
fn a_chassis_tells_what_is_wrong_and_since_when() {
    let place = Place::new();
    let farm = place.open();
    assert_eq!(farm.chassis()[0].status.conditions, []);
    let condition = |slot: Option<&str>, about: &str, status: &str| ReportedCondition {
        slot: slot.map(str::to_owned),
        r#type: about.into(),
        status: status.into(),
        reason: "Because".into(),
        message: format!("{about} is {status}"),
    };
    let mut report = scan(vec![seen("c2n1", &[2])]);
    report.profile = Some("hpe-moonshot-1500".into());
    report.conditions = vec![
        condition(None, "Ready", "True"),
        condition(Some("c2n1"), "NetworkBoot", "False"),
    ];
    farm.observe("m1", report, NOW).unwrap();
    let away = ChassisInventory {
        message: "no route".into(),
        conditions: vec![condition(None, "Ready", "False")],
        ..ChassisInventory::default()
    };
    let later = WallClock(NOW.0 + 9_000);
    farm.observe("m1", away, later).unwrap();
    drop(farm);

    let farm = place.open();
    let status = &farm.chassis()[0].status;
    assert_eq!((status.machines, status.last_seen), (1, Some(NOW)));
    assert_eq!(status.profile.as_deref(), Some("hpe-moonshot-1500"));
    let ready = &status.conditions[0];
    assert_eq!(
        (&*ready.status, ready.last_transition_time),
        ("False", later)
    );
    let machine = view(&farm, "m1-c2n1").status;
    let find = |about: &str| {
        let mut all = machine.conditions.iter();
        all.find(|one| one.r#type == about).unwrap().status.clone()
    };
    assert_eq!(
        (&*find("Reachable"), &*find("NetworkBoot")),
        ("Unknown", "False")
    );
    assert_eq!(machine.power, ObservedPower::Unknown);
}

#[test]
fn a_look_that_finds_nothing_new_is_not_written() {
    let place = Place::new();
    let look = |farm: &Farm, secs: u64| {
        let at = WallClock(NOW.0 + secs * 1_000);
        farm.observe("m1", scan(vec![seen("c2n1", &[2])]), at)
            .unwrap();
        let seen = view(farm, "m1-c2n1").status.observed_at;
        assert_eq!(
            (seen, farm.chassis()[0].status.last_seen),
            (Some(at), Some(at))
        );
    };
    let written = |farm: &Farm| {
        let machine = view(farm, "m1-c2n1").status.observed_at.unwrap();
        let chassis = farm.chassis()[0].status.last_seen.unwrap();
        assert_eq!(machine, chassis);
        (machine.0 - NOW.0) / 1_000
    };
    for (last, expected) in [(30, 0), (299, 0), (300, 300)] {
        let farm = place.open();
        look(&farm, 0);
        look(&farm, last);
        drop(farm);
        assert_eq!(written(&place.open()), expected, "{last}");
    }
    // What is new is written at once.
    let farm = place.open();
    let mut on = seen("c2n1", &[2]);
    on.power = ObservedPower::On;
    let at = WallClock(NOW.0 + 310_000);
    farm.observe("m1", scan(vec![on]), at).unwrap();
    drop(farm);
    assert_eq!(
        view(&place.open(), "m1-c2n1").status.power,
        ObservedPower::On
    );
}
