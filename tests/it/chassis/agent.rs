//! `chassis-agent run` against a virtual chassis and a fake boot-server.

use std::time::Duration;

use boot_proto::api::ChassisInventory;
use boot_proto::resources::{DesiredPower, ObservedPower};
use moonfarm_tests::chassis::{BootOnce, Fault, InertNode, Options};

use super::*;
use crate::desk::{Agent, Asked, FakeBootServer, condition_of, power_of};

fn manifest(name: &str, chassis: &VirtualChassis) -> String {
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Chassis\nmetadata:\n  name: {name}\nspec:\n  \
         address: {}\n  profile: auto\n  credentials:\n    username: Administrator\n    \
         passwordFile: password\n  scanInterval: 1h\n  powerInterval: 5s\n",
        chassis.address()
    )
}

#[tokio::test]
async fn machines_are_registered_and_switched_as_wanted() {
    let node = Arc::new(InertNode::new(false));
    let model = model().with(
        20,
        Cartridge::new("m510").node(Node::new(Arc::clone(&node) as Arc<_>).macs([mac(20, 1, 1)])),
    );
    let chassis = start(Options {
        model,
        ..Options::default()
    });
    let server = FakeBootServer::start().await;
    server.orders(&[("c20n1", DesiredPower::On), ("c33n1", DesiredPower::On)]);
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest("m1", &chassis))],
        PASSWORD,
        impatient,
    );
    let first = server
        .hears("the first scan", |name, heard| {
            name == "m1" && heard.reachable
        })
        .await;
    assert!(first.complete);
    assert_eq!(first.machines.len(), 9);
    assert_eq!(first.machines[0].macs.len(), 2);
    let on =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c20n1") == Some(ObservedPower::On);
    let later = server.hears("c20n1 on", on).await;
    assert!(!later.complete, "the inventory is read rarely, power often");
    assert_eq!(node.boots(), [Some(BootOnce::Pxe)]);
    server.orders(&[("c20n1", DesiredPower::Off)]);
    let off =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c20n1") == Some(ObservedPower::Off);
    server.hears("c20n1 off", off).await;
    assert!(
        chassis
            .commands()
            .contains(&"set node power off c20n1".to_owned())
    );
    agent.stop().await;
    assert_eq!(chassis.connections(), 1);
    let orders = chassis
        .commands()
        .iter()
        .filter(|command| command.starts_with("set"))
        .count();
    assert_eq!(orders, 3, "{:?}", chassis.commands());
}

#[tokio::test]
async fn without_boot_server_the_chassis_is_watched_and_nothing_ordered() {
    let chassis = chassis();
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    server.desk.send_modify(|desk| desk.is_away = true);
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest("m1", &chassis))],
        PASSWORD,
        impatient,
    );
    let looks = || {
        chassis
            .commands()
            .iter()
            .filter(|command| *command == "show node list")
            .count()
    };
    let watched = async {
        while looks() < 2 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watched)
        .await
        .unwrap();
    assert!(
        !chassis
            .commands()
            .iter()
            .any(|command| command.starts_with("set"))
    );
    server.desk.send_modify(|desk| desk.is_away = false);
    let first = server.hears("the scan", |_, heard| heard.reachable).await;
    assert!(
        first.complete,
        "the scan is told when boot-server listens again"
    );
    let scans = chassis
        .commands()
        .iter()
        .filter(|c| c.starts_with("show node macaddr"))
        .count();
    assert_eq!(scans, 1, "boot-server being away costs the chassis nothing");
    let on =
        |_: &str, heard: &ChassisInventory| power_of(heard, "c11n1") == Some(ObservedPower::On);
    server.hears("c11n1 on", on).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_chassis_that_cannot_be_read_is_told_and_harms_no_other() {
    let (bad, good) = (chassis(), chassis());
    bad.faults().set([Fault::RefuseLogin]);
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    let (one, two) = (manifest("bad", &bad), manifest("good", &good));
    let both = format!("{one}---\n{two}");
    let agent = Agent::start(&server, &[("both.yaml", &both)], PASSWORD, impatient);
    let told = server
        .hears("the refusal", |name, heard| {
            name == "bad" && !heard.reachable
        })
        .await;
    assert!(
        told.message.contains("refused the login"),
        "{}",
        told.message
    );
    assert!(told.machines.is_empty() && !told.message.contains(PASSWORD));
    let on = |name: &str, heard: &ChassisInventory| {
        name == "good" && power_of(heard, "c11n1") == Some(ObservedPower::On)
    };
    server.hears("the other one", on).await;
    assert!(bad.commands().is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn a_device_that_does_not_obey_is_complained_about() {
    let chassis = chassis();
    chassis.faults().set([Fault::IgnorePower]);
    let server = FakeBootServer::start().await;
    server.orders(&[("c11n1", DesiredPower::On)]);
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest("m1", &chassis))],
        PASSWORD,
        impatient,
    );
    let told = server
        .hears("the complaint", |_, heard| !heard.message.is_empty())
        .await;
    assert!(
        told.reachable && told.message.contains("c11n1 did not obey power on"),
        "{}",
        told.message
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_unclear_answer_keeps_no_machine_off_and_a_refusal_does() {
    for (answer, is_on) in [
        ("\r\nNetwork next time.\r\n", true),
        ("\r\nError\r\n", false),
    ] {
        let chassis = chassis();
        let fault = Fault::Answer("set node bootonce".into(), answer.into());
        chassis.faults().set([fault]);
        let server = FakeBootServer::start().await;
        server.orders(&[("c11n1", DesiredPower::On)]);
        let agent = Agent::start(
            &server,
            &[("m1.yaml", &manifest("m1", &chassis))],
            PASSWORD,
            impatient,
        );
        let told = server
            .hears("the complaint", |_, heard| !heard.message.is_empty())
            .await;
        assert!(
            told.message.contains("c11n1: boot-once pxe") && told.message.contains(answer.trim()),
            "{}",
            told.message
        );
        let shown = if is_on {
            ObservedPower::On
        } else {
            ObservedPower::Off
        };
        assert_eq!(power_of(&told, "c11n1"), Some(shown), "{answer:?}");
        let begins = |prefix: &str| {
            let commands = chassis.commands();
            commands.iter().filter(|c| c.starts_with(prefix)).count()
        };
        assert_eq!(
            begins("set node bootonce pxe c11n1"),
            if is_on { 3 } else { 1 }
        );
        assert_eq!(begins("set node power on c11n1"), usize::from(is_on));
        agent.stop().await;
    }
}

#[tokio::test]
async fn changed_manifests_are_followed_and_wrong_ones_are_not() {
    let (one, two) = (chassis(), chassis());
    let server = FakeBootServer::start().await;
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest("m1", &one))],
        PASSWORD,
        impatient,
    );
    server
        .hears("m1", |name, heard| name == "m1" && heard.reachable)
        .await;
    let file = agent.folder.path().join("manifests/m1.yaml");
    std::fs::write(&file, "kind: Nonsense\n").unwrap();
    server
        .hears("m1 still", |name, heard| name == "m1" && heard.reachable)
        .await;
    std::fs::write(&file, manifest("m2", &two)).unwrap();
    server
        .hears("m2", |name, heard| name == "m2" && heard.complete)
        .await;
    agent.stop().await;
    assert_eq!(server.desk.borrow().heard.last().unwrap().0, "m2");
}

#[tokio::test]
async fn an_agent_that_cannot_begin_says_why() {
    let server = FakeBootServer::start().await;
    let agent = Agent::start(
        &server,
        &[("m1.yaml", "kind: Nonsense\n")],
        PASSWORD,
        impatient,
    );
    let error = agent.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("m1.yaml:1"), "{error}");
}

#[tokio::test]
async fn a_node_that_boots_from_somewhere_else_is_cycled_until_it_asks() {
    let node = Arc::new(InertNode::new(false));
    let model = ChassisModel::new().with(
        20,
        Cartridge::new("m510").node(Node::new(Arc::clone(&node) as Arc<_>).macs([mac(20, 1, 1)])),
    );
    let chassis = start(Options {
        model,
        ..Options::default()
    });
    let server = FakeBootServer::start().await;
    // The first order is confirmed and lost: only the second boot asks.
    let boots = Arc::clone(&node);
    let asked: Asked = Arc::new(move |_| (boots.boots().len() > 1).then_some(0));
    server.desk.send_modify(|desk| desk.asked = Some(asked));
    server.orders(&[("c20n1", DesiredPower::On)]);
    let agent = Agent::start(
        &server,
        &[("m1.yaml", &manifest("m1", &chassis))],
        PASSWORD,
        impatient,
    );
    let told = |reason: &'static str| {
        move |_: &str, heard: &ChassisInventory| {
            condition_of(heard, Some("c20n1"), "NetworkBoot")
                .is_some_and(|condition| condition.reason == reason)
        }
    };
    server.hears("waiting", told("Waiting")).await;
    server.hears("the missing request", told("NoRequest")).await;
    server.hears("the request", told("RequestArrived")).await;
    assert_eq!(node.boots(), [Some(BootOnce::Pxe), Some(BootOnce::Pxe)]);
    let commands = chassis.commands();
    assert!(
        commands.contains(&"set node power off force c20n1".to_owned()),
        "{commands:?}"
    );
    agent.stop().await;
}
