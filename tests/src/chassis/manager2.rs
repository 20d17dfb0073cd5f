//! What only Chassis Manager 2.0 prints, in the shapes its users have shown.

use std::fmt::Write as _;

use boot_proto::ids::SlotId;

use super::model::{Cartridge, ChassisModel, Node};

/// `show firmware`.
pub(super) const FIRMWARE: &str = "Firmware Versions:\r\n        Chassis Manager:\r\n\
    \x20               HPE Moonshot Chassis Manager 2.0: 2.0-b176\r\n\
    \x20               HPE Moonshot Chassis Manager 2.0 Base Image: 1.3\r\n";

/// The first HTTPS port of the nodes' own iLOs is that of slot 1.
const PORT_BEFORE_FIRST: u16 = 735;

/// `show node mgmtaddr4`.
pub(super) fn management_addresses(nodes: &[(SlotId, &Cartridge, &Node)]) -> String {
    let mut text =
        String::from("Slot ID    Management Address\r\n---- ----- ------------------\r\n");
    for (slot, ..) in nodes {
        let port = PORT_BEFORE_FIRST + u16::from(slot.cartridge());
        let _ = write!(
            text,
            "{:3}  {:5} 192.0.2.1:{port}\r\n",
            slot.cartridge(),
            slot.to_string()
        );
    }
    text
}

/// `show blades bN`; `None` when there is none in that slot.
pub(super) fn blade(model: &ChassisModel, name: &str) -> Option<String> {
    let number: u8 = name.strip_prefix('b')?.parse().ok()?;
    let (_, cartridge) = model.cartridges().find(|(slot, _)| *slot == number)?;
    let node = cartridge.nodes.first()?;
    let mut text = format!("Blades:\r\n        b{number}:\r\n");
    let port = PORT_BEFORE_FIRST + u16::from(number);
    let mut line = |name: &str, value: &str| {
        let _ = write!(text, "                {name}: {value}\r\n");
    };
    line("AssetTag", &node.asset_tag);
    line("iLO HTTPS", &format!("https://192.0.2.1:{port}"));
    line("iLO SSH", &format!("192.0.2.1:{}", port + 1000));
    line("iLO MAC", &format!("02:00:5e:00:53:{number:02x}"));
    line("Model", &cartridge.product);
    line("UUID", &node.uuid);
    line("SerialNumber", &cartridge.serial);
    line("Product ID", "P17342-B21");
    line("Health", "OK");
    line("iLO Redfish Communication", "OK");
    line("UID", "Off");
    line("PowerState", node.shown_power().word());
    for (nic, number) in node.nics.iter().zip(1..) {
        if let Some(mac) = nic {
            let switch = if number % 2 == 1 { "A" } else { "B" };
            line(
                &format!("NIC {number} MAC (Switch {switch})"),
                &mac.to_string(),
            );
        }
    }
    text.push_str(
        "                FirmwareVersions:\r\n                        iLO: iLO 5 v2.30\r\n",
    );
    Some(text)
}
