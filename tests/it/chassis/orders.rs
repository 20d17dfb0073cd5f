//! Power and one-time boot orders, and that they are verified.

use std::time::Duration;

use boot_proto::resources::ObservedPower;
use chassis_agent::drivers::{BootTarget, PowerAction, Scope, Slot};
use chassis_agent::orders::{Outcome, carry_out};
use moonfarm_tests::chassis::{BootOnce, Fault, InertNode, Options};

use super::*;

/// A chassis of four inert nodes in slot 3 that a test can look into.
fn four_nodes(settle: Duration) -> (VirtualChassis, Vec<Arc<InertNode>>) {
    let nodes: Vec<Arc<InertNode>> = [true, false, false, true]
        .map(|is_on| Arc::new(InertNode::new(is_on)))
        .into();
    let cartridge = nodes
        .iter()
        .fold(Cartridge::new("ProLiant m700"), |cartridge, node| {
            cartridge.node(Node::new(Arc::clone(node) as Arc<_>))
        });
    let model = ChassisModel::new().with(3, cartridge);
    (
        start(Options {
            settle,
            model,
            ..Options::default()
        }),
        nodes,
    )
}

/// A slot as the drivers take it.
fn place(text: &str) -> Slot {
    text.parse().unwrap()
}

fn show(results: &chassis_agent::orders::Results) -> Vec<String> {
    results
        .iter()
        .map(|(slot, result)| match result {
            Ok(Outcome::Changed) => format!("{slot} changed"),
            Ok(Outcome::Unchanged) => format!("{slot} unchanged"),
            Err(error) => format!("{slot} {}", error.kind()),
        })
        .collect()
}

fn power(chassis: &VirtualChassis) -> Vec<bool> {
    (1..=4)
        .map(|node| {
            let node = chassis.model().node(SlotId::new(3, node).unwrap()).unwrap();
            node.power_switch().power() == moonfarm_tests::chassis::PowerState::On
        })
        .collect()
}

#[tokio::test]
async fn orders_change_what_they_say_and_nothing_else() {
    let slots = ["c3n1", "c3n2", "c9n1"].map(slot);
    for (action, expected, after) in [
        (
            PowerAction::On,
            ["c3n1 unchanged", "c3n2 changed"],
            [true, true, false, true],
        ),
        (
            PowerAction::Off,
            ["c3n1 changed", "c3n2 unchanged"],
            [false, false, false, true],
        ),
        (
            PowerAction::ForceOff,
            ["c3n1 changed", "c3n2 unchanged"],
            [false, false, false, true],
        ),
        (
            PowerAction::Cycle,
            ["c3n1 changed", "c3n2 changed"],
            [true, true, false, true],
        ),
        (
            PowerAction::Reset,
            ["c3n1 changed", "c3n2 changed"],
            [true, true, false, true],
        ),
    ] {
        let (chassis, _) = four_nodes(Duration::from_millis(100));
        let mut driver = driver(&chassis).await;
        let results = carry_out(driver.as_mut(), &slots, action).await.unwrap();
        let expected: Vec<&str> = expected
            .into_iter()
            .chain(["c9n1 no-such-machine"])
            .collect();
        assert_eq!(show(&results), expected, "{action:?}");
        assert_eq!(power(&chassis), after, "{action:?}");
        let error = results[&place("c9n1")].as_ref().unwrap_err().to_string();
        assert!(error.contains("c3n1, c3n2, c3n3, c3n4"), "{error}");
    }
}

#[tokio::test]
async fn powering_on_counts_as_on_and_unavailable_as_off() {
    let (chassis, _) = four_nodes(Duration::from_secs(60));
    let mut driver = driver(&chassis).await;
    let results = carry_out(driver.as_mut(), &[slot("c3n2")], PowerAction::On)
        .await
        .unwrap();
    assert_eq!(show(&results), ["c3n2 changed"]);
    chassis.faults().set([Fault::Answer(
        "show node power".into(),
        "\r\nCartridge #3\r\n  Node #2\r\n        Power State: Unavailable\r\n".into(),
    )]);
    let seen = driver.observe(Scope::One(place("c3n2"))).await.unwrap();
    assert_eq!(seen[0].power, ObservedPower::Off);
}

#[tokio::test]
async fn a_device_that_does_not_obey_is_found_out() {
    let (chassis, nodes) = four_nodes(Duration::ZERO);
    nodes[0].ignore_shutdown(true);
    let mut driver = driver(&chassis).await;
    let results = carry_out(driver.as_mut(), &[slot("c3n1")], PowerAction::Off)
        .await
        .unwrap();
    let error = results[&place("c3n1")].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("did not obey power off") && error.contains("force-off"),
        "{error}"
    );
    chassis.faults().set([Fault::IgnorePower]);
    for (action, expected) in [
        (PowerAction::On, ["c3n1 unchanged", "c3n3 did-not-obey"]),
        (
            PowerAction::ForceOff,
            ["c3n1 did-not-obey", "c3n3 unchanged"],
        ),
    ] {
        let slots = ["c3n1", "c3n3"].map(slot);
        let results = carry_out(driver.as_mut(), &slots, action).await.unwrap();
        assert_eq!(show(&results), expected, "{action:?}");
    }
    // What would not go off is not powered on either.
    let results = carry_out(driver.as_mut(), &[slot("c3n1")], PowerAction::Cycle)
        .await
        .unwrap();
    assert_eq!(show(&results), ["c3n1 did-not-obey"]);
    assert!(
        !chassis
            .commands()
            .iter()
            .any(|command| command == "set node power on c3n1")
    );
}

#[tokio::test]
async fn a_refused_order_is_told_with_the_devices_words() {
    let (chassis, _) = four_nodes(Duration::ZERO);
    let mut driver = driver(&chassis).await;
    for (answer, kind) in [
        ("Invalid command\r\n", "refused"),
        ("\r\nError: user lacks the privilege\r\n", "refused"),
        ("\r\nThe cartridge is busy\r\n", "busy"),
    ] {
        chassis
            .faults()
            .set([Fault::Answer("set node power".into(), answer.into())]);
        let results = carry_out(driver.as_mut(), &[slot("c3n2")], PowerAction::On)
            .await
            .unwrap();
        assert_eq!(show(&results), [format!("c3n2 {kind}")], "{answer:?}");
        let error = results[&place("c3n2")].as_ref().unwrap_err().to_string();
        assert!(error.contains(answer.trim()), "{error}");
    }
}

#[tokio::test]
async fn a_machine_told_to_boot_from_the_network_does_so_once() {
    let (chassis, nodes) = four_nodes(Duration::ZERO);
    let mut driver = driver(&chassis).await;
    let which = slot("c3n2");
    driver
        .boot_once(&which.into(), BootTarget::Pxe)
        .await
        .unwrap();
    for _ in 0..2 {
        carry_out(driver.as_mut(), &[which], PowerAction::Cycle)
            .await
            .unwrap();
    }
    assert_eq!(nodes[1].boots(), [Some(BootOnce::Pxe), None]);
    for (target, possible) in [(BootTarget::Http, "pxe"), (BootTarget::Disk, "pxe")] {
        let error = driver.boot_once(&which.into(), target).await.unwrap_err();
        assert_eq!(error.kind(), "impossible");
        assert!(
            error
                .to_string()
                .ends_with(&format!("possible: {possible}")),
            "{error}"
        );
    }
    chassis.faults().set([Fault::IgnoreBootOnce]);
    let error = driver
        .boot_once(&which.into(), BootTarget::Pxe)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "unconfirmed", "{error}");
    let error = driver
        .boot_once(&place("c44n1"), BootTarget::Pxe)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "refused");
}

#[tokio::test]
async fn the_command_lines_say_what_became_of_each_slot() {
    let (chassis, nodes) = four_nodes(Duration::ZERO);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let address = chassis.address().to_string();
    let device = [
        "--address",
        &address,
        "--user",
        "Administrator",
        "--password-file",
        password.to_str().unwrap(),
        "--insecure",
        "--profile",
        "hpe-moonshot-1500",
    ];
    for (words, output, failure) in [
        (
            vec!["boot-once", "pxe", "c3n2"],
            "c3n2: boot-once pxe: confirmed\n",
            "",
        ),
        (vec!["power", "on", "c3n1", "c3n2"], "c3n1: power on: ", ""),
        (
            vec!["power", "force-off", "c3n2", "c8n1"],
            "c3n2: force-off: done\nc8n1: force-off: failed: there is no machine in c8n1",
            "power force-off failed for 1 of 2 slots",
        ),
        (
            vec!["boot-once", "http", "c3n2"],
            "c3n2: boot-once http: failed: boot-once http is not possible",
            "boot-once http failed for 1 of 1 slots",
        ),
    ] {
        let mut out = Vec::new();
        let args = ["chassis-agent"]
            .iter()
            .chain(&words)
            .chain(&device)
            .copied();
        let result = chassis_agent::cli::run(args, &mut out).await;
        let printed = String::from_utf8(out).unwrap();
        let output = output.replace(
            "c3n1: power on: ",
            "c3n1: on: was so already\nc3n2: on: done\n",
        );
        assert!(printed.starts_with(&output), "{words:?}: {printed}");
        assert_eq!(
            result
                .err()
                .map_or(String::new(), |error| error.to_string()),
            failure
        );
    }
    assert_eq!(nodes[1].boots(), [Some(BootOnce::Pxe)]);
    // An answer in other words is quoted.
    chassis.faults().set([Fault::Answer(
        "set node bootonce".into(),
        "\r\nNetwork next time.\r\n".into(),
    )]);
    let mut out = Vec::new();
    let args = ["chassis-agent", "boot-once", "pxe", "c3n2"];
    let result = chassis_agent::cli::run(args.iter().chain(&device), &mut out).await;
    let printed = String::from_utf8(out).unwrap();
    assert!(
        printed.starts_with("c3n2: boot-once pxe: not confirmed: ")
            && printed.contains("Network next time."),
        "{printed}"
    );
    assert!(result.is_err());
}
