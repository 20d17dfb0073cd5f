//! Devices that nobody captured, in the shapes such devices show: each fixture
//! is a whole service in one file, with what has to be observed of it.

use std::collections::BTreeMap;
use std::path::Path;

use boot_proto::api::ObservedMachine;
use boot_proto::ids::MacAddr;
use boot_proto::resources::ObservedPower;
use chassis_agent::device::Device;
use chassis_agent::drivers::{BootTarget, PowerOrderKind, Scope, open_device};
use moonfarm_tests::redfish::{Fault, FaultRule, Service, Tree, VirtualBmc};
use serde::Deserialize;
use serde_json::Value;

use super::{driver, endpoint, profiles};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixture {
    about: String,
    profile: String,
    machines: Vec<Expected>,
    resources: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    slot: String,
    power: ObservedPower,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    uuid: Option<String>,
    macs: Vec<MacAddr>,
}

impl From<ObservedMachine> for Expected {
    fn from(machine: ObservedMachine) -> Self {
        Self {
            slot: machine.slot,
            power: machine.power,
            serial: machine.serial,
            manufacturer: machine.manufacturer,
            model: machine.model,
            uuid: machine.uuid,
            macs: machine.macs,
        }
    }
}

pub(super) fn fixtures() -> BTreeMap<String, Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/redfish/devices");
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    };
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, read(&path))
        })
        .collect()
}

pub(super) async fn serve(fixture: &Fixture) -> VirtualBmc {
    let tree = Tree::from_resources(fixture.resources.clone());
    VirtualBmc::serve(Service::new(tree), None, "127.0.0.1:0")
        .await
        .unwrap()
}

#[tokio::test]
async fn devices_that_nobody_captured_are_recognised_and_observed() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 16, "{}", fixtures.len());
    for (name, fixture) in fixtures {
        let bmc = serve(&fixture).await;
        let device = Device::Web {
            endpoint: Box::new(endpoint(&bmc)),
            profile: "auto".into(),
            cli: None,
        };
        let mut driver = open_device(&device, &profiles()).await.unwrap();
        assert_eq!(driver.profile(), fixture.profile, "{name}");
        let found = driver.observe(Scope::Full).await.unwrap();
        let found: Vec<Expected> = found.into_iter().map(Expected::from).collect();
        assert_eq!(found, fixture.machines, "{name}: {}", fixture.about);
        let before = bmc.requests().len();
        driver.observe(Scope::Power).await.unwrap();
        let polls = bmc.requests().len() - before;
        assert_eq!(polls, found.len(), "{name}: one request for each machine");
        driver.close().await.unwrap();
        assert_eq!(bmc.service().sessions(), 0, "{name}");
    }
}

/// Other spellings of the same answers: what is observed stays the same.
#[tokio::test]
async fn how_a_body_travels_does_not_matter() {
    for (name, fixture) in fixtures() {
        for fault in [
            Fault::Gzip,
            Fault::Padded,
            Fault::Chunked,
            Fault::Http10,
            Fault::ClosesQuietly,
            Fault::Trailing,
            Fault::WrongContentType,
            Fault::Latin1,
        ] {
            let bmc = serve(&fixture).await;
            bmc.add_fault(FaultRule::always("", fault.clone()));
            let mut driver = driver(&bmc, &fixture.profile);
            let found = driver.inventory().await.unwrap();
            let found: Vec<Expected> = found.into_iter().map(Expected::from).collect();
            // A null resource has nothing that could be written otherwise.
            assert_eq!(found, fixture.machines, "{name} with {fault:?}");
            driver.say_goodbye().await;
        }
    }
}

#[tokio::test]
async fn an_ilo_4_from_before_redfish_obeys() {
    let fixtures = fixtures();
    let bmc = serve(&fixtures["ilo4-rest-v1"]).await;
    let mut driver = driver(&bmc, "hpe-ilo");
    driver.inventory().await.unwrap();
    driver.order_boot("1", BootTarget::Pxe).await.unwrap();
    driver
        .order_power("1", PowerOrderKind::ForceOff)
        .await
        .unwrap();
    let resets = bmc.service().resets.clone();
    assert_eq!(
        resets,
        [("/rest/v1/Systems/1".to_owned(), "ForceOff".to_owned())]
    );
    let boot = bmc.service().tree.get("/rest/v1/Systems/1").unwrap().body["Boot"].clone();
    assert_eq!(boot["BootSourceOverrideTarget"], "Pxe");
    assert_eq!(boot["BootSourceOverrideEnabled"], "Once");
    driver.say_goodbye().await;
}
