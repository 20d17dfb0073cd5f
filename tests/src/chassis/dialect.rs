//! The chassis manager's command line: command text -> answer text, in the
//! shapes that real chassis managers print.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use boot_proto::ids::SlotId;

use super::faults::{Fault, Faults};
use super::manager2;
use super::model::{Cartridge, ChassisModel, Node};
use super::node::BootOnce;

/// The shapes of `show node list` that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListShape {
    /// Firmware of 2014: the last column is `Health`, slots with a leading
    /// zero, trailing blanks.
    Health2014,
    /// As above with `Status` and no asset tag.
    Status,
    /// Firmware of 2021: `Status` and `Node Asset Tag`, slots padded with
    /// blanks, no trailing blanks.
    #[default]
    AssetTag2021,
}

/// The generations of chassis managers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// Chassis Manager 1.x.
    #[default]
    One,
    /// Chassis Manager 2.0. It is not known which commands of 1.x it has
    /// besides those that are used with it; it has none of them here.
    Two,
}

/// What a command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Answered with this text, lines ending in CR LF.
    Print(String),
    /// Connects to the serial console of a node.
    Console { slot: SlotId, acquire: bool },
    /// Ends the session.
    Exit,
    /// An empty line.
    Nothing,
}

/// What the firmware says to everything it does not know.
const INVALID: &str = "Invalid command\r\n";

const HELP: &str = "\r\nCommands:\r\n  show node list | macaddr | power | info\r\n  \
    set node power on | off [force]\r\n  set node bootonce pxe\r\n  \
    connect node vsp [acquire]\r\n  help\r\n  exit\r\n";

/// The chassis as commands see it.
pub(super) struct Dialect<'a> {
    pub model: &'a ChassisModel,
    pub shape: ListShape,
    pub manager: Manager,
    pub settle: Duration,
    pub faults: &'a Faults,
}

impl Dialect<'_> {
    /// Carries a command out. Starting a machine may take a moment.
    pub(super) fn answer(&self, command: &str) -> Request {
        let lower = command.trim().to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let text = match words.as_slice() {
            [] => return Request::Nothing,
            ["exit" | "quit"] => return Request::Exit,
            ["help", ..] => HELP.to_owned(),
            ["show", ..] if self.manager == Manager::Two => self.show_on_two(&words),
            ["show", "node", "list"] => self.list(),
            ["show", "node", "macaddr", which] => self.macs(which),
            ["show", "node", "power", which] => self.power(which),
            ["show", "node", "info", which] => self.info(which),
            ["set", "node", "power", "on", which] => {
                self.switch(which, |node| node.switch_on(self.settle))
            }
            ["set", "node", "power", "off", "force", which] => {
                self.switch(which, |node| node.switch_off(true, self.settle))
            }
            ["set", "node", "power", "off", which] => {
                self.switch(which, |node| node.switch_off(false, self.settle))
            }
            ["set", "node", "bootonce", "pxe", which] => self.boot_once(which),
            ["connect", "node", "vsp", rest @ ..] => return self.connect(rest),
            _ => INVALID.to_owned(),
        };
        Request::Print(text)
    }

    /// What Chassis Manager 2.0 shows.
    fn show_on_two(&self, words: &[&str]) -> String {
        let text = match words {
            ["show", "firmware"] => Some(manager2::FIRMWARE.to_owned()),
            ["show", "node", "mgmtaddr4", which] => {
                Some(manager2::management_addresses(&self.nodes(which)))
            }
            ["show", "blades", name] => manager2::blade(self.model, name),
            ["show", "node", "macaddr", which] => Some(self.macs(which)),
            ["show", "node", "power", which] if *which != "all" => Some(self.power(which)),
            _ => None,
        };
        text.unwrap_or_else(|| INVALID.to_owned())
    }

    /// The nodes `all` or one id means; none when there is no such node.
    fn nodes(&self, which: &str) -> Vec<(SlotId, &Cartridge, &Node)> {
        let one: Option<SlotId> = which.parse().ok();
        let is_meant = |slot: SlotId| which == "all" || one == Some(slot);
        self.model
            .nodes()
            .filter(|(slot, ..)| is_meant(*slot))
            .collect()
    }

    fn list(&self) -> String {
        let (widths, last): (&[usize], &[&str]) = match self.shape {
            ListShape::Health2014 => (&[4, 5, 22, 20, 6, 5, 6], &["Health"]),
            ListShape::Status => (&[4, 5, 22, 20, 6, 5, 6], &["Status"]),
            ListShape::AssetTag2021 => {
                (&[4, 5, 22, 20, 6, 5, 8, 14], &["Status", "Node Asset Tag"])
            }
        };
        let trims = self.shape == ListShape::AssetTag2021;
        let mut headings = vec![
            "Slot",
            "ID",
            "Proc Manufacturer",
            "Architecture",
            "Memory",
            "Power",
        ];
        headings.extend(last);
        let mut text = String::from("\r\n");
        text.push_str(&line(&headings, widths, true));
        text.push_str(&rule(widths));
        for (slot, _, node) in self.model.nodes() {
            text.push_str(&self.list_row(slot, node, widths, trims));
        }
        text.push_str("\r\n\r\n");
        text
    }

    fn list_row(&self, slot: SlotId, node: &Node, widths: &[usize], trims: bool) -> String {
        let number = match self.shape {
            ListShape::AssetTag2021 => format!("{:3}", slot.cartridge()),
            ListShape::Health2014 | ListShape::Status => format!(" {:02}", slot.cartridge()),
        };
        let id = slot.to_string();
        if !node.has_asset_information {
            let cells = [number.as_str(), &id, "N/A", "No Asset Information"];
            return line(&cells, widths, trims);
        }
        let power = node.shown_power().word();
        let mut cells = vec![
            number.as_str(),
            &id,
            &node.processor,
            &node.architecture,
            &node.memory,
            power,
        ];
        cells.push(&node.status);
        if self.shape == ListShape::AssetTag2021 {
            cells.push(&node.asset_tag);
        }
        line(&cells, widths, trims)
    }

    fn macs(&self, which: &str) -> String {
        let nodes = self.nodes(which);
        if nodes.is_empty() && which != "all" {
            return INVALID.into();
        }
        let most = nodes
            .iter()
            .map(|(_, _, node)| node.nics.len())
            .max()
            .unwrap_or(0)
            .max(2);
        let switch = |number: usize| if number.is_multiple_of(2) { "B" } else { "A" };
        let headings: Vec<String> = (1..=most)
            .map(|n| format!("NIC {n} (Switch {})", switch(n)))
            .collect();
        let widths: Vec<usize> = [4, 5]
            .into_iter()
            .chain(headings.iter().map(|_| 17))
            .collect();
        let mut names = vec!["Slot", "ID"];
        names.extend(headings.iter().map(String::as_str));
        let mut text = line(&names, &widths, true);
        text.push_str(&rule(&widths));
        for (slot, _, node) in nodes {
            let mut cells = vec![format!("{:3}", slot.cartridge()), slot.to_string()];
            cells.extend((0..most).map(|index| {
                let mac = node.nics.get(index).copied().flatten();
                mac.map_or_else(|| "N/A".to_owned(), |mac| mac.to_string())
            }));
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            text.push_str(&line(&cells, &widths, true));
        }
        text.push_str("\r\n\r\n");
        text
    }

    fn power(&self, which: &str) -> String {
        let mut text = String::from("\r\n");
        let mut cartridge = 0;
        let nodes = self.nodes(which);
        if nodes.is_empty() && which != "all" {
            return INVALID.into();
        }
        for (slot, _, node) in nodes {
            if slot.cartridge() != cartridge {
                cartridge = slot.cartridge();
                let _ = write!(text, "Cartridge #{cartridge}\r\n");
            }
            let state = node.shown_power().word();
            let _ = write!(
                text,
                "  Node #{}\r\n        Power State: {state}\r\n",
                slot.node()
            );
        }
        text
    }

    fn info(&self, which: &str) -> String {
        let one: Option<SlotId> = which.parse().ok();
        let is_meant = |slot: u8| which == "all" || one.is_some_and(|one| one.cartridge() == slot);
        let mut text = String::from("\r\n");
        let mut found = which == "all";
        for (slot, cartridge) in self.model.cartridges().filter(|(slot, _)| is_meant(*slot)) {
            found = true;
            let (heading, indent) = match self.shape {
                ListShape::AssetTag2021 => (format!("  c{slot}: #Cartridge {slot}"), "    "),
                ListShape::Health2014 | ListShape::Status => (format!("Cartridge #{slot} "), "  "),
            };
            let _ = write!(
                text,
                "{heading}\r\n{indent}Type: Compute\r\n{indent}Manufacturer: {}\r\n\
                 {indent}Product Name: {}\r\n",
                cartridge.manufacturer, cartridge.product
            );
            if !cartridge.serial.is_empty() {
                let _ = write!(text, "{indent}Serial Number: {}\r\n", cartridge.serial);
            }
        }
        if found { text } else { INVALID.into() }
    }

    fn switch(&self, which: &str, order: impl Fn(&Node) -> io::Result<()>) -> String {
        let nodes = self.nodes(which);
        if nodes.is_empty() {
            return INVALID.into();
        }
        let mut text = String::from("\r\n");
        if self.faults.has(&Fault::IgnorePower) {
            return text;
        }
        for (slot, _, node) in nodes {
            if let Err(error) = order(node) {
                tracing::warn!(%slot, %error, "switching power");
                let _ = write!(text, "Error: {slot}: {error}\r\n");
            }
        }
        text
    }

    fn boot_once(&self, which: &str) -> String {
        let nodes = self.nodes(which);
        if nodes.is_empty() {
            return INVALID.into();
        }
        if self.faults.has(&Fault::IgnoreBootOnce) {
            return "\r\n".into();
        }
        for (_, _, node) in &nodes {
            node.set_boot_once(BootOnce::Pxe);
        }
        "\r\nbootonce: PXE\r\n".into()
    }

    fn connect(&self, words: &[&str]) -> Request {
        let (acquire, id) = match words {
            ["acquire", id] => (true, id),
            [id] => (false, id),
            _ => return Request::Print(INVALID.into()),
        };
        match id.parse() {
            Ok(slot) if self.model.node(slot).is_some() => Request::Console { slot, acquire },
            _ => Request::Print(INVALID.into()),
        }
    }
}

/// One line of a table: cells padded to their columns, one blank between.
fn line(cells: &[&str], widths: &[usize], trims: bool) -> String {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        let width = widths.get(index).copied().unwrap_or(0);
        let _ = write!(text, "{cell:width$} ");
    }
    let text = if trims { text.trim_end() } else { &text };
    format!("{text}\r\n")
}

/// The row of dashes below the headings.
fn rule(widths: &[usize]) -> String {
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    format!("{}\r\n", dashes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chassis() -> ChassisModel {
        let mac = |text: &str| text.parse().unwrap();
        ChassisModel::new()
            .with(
                1,
                Cartridge::new("ProLiant m500 Server Cartridge")
                    .node(Node::inert(true).macs([mac("02:00:00:00:01:01")])),
            )
            .with(
                11,
                Cartridge::new("ProLiant m510").node(Node::inert(false).asset_tag("rack 7")),
            )
            .with(
                2,
                Cartridge::new("m700").node(Node::inert(true).without_asset_information()),
            )
    }

    fn ask(shape: ListShape, command: &str) -> String {
        let (model, faults) = (chassis(), Faults::default());
        let dialect = Dialect {
            model: &model,
            shape,
            manager: Manager::One,
            settle: Duration::ZERO,
            faults: &faults,
        };
        match dialect.answer(command) {
            Request::Print(text) => text,
            other => panic!("{command}: {other:?}"),
        }
    }

    #[test]
    fn the_three_shapes_of_the_list() {
        let text = ask(ListShape::AssetTag2021, "show node list");
        assert_eq!(
            text,
            "\r\n\
             Slot ID    Proc Manufacturer      Architecture         Memory Power Status   Node Asset Tag\r\n\
             ---- ----- ---------------------- -------------------- ------ ----- -------- --------------\r\n\
             \u{20} 1  c1n1  Intel Corporation      x86 Architecture     32 GB  On    OK\r\n\
             \u{20} 2  c2n1  N/A                    No Asset Information\r\n\
             \u{20}11  c11n1 Intel Corporation      x86 Architecture     32 GB  Off   OK       rack 7\r\n\
             \r\n\r\n"
        );
        let text = ask(ListShape::Health2014, "show node list");
        assert!(
            text.contains(
                " 01  c1n1  Intel Corporation      x86 Architecture     32 GB  On    OK     \r\n"
            ),
            "{text}"
        );
        assert!(
            text.contains(" 02  c2n1  N/A                    No Asset Information \r\n"),
            "{text}"
        );
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .ends_with("Memory Power Health"),
            "{text}"
        );
        assert!(ask(ListShape::Status, "show node list").contains("Power Status\r\n"));
    }

    #[test]
    fn macs_power_and_info_look_as_captured() {
        assert_eq!(
            ask(ListShape::Status, "show node macaddr c1n1"),
            "Slot ID    NIC 1 (Switch A)  NIC 2 (Switch B)\r\n\
             ---- ----- ----------------- -----------------\r\n\
             \u{20} 1  c1n1  02:00:00:00:01:01 N/A\r\n\r\n\r\n"
        );
        assert_eq!(
            ask(ListShape::Status, "show node power c1n1"),
            "\r\nCartridge #1\r\n  Node #1\r\n        Power State: On\r\n"
        );
        assert_eq!(
            ask(ListShape::Status, "show node info c1n1"),
            "\r\nCartridge #1 \r\n  Type: Compute\r\n  Manufacturer: HP\r\n  Product Name: ProLiant m500 Server Cartridge\r\n"
        );
        assert!(
            ask(ListShape::AssetTag2021, "show node info c1n1")
                .contains("  c1: #Cartridge 1\r\n    Type")
        );
    }

    #[test]
    fn what_is_not_known_is_invalid() {
        for command in [
            "show firmware",
            "set node power reset c1n1",
            "show node power c9n1",
            "rm -rf /",
            "set node boot pxe",
        ] {
            assert_eq!(
                ask(ListShape::Status, command),
                "Invalid command\r\n",
                "{command}"
            );
        }
    }
}
