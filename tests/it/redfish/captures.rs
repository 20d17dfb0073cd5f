//! Every captured device: what is observed of it, against what a person read in
//! the capture.

use std::collections::BTreeMap;
use std::sync::Arc;

use boot_proto::api::ObservedMachine;
use boot_proto::hardware_profile::HardwareProfile;
use boot_proto::ids::MacAddr;
use boot_proto::resources::ObservedPower;
use chassis_agent::drivers::redfish::Redfish;
use chassis_agent::drivers::{DriverError, PowerOrderKind, RestartKind};
use moonfarm_tests::needs::is_met;
use moonfarm_tests::redfish::{Service, Tree, VirtualBmc};
use serde::Deserialize;
use serde_json::json;

use super::{capture, endpoint, hardware, hasty, profiles};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    profile: String,
    requests: usize,
    machines: Vec<ExpectedMachine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedMachine {
    slot: String,
    power: ObservedPower,
    uuid: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    macs: Vec<MacAddr>,
    resets: Vec<String>,
}

fn expected() -> BTreeMap<String, Expected> {
    serde_yaml_ng::from_str(include_str!("../../fixtures/redfish/expected.yaml")).unwrap()
}

fn redfish_profiles() -> Vec<Arc<HardwareProfile>> {
    profiles()
        .all()
        .filter(|profile| profile.redfish.is_some())
        .cloned()
        .collect()
}

/// The driver after `auto` has recognised the service.
async fn recognised(bmc: &VirtualBmc) -> Redfish {
    let driver = Redfish::new(endpoint(bmc), hasty("redfish", |_| {})).unwrap();
    driver
        .recognise(&redfish_profiles())
        .await
        .unwrap()
        .unwrap()
}

fn check(name: &str, found: &ObservedMachine, expected: &ExpectedMachine) {
    let mut macs = found.macs.clone();
    macs.sort();
    assert_eq!(macs, expected.macs, "{name}");
    assert_eq!(
        (&found.slot, found.power, &found.uuid, &found.serial),
        (
            &expected.slot,
            expected.power,
            &expected.uuid,
            &expected.serial
        ),
        "{name}"
    );
    assert_eq!(
        (&found.manufacturer, &found.model),
        (&expected.manufacturer, &expected.model),
        "{name}"
    );
    // Every MAC is a NIC with a name, and no NIC is there twice.
    let nics: Vec<MacAddr> = found.nics.iter().filter_map(|nic| nic.mac).collect();
    assert_eq!(nics, found.macs, "{name}");
    assert!(
        found.nics.iter().all(|nic| !nic.name.is_empty()),
        "{name}: {:?}",
        found.nics
    );
}

#[tokio::test]
async fn every_capture_shows_what_was_read_in_it() {
    for (name, expected) in expected() {
        let Some(folder) = capture(&name) else { return };
        let bmc = VirtualBmc::start(&folder).await.unwrap();
        let mut driver = recognised(&bmc).await;
        assert_eq!(driver.profile_name(), expected.profile, "{name}");
        let found = driver.inventory().await.unwrap();
        assert_eq!(found.len(), expected.machines.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected.machines) {
            check(&name, found, expected);
        }
        // The order of NICs stays, and a second look shows the same.
        assert_eq!(driver.inventory().await.unwrap(), found, "{name}");
        driver.say_goodbye().await;
        assert_eq!(bmc.service().sessions(), 0, "{name}");
        assert_eq!(bmc.service().peak_sessions, 1, "{name}");
    }
}

#[tokio::test]
async fn a_first_inventory_takes_few_requests_and_a_power_poll_one() {
    for (name, expected) in expected() {
        let Some(folder) = capture(&name) else { return };
        let bmc = VirtualBmc::start(&folder).await.unwrap();
        let mut driver = recognised(&bmc).await;
        driver.inventory().await.unwrap();
        driver.say_goodbye().await;
        let first = bmc.requests().len();
        assert!(
            first <= expected.requests,
            "{name}: {first} {:#?}",
            bmc.requests()
        );
        driver.power_states().await.unwrap();
        let before = bmc.requests().len();
        let states = driver.power_states().await.unwrap();
        let hosts = expected.machines.len();
        assert_eq!(states.len(), hosts, "{name}");
        if hosts > 0 {
            assert_eq!(bmc.requests().len() - before, hosts, "{name}");
        }
        driver.say_goodbye().await;
    }
}

#[tokio::test]
async fn every_host_can_be_switched_by_what_it_offers() {
    for (name, expected) in expected() {
        let Some(folder) = capture(&name) else { return };
        let bmc = VirtualBmc::start(&folder).await.unwrap();
        let mut driver = recognised(&bmc).await;
        for machine in &expected.machines {
            let slot = machine.slot.as_str();
            for (order, state) in [
                (PowerOrderKind::ForceOff, ObservedPower::Off),
                (PowerOrderKind::On, ObservedPower::On),
                (PowerOrderKind::Off, ObservedPower::Off),
                (PowerOrderKind::On, ObservedPower::On),
                // Told again: nothing to do, and no error.
                (PowerOrderKind::On, ObservedPower::On),
            ] {
                driver.order_power(slot, order).await.unwrap();
                let shown = driver.power_state(slot).await.unwrap();
                assert_eq!(shown[0].power, state, "{name} {order:?}");
            }
            let offers = |kind: &str| machine.resets.iter().any(|own| own == kind);
            let restarted = driver
                .order_restart(slot, RestartKind::Cycle)
                .await
                .unwrap();
            assert_eq!(
                restarted,
                offers("PowerCycle") || offers("ForceRestart"),
                "{name}"
            );
        }
        let sent: Vec<String> = bmc
            .service()
            .resets
            .iter()
            .map(|(_, kind)| kind.clone())
            .collect();
        let offered = |kind: &String| expected.machines.iter().any(|m| m.resets.contains(kind));
        assert!(sent.iter().all(offered), "{name}: {sent:?}");
        driver.say_goodbye().await;
    }
}

#[tokio::test]
async fn a_factory_password_is_told_from_a_wrong_one() {
    let Some(folder) = capture("dell-forbidden-403") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    let mut driver = recognised(&bmc).await;
    // Systems answers 403 with a page of HTML.
    let error = driver.inventory().await.unwrap_err();
    assert!(matches!(error, DriverError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("403"), "{error}");
    // As its Chassis does: 403 with PasswordChangeRequired.
    let refusal = bmc
        .service()
        .tree
        .get("/redfish/v1/Chassis")
        .unwrap()
        .clone();
    *bmc.service().tree.get_mut("/redfish/v1/Systems").unwrap() = refusal;
    let error = driver.inventory().await.unwrap_err().to_string();
    assert!(error.contains("must be changed"), "{error}");
    driver.say_goodbye().await;
    assert_eq!(bmc.service().sessions(), 0);
}

#[test]
fn every_capture_is_expected() {
    let folder = hardware().join("redfish");
    if capture("dell-forbidden-403").is_none() {
        return;
    }
    let expected = expected();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // This one refuses to show anything, in a test of its own.
        if name != "dell-forbidden-403" {
            assert!(
                expected.contains_key(&name),
                "{name} is not in expected.yaml"
            );
        }
    }
}

/// A rack manager with three systems, two of them in one sled.
#[tokio::test]
async fn a_recording_of_a_rack_manager() {
    let file = hardware().join("redfish-http/dell-dss9630m/full-refresh.json");
    let missing = (!file.is_file()).then(|| format!("{} is not there", file.display()));
    if !is_met(missing) {
        return;
    }
    let mut tree = Tree::from_recording(&file).unwrap();
    // The recorded adapter has no ports; with some, they are its system's own.
    let adapter = "/redfish/v1/Chassis/Sled-1-1-1/NetworkAdapters/nic-1";
    tree.get_mut(adapter).unwrap().body["Ports"] =
        json!({ "@odata.id": format!("{adapter}/Ports") });
    let member = json!({ "@odata.id": format!("{adapter}/Ports/1") });
    tree.put(&format!("{adapter}/Ports"), json!({ "Members": [member] }));
    let mac = "94:57:a5:d3:ec:f2";
    let port = json!({ "Id": "1", "Ethernet": { "AssociatedMACAddresses": [mac] } });
    tree.put(&format!("{adapter}/Ports/1"), port);
    let bmc = VirtualBmc::serve(Service::new(tree), None, "127.0.0.1:0")
        .await
        .unwrap();
    let mut driver = recognised(&bmc).await;
    let found = driver.inventory().await.unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|m| {
            (
                m.slot.as_str(),
                m.power,
                m.macs.len(),
                m.uuid.as_deref(),
                m.serial.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "System-1-1-1-1",
                ObservedPower::On,
                1,
                None,
                Some("CN701636AB0013")
            ),
            (
                "System-1-1-1-2",
                ObservedPower::Off,
                0,
                None,
                Some("23840jr9384j")
            ),
            (
                "System-1-2-1-1",
                ObservedPower::On,
                0,
                None,
                Some("945hjf0927mf")
            ),
        ]
    );
    // Each is switched by itself.
    driver
        .order_power("System-1-1-1-2", PowerOrderKind::On)
        .await
        .unwrap();
    driver
        .order_power("System-1-2-1-1", PowerOrderKind::Off)
        .await
        .unwrap();
    let states: Vec<_> = driver
        .power_states()
        .await
        .unwrap()
        .iter()
        .map(|m| m.power)
        .collect();
    assert_eq!(
        states,
        [ObservedPower::On, ObservedPower::On, ObservedPower::Off]
    );
    driver.say_goodbye().await;
    assert_eq!(bmc.service().sessions(), 0);
}
