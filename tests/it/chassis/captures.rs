//! Captures of real chassis managers, read in place where they are.

use std::path::PathBuf;

use boot_proto::resources::ObservedPower;
use chassis_agent::drivers::moonshot::parse::{
    clean, parse_facts, parse_list, parse_macs, parse_power,
};
use serde_json::Value;

use super::*;

/// `$MOONFARM_HARDWARE`, else the folder beside the checkout.
fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("MOONFARM_HARDWARE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hardware"),
        PathBuf::from,
    );
    let folder = folder.join("moonshot");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "SKIPPED: {} is not there; MOONFARM_HARDWARE names the captures",
        folder.display()
    );
    None
}

fn capture(folder: &Path, name: &str) -> (String, String) {
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let field = |name: &str| value[name].as_str().unwrap().to_owned();
    (field("command"), field("output"))
}

#[test]
fn real_answers_are_read_as_a_person_reads_them() {
    let Some(folder) = captures() else { return };
    let profiles = Profiles::built_in().unwrap();
    let rules = profiles
        .named("hpe-moonshot-1500")
        .unwrap()
        .cli
        .clone()
        .unwrap();
    let read = |name: &str| {
        let (command, output) = capture(&folder, name);
        clean(output.as_bytes(), &command, &rules)
    };

    let nodes = parse_list(
        &read("interactive-login-and-show-node-list-m1500-kvaps"),
        &rules,
    )
    .unwrap();
    let slots: Vec<u8> = nodes.iter().map(|node| node.slot.cartridge()).collect();
    assert_eq!(
        slots,
        [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 29, 31, 35, 37, 41, 43, 45
        ]
    );
    let off: Vec<String> = nodes
        .iter()
        .filter(|node| node.power != ObservedPower::On)
        .map(|node| format!("{} {}", node.slot, node.power))
        .collect();
    assert_eq!(off, ["c11n1 Off", "c45n1 Off"]);

    let macs = parse_macs(&read("show-node-macaddr-c1n1-4nics"), &rules).unwrap();
    let nics = &macs[&slot("c1n1")];
    let shown: Vec<String> = nics
        .iter()
        .map(|nic| format!("{} {} {}", nic.number, nic.mac, nic.switch.clone().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            "1 a0:1d:48:b5:04:34 Switch A",
            "2 a0:1d:48:b5:04:35 Switch B",
            "3 a0:1d:48:b5:04:36 Switch A",
            "4 a0:1d:48:b5:04:37 Switch B"
        ]
    );

    let power = parse_power(&read("show-node-power-c1n1"), Some(slot("c1n1")), &rules);
    assert_eq!(power, [(slot("c1n1"), ObservedPower::On)].into());

    for (name, model) in [
        ("show-node-info-c1n1-m500", "ProLiant m500 Server Cartridge"),
        (
            "show-node-info-newer-firmware",
            "ProLiant m710 Server Cartridge",
        ),
    ] {
        let facts = parse_facts(&read(name), Some(slot("c1n1")), &[slot("c1n1")], &rules);
        let facts = &facts[&slot("c1n1")];
        assert_eq!(facts.model.as_deref(), Some(model), "{name}");
        assert_eq!(facts.manufacturer.as_deref(), Some("HP"), "{name}");
    }

    let unknown = read("show-firmware-on-1500-chassis-manager-1.x");
    assert_eq!(
        unknown.line_beginning(&rules.answers.invalid_command),
        Some("Invalid command")
    );
    let confirmed = read("set-node-bootonce-pxe");
    assert!(
        confirmed
            .line_holding(&[rules.answers.boot_once["pxe"].clone()])
            .is_some()
    );
}

/// What the virtual chassis prints is what a real one was seen to print.
#[tokio::test]
async fn the_virtual_chassis_speaks_as_the_captured_one() {
    let Some(folder) = captures() else { return };
    let nics: Vec<MacAddr> = (0x34..=0x37)
        .map(|last| MacAddr::new([0xa0, 0x1d, 0x48, 0xb5, 0x04, last]))
        .collect();
    let cartridge =
        Cartridge::new("ProLiant m500 Server Cartridge").node(Node::inert(true).macs(nics));
    let chassis = start(Options {
        shape: moonfarm_tests::chassis::ListShape::Status,
        model: ChassisModel::new().with(1, cartridge),
        ..Options::default()
    });
    for (name, command) in [
        ("show-node-macaddr-c1n1-4nics", "show node macaddr c1n1"),
        ("show-node-power-c1n1", "show node power c1n1"),
        ("show-node-info-c1n1-m500", "show node info c1n1"),
    ] {
        let (_, real) = capture(&folder, name);
        assert_eq!(said(&chassis, command).await, real, "{command}");
    }
}

/// The bytes of one exec channel.
async fn said(chassis: &VirtualChassis, command: &str) -> String {
    let connection = super::console::connect(chassis).await;
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.exec(false, command).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(message) = channel.wait().await {
        if let russh::ChannelMsg::Data { data } = message {
            bytes.extend_from_slice(&data);
        }
    }
    String::from_utf8(bytes).unwrap()
}
