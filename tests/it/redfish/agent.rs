//! `chassis-agent run` against virtual BMCs and a fake boot-server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::ChassisInventory;
use boot_proto::resources::{DesiredPower, ObservedPower};
use chassis_agent::profiles::Profiles;
use moonfarm_tests::redfish::{Fault, FaultRule, VirtualBmc};

use super::capture;
use super::devices::{fixtures, serve};
use crate::desk::{Agent, Asked, FakeBootServer, condition_of, power_of};

/// The built-in profiles, this one of them with little patience.
fn hasty(name: &'static str, text: &'static str) -> impl FnOnce(&Path) -> Profiles {
    move |folder| {
        let power = "  power: {settle: 4s, poll: 1s, pause: 1s}\n";
        let (head, tail) = text.split_once("redfish:\n").unwrap();
        assert!(!tail.contains("  power:"), "{name} has a power section");
        let text = format!("{head}redfish:\n{power}{tail}");
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
        Profiles::with_folder(folder).unwrap()
    }
}

fn manifest(bmc: &VirtualBmc, profile: &str) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Chassis\nmetadata:\n  name: m1\nspec:\n  \
         address: {}\n  profile: {profile}\n  credentials:\n    username: admin\n    \
         passwordFile: password\n  scanInterval: 1h\n  powerInterval: 5s\n",
        bmc.url()
    )
}

fn set_power(bmc: &VirtualBmc, system: &str, power: &str) {
    let path = format!("/redfish/v1/Systems/{system}");
    bmc.service().tree.get_mut(&path).unwrap().body["PowerState"] = power.into();
}

#[tokio::test]
async fn systems_behind_one_service_are_switched_each_by_its_own_name() {
    let Some(folder) = capture("cray-ex425-2nodes-nc") else {
        return;
    };
    let bmc = VirtualBmc::start(&folder).await.unwrap();
    set_power(&bmc, "Node0", "Off");
    set_power(&bmc, "Node1", "On");
    let server = FakeBootServer::start().await;
    server.orders(&[("Node0", DesiredPower::On), ("Node1", DesiredPower::Off)]);
    let manifest = manifest(&bmc, "cray-controller");
    let agent = Agent::start(&server, &[("m1.yaml", &manifest)], "secret", |_| {
        Profiles::built_in().unwrap()
    });
    let both = |_: &str, heard: &ChassisInventory| {
        power_of(heard, "Node0") == Some(ObservedPower::On)
            && power_of(heard, "Node1") == Some(ObservedPower::Off)
    };
    let told = server.hears("both obeyed", both).await;
    // It has no boot override: powered on all the same, and said so.
    let boot = condition_of(&told, Some("Node0"), "BootOnceTaken").unwrap();
    assert_eq!((&*boot.status, &*boot.reason), ("False", "Impossible"));
    assert_eq!(condition_of(&told, None, "Ready").unwrap().status, "True");
    agent.stop().await;
    let resets = bmc.service().resets.clone();
    let expected = [
        ("/redfish/v1/Systems/Node1", "Off"),
        ("/redfish/v1/Systems/Node0", "On"),
    ];
    let resets: Vec<(&str, &str)> = resets
        .iter()
        .map(|(system, kind)| (system.as_str(), kind.as_str()))
        .collect();
    assert!(
        resets.len() == 2 && expected.iter().all(|reset| resets.contains(reset)),
        "{resets:?}"
    );
    assert_eq!(bmc.service().sessions(), 0, "the session is given back");
}

#[tokio::test]
async fn an_override_that_is_shown_and_ignored_is_found_out() {
    let Some(folder) = capture("hpe-dl325-gen10plus-ilo5-2.46") else {
        return;
    };
    let bmc = Arc::new(VirtualBmc::start(&folder).await.unwrap());
    set_power(&bmc, "1", "Off");
    let server = FakeBootServer::start().await;
    // The override is taken and shown, and firmware goes to its disk all the
    // same, unless it is to boot by HTTP.
    let own = Arc::clone(&bmc);
    let asked: Asked = Arc::new(move |_| {
        let service = own.service();
        let boot = &service.tree.get("/redfish/v1/Systems/1").unwrap().body["Boot"];
        (boot["BootSourceOverrideTarget"] == "UefiHttp").then_some(0)
    });
    server.desk.send_modify(|desk| desk.asked = Some(asked));
    server.orders(&[("1", DesiredPower::On)]);
    let text = include_str!("../../../hardware-profiles/redfish/hpe-ilo.yaml");
    let manifest = manifest(&bmc, "hpe-ilo");
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest)],
        "secret",
        hasty("hpe-ilo", text),
    );
    let told = |status: &'static str| {
        move |_: &str, heard: &ChassisInventory| {
            condition_of(heard, Some("1"), "NetworkBoot").is_some_and(|one| one.status == status)
        }
    };
    let bad = server.hears("the missing request", told("False")).await;
    let boot = condition_of(&bad, Some("1"), "NetworkBoot").unwrap();
    assert!(boot.message.contains("did not ask"), "{}", boot.message);
    let taken = condition_of(&bad, Some("1"), "BootOnceTaken").unwrap();
    assert_eq!(taken.status, "True", "the service shows what was ordered");
    let obeyed = condition_of(&bad, None, "OrdersObeyed").unwrap();
    assert!(obeyed.message.contains("1: it did not ask"), "{obeyed:?}");
    server.hears("the request", told("True")).await;
    agent.stop().await;
    let kinds: Vec<String> = bmc
        .service()
        .resets
        .iter()
        .map(|(_, kind)| kind.clone())
        .collect();
    assert_eq!(kinds, ["On", "ForceOff", "On", "ForceOff", "On"]);
}

#[tokio::test]
async fn devices_that_hang_keep_no_other_waiting() {
    /// A scan and two looks at the power, 5 s apart, and room for a busy machine.
    const ON_TIME: Duration = Duration::from_secs(30);
    let fixtures = fixtures();
    let mut bmcs = Vec::new();
    let mut manifests = Vec::new();
    for (name, device, fault) in [
        ("m1", "idrac10", None),
        ("m2", "lenovo-xcc2", None),
        ("m3", "inspur-isbmc", None),
        (
            "m4",
            "idrac10",
            Some(Fault::Drip(Duration::from_millis(300))),
        ),
        ("m5", "lenovo-xcc2", Some(Fault::Endless)),
        (
            "m6",
            "inspur-isbmc",
            Some(Fault::Delay(Duration::from_secs(3_600))),
        ),
    ] {
        let bmc = serve(&fixtures[device]).await;
        if let Some(fault) = fault {
            bmc.add_fault(FaultRule::always("", fault));
        }
        let text = manifest(&bmc, "auto").replace("name: m1", &format!("name: {name}"));
        manifests.push((format!("{name}.yaml"), text));
        bmcs.push(bmc);
    }
    let server = FakeBootServer::start().await;
    let files: Vec<(&str, &str)> = manifests
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut desk = server.desk.subscribe();
    let agent = Agent::start(&server, &files, "secret", |_| Profiles::built_in().unwrap());
    let reports = |heard: &[(String, ChassisInventory)], name: &str| {
        let its = heard
            .iter()
            .filter(|(of, report)| of == name && report.reachable);
        its.count()
    };
    let all = |desk: &crate::desk::Desk| {
        ["m1", "m2", "m3"]
            .iter()
            .all(|name| reports(&desk.heard, name) >= 3)
    };
    let in_time = tokio::time::timeout(ON_TIME, desk.wait_for(all)).await;
    let heard = server.desk.borrow().heard.clone();
    assert!(in_time.is_ok(), "{heard:#?}");
    for name in ["m4", "m5", "m6"] {
        assert_eq!(reports(&heard, name), 0, "{name} is read though it hangs");
    }
    agent.stop().await;
}
