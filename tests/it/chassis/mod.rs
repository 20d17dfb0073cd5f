//! chassis-agent against the virtual chassis.

mod agent;
mod captures;
mod console;
mod faults;
mod host_keys;
mod observe;
mod orders;
mod rest;

use std::path::Path;
use std::sync::Arc;

use boot_proto::ids::{MacAddr, SlotId};
use chassis_agent::config::{HostKeyPolicy, Login, Secret, Target};
use chassis_agent::drivers::{self, ChassisDriver, DriverError};
use chassis_agent::profiles::Profiles;
use moonfarm_tests::chassis::{Cartridge, ChassisModel, Node, Options, VirtualChassis};

const PASSWORD: &str = "correct horse battery staple";

fn slot(text: &str) -> SlotId {
    text.parse().unwrap()
}

fn mac(slot: u8, node: u8, nic: u8) -> MacAddr {
    MacAddr::new([0x9c, 0xb6, 0x54, slot, node, nic])
}

/// Slot 1 on, slot 7 off with four nodes, slot 11 off, slot 12 without asset
/// information, slot 45 on with one NIC.
fn model() -> ChassisModel {
    let two = |slot| [mac(slot, 1, 1), mac(slot, 1, 2)];
    let m510 = || Cartridge::new("ProLiant m510 Server Cartridge");
    let mut m700 = Cartridge::new("ProLiant m700 Server Cartridge").serial("CZ0007");
    for node in 1..=4 {
        m700 = m700.node(Node::inert(false).macs([mac(7, node, 1), mac(7, node, 2)]));
    }
    ChassisModel::new()
        .with(
            1,
            m510().serial("CZ0001").node(Node::inert(true).macs(two(1))),
        )
        .with(7, m700)
        .with(
            11,
            m510().node(Node::inert(false).macs(two(11)).asset_tag("On loan")),
        )
        .with(
            12,
            m510().node(Node::inert(true).without_asset_information().macs(two(12))),
        )
        .with(
            45,
            m510().node(Node::inert(true).nics([None, Some(mac(45, 1, 2))])),
        )
}

fn start(options: Options) -> VirtualChassis {
    VirtualChassis::start(Options {
        password: PASSWORD.into(),
        ..options
    })
    .unwrap()
}

fn chassis() -> VirtualChassis {
    start(Options {
        model: model(),
        ..Options::default()
    })
}

fn target(chassis: &VirtualChassis) -> Target {
    Target {
        address: chassis.address().to_string().parse().unwrap(),
        profile: "hpe-moonshot-1500".into(),
        login: Login {
            user: "Administrator".into(),
            password: Some(Secret::new(PASSWORD.into())),
            private_key: None,
        },
        host_key: HostKeyPolicy::Any,
        legacy_algorithms: false,
    }
}

/// The built-in profile with little patience, written into `folder`.
fn impatient(folder: &Path) -> Profiles {
    let text = include_str!("../../../hardware-profiles/hpe/moonshot-1500.yaml");
    let text = [
        "connect: 15s",
        "login: 30s",
        "command: 60s",
        "silence: 30s",
        "settle: 60s",
        "shutdown: 5m",
        "poll: 5s",
    ]
    .into_iter()
    .fold(text.to_owned(), |text, line| {
        assert!(text.contains(line), "the profile has no {line}");
        let (name, _) = line.split_once(':').unwrap();
        let secs = if name == "command" { 3 } else { 2 };
        text.replace(line, &format!("{name}: {secs}s"))
    });
    std::fs::write(folder.join("impatient.yaml"), text).unwrap();
    Profiles::with_folder(folder).unwrap()
}

async fn open(target: Target) -> Result<Box<dyn ChassisDriver>, DriverError> {
    let folder = tempfile::tempdir().unwrap();
    drivers::open(&Arc::new(target), &impatient(folder.path())).await
}

/// A driver with little patience for a chassis.
async fn driver(chassis: &VirtualChassis) -> Box<dyn ChassisDriver> {
    open(target(chassis)).await.unwrap()
}
