//! A chassis manager by its web interface, with the command line behind it.

use std::sync::atomic::Ordering;

use boot_proto::api::ObservedMachine;
use boot_proto::resources::ObservedPower;
use chassis_agent::device::{Device, endpoint};
use chassis_agent::drivers::redfish::endpoint::TlsPolicy;
use chassis_agent::drivers::{BootTarget, PowerAction, Scope, Slot};
use chassis_agent::orders::carry_out;
use moonfarm_tests::chassis::{BootOnce, Fault, InertNode, Options};

use super::*;

fn with_web(model: ChassisModel) -> VirtualChassis {
    start(Options {
        model,
        has_web: true,
        ..Options::default()
    })
}

/// The driver for the URL; the command line is at a port of its own here.
async fn by_url(
    chassis: &VirtualChassis,
    profile: &str,
    has_cli: bool,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    let folder = tempfile::tempdir().unwrap();
    let cli = Target {
        profile: profile.into(),
        ..target(chassis)
    };
    let endpoint = endpoint(&chassis.web().unwrap(), &cli.login, TlsPolicy::System).unwrap();
    let device = Device::Web {
        endpoint: Box::new(endpoint),
        profile: profile.into(),
        cli: has_cli.then(|| Arc::new(cli)),
    };
    drivers::open_device(&device, &impatient(folder.path())).await
}

fn seen(machines: &[ObservedMachine]) -> Vec<String> {
    let line = |m: &ObservedMachine| {
        let macs: Vec<String> = m.macs.iter().map(ToString::to_string).collect();
        format!("{} {} {}", m.slot, m.power, macs.join(","))
    };
    machines.iter().map(line).collect()
}

#[tokio::test]
async fn both_ways_show_the_same_machines() {
    let chassis = with_web(model());
    let cli = driver(&chassis).await.observe(Scope::Full).await.unwrap();
    let before = chassis.connections();
    for profile in ["hpe-moonshot-1500", "auto"] {
        let mut driver = by_url(&chassis, profile, true).await.unwrap();
        assert_eq!(driver.profile(), "hpe-moonshot-1500");
        let web = driver.observe(Scope::Full).await.unwrap();
        assert_eq!(seen(&web), seen(&cli));
        let nic = |machines: &[ObservedMachine]| machines[7].nics[0].clone();
        assert_eq!(nic(&web), nic(&cli));
    }
    assert_eq!(
        chassis.connections(),
        before,
        "no need for the command line"
    );
}

#[tokio::test]
async fn what_is_not_found_at_times_is_asked_again() {
    let chassis = with_web(model());
    let mut driver = by_url(&chassis, "hpe-moonshot-1500", false).await.unwrap();
    for (times, is_read) in [(3, true), (4, false)] {
        chassis
            .web_faults()
            .not_found
            .store(times, Ordering::Relaxed);
        let result = driver.observe(Scope::Power).await;
        assert_eq!(result.is_ok(), is_read, "{times}: {:?}", result.err());
        chassis.web_faults().not_found.store(0, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_command_line_helps_where_the_web_does_not() {
    let chassis = with_web(model());
    let faults = chassis.web_faults();
    for is_a_page in [true, false] {
        faults.is_a_page.store(is_a_page, Ordering::Relaxed);
        faults.hides_macs.store(!is_a_page, Ordering::Relaxed);
        let mut driver = by_url(&chassis, "hpe-moonshot-1500", true).await.unwrap();
        let machines = driver.observe(Scope::Full).await.unwrap();
        assert!(machines.iter().all(|machine| !machine.macs.is_empty()));
        // The way is kept.
        let asked = |chassis: &VirtualChassis| {
            let commands = chassis.commands();
            commands.iter().filter(|c| c.starts_with("GET")).count()
        };
        let before = asked(&chassis);
        driver.observe(Scope::Power).await.unwrap();
        assert_eq!(asked(&chassis), before);
        // And tried again when it fails.
        chassis.faults().set([Fault::RefuseLogin]);
        chassis.cut_connections();
        faults.is_a_page.store(false, Ordering::Relaxed);
        assert!(driver.observe(Scope::Power).await.is_err());
        assert_eq!(driver.observe(Scope::Power).await.unwrap().len(), 8);
        chassis.faults().clear();
    }
    // Alone, it is used as it is.
    faults.hides_macs.store(true, Ordering::Relaxed);
    let mut alone = by_url(&chassis, "hpe-moonshot-1500", false).await.unwrap();
    assert_eq!(alone.observe(Scope::Full).await.unwrap().len(), 8);
    faults.is_a_page.store(true, Ordering::Relaxed);
    let error = alone.observe(Scope::Full).await.unwrap_err();
    assert_eq!(error.kind(), "garbled", "{error}");
}

#[tokio::test]
async fn a_refused_login_is_not_tried_on_the_command_line() {
    let chassis = with_web(model());
    let folder = tempfile::tempdir().unwrap();
    let mut cli = target(&chassis);
    cli.login.password = Some(Secret::new("wrong but secret".into()));
    let endpoint = endpoint(&chassis.web().unwrap(), &cli.login, TlsPolicy::System).unwrap();
    let device = Device::Web {
        endpoint: Box::new(endpoint),
        profile: "hpe-moonshot-1500".into(),
        cli: Some(Arc::new(cli)),
    };
    let profiles = impatient(folder.path());
    let mut driver = drivers::open_device(&device, &profiles).await.unwrap();
    let error = driver.observe(Scope::Full).await.unwrap_err();
    assert_eq!(error.kind(), "login-refused");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    assert_eq!(chassis.connections(), 0);
}

#[tokio::test]
async fn orders_go_by_the_web_and_what_it_has_no_word_for_by_the_command_line() {
    let node = Arc::new(InertNode::new(false));
    let nics = [mac(3, 1, 1)];
    let cartridge = Cartridge::new("m510").node(Node::new(Arc::clone(&node) as Arc<_>).macs(nics));
    let chassis = with_web(ChassisModel::new().with(3, cartridge));
    let mut driver = by_url(&chassis, "hpe-moonshot-1500", true).await.unwrap();
    let slot: Slot = "c3n1".parse().unwrap();
    driver.observe(Scope::Full).await.unwrap();
    driver.boot_once(&slot, BootTarget::Pxe).await.unwrap();
    for (action, expected) in [
        (PowerAction::On, ObservedPower::On),
        (PowerAction::Reset, ObservedPower::On),
        (PowerAction::ForceOff, ObservedPower::Off),
        (PowerAction::Cycle, ObservedPower::On),
        (PowerAction::Off, ObservedPower::Off),
    ] {
        let slots = std::slice::from_ref(&slot);
        let results = carry_out(driver.as_mut(), slots, action).await.unwrap();
        assert!(results[&slot].is_ok(), "{action:?}: {results:?}");
        let machines = driver.observe(Scope::One(slot.clone())).await.unwrap();
        assert_eq!(machines[0].power, expected, "{action:?}");
    }
    assert_eq!(node.boots(), [Some(BootOnce::Pxe), None, None]);
    let mut by_ssh: Vec<String> = chassis
        .commands()
        .into_iter()
        .filter(|command| command.starts_with("set"))
        .collect();
    // A first command without an answer is given again in a shell.
    by_ssh.dedup();
    assert_eq!(by_ssh, ["set node power off c3n1"]);
}
