//! Hardware profiles: how each chassis manager or BMC behaves, as data.
//!
//! The types of the YAML files in `hardware-profiles/`, and the checks that
//! need no I/O. A model that differs only in data needs a profile, no code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{SlotId, name_mistake};
use crate::quantity::{ByteSize, Span};
use crate::redfish_rules::RedfishRules;
use crate::resources::ObservedPower;

/// How one kind of chassis manager or BMC behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HardwareProfile {
    /// Name, such as `hpe-moonshot-1500`; what `--profile` and a Chassis say.
    pub name: String,
    /// Maker.
    pub vendor: String,
    /// Model and firmware it is for, in words.
    pub model: String,
    /// Which driver speaks with it.
    pub driver: DriverName,
    /// How `auto` knows the device; the first rule that fits decides.
    #[serde(default)]
    pub recognise: Vec<Recognition>,
    /// What the `moonshot-cli` driver needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<CliRules>,
    /// What the `redfish` driver needs to know; may be left out where the
    /// service follows the standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<RedfishRules>,
    /// What is odd about it, for people: every entry names the firmware it was
    /// seen with and the symptom.
    #[serde(default)]
    pub quirks: Vec<Quirk>,
}

/// The drivers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverName {
    /// The command line of a Moonshot chassis manager, over SSH.
    MoonshotCli,
    /// A Redfish service, over HTTP.
    Redfish,
}

/// A command whose answer tells the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Recognition {
    /// What to ask. Must change nothing on the device.
    pub command: String,
    /// Texts that must all occur in the answer, in any letter case.
    pub contains: Vec<String>,
    /// Texts that must not occur.
    #[serde(default)]
    pub lacks: Vec<String>,
}

impl Recognition {
    /// Whether `answer` is the answer of this device.
    #[must_use]
    pub fn fits(&self, answer: &str) -> bool {
        let answer = answer.to_lowercase();
        let occurs = |text: &String| answer.contains(&text.to_lowercase());
        self.contains.iter().all(occurs) && !self.lacks.iter().any(occurs)
    }
}

/// A command line over SSH: what to type and how to read the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CliRules {
    /// How a prompt ends. A prompt is one word alone on the last line.
    pub prompt_endings: Vec<String>,
    /// What to type; `{slot}` stands for a node id such as `c11n1`.
    pub commands: CliCommands,
    /// How to read answers, which carry no exit status.
    pub answers: CliAnswers,
    /// Words for power states, compared in any letter case.
    pub power_states: BTreeMap<String, ObservedPower>,
    /// Words in place of a value that is not there, such as `N/A`.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Names of facts in the answer to `info`.
    #[serde(default)]
    pub facts: FactNames,
    /// How long to wait for what.
    pub timing: CliTiming,
    /// Bounds on what is read.
    #[serde(default)]
    pub limits: CliLimits,
}

/// Command texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CliCommands {
    /// Lists all nodes with their power.
    pub list: String,
    /// Shows the MACs of all nodes.
    pub macs: String,
    /// Shows the MACs of one node, where the device refuses `macs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs_of_one: Option<String>,
    /// Shows the power of all nodes, for rows of the list that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<String>,
    /// Shows the power of one node.
    pub power_of_one: String,
    /// Shows facts of all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// Shows facts of one node, where the device refuses `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info_of_one: Option<String>,
    /// Power orders.
    pub set_power: PowerCommands,
    /// One-time boot orders, by target: `pxe`, `http`, `disk`.
    #[serde(default)]
    pub boot_once: BTreeMap<String, String>,
}

/// Power orders; `cycle` and `reset` are made of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PowerCommands {
    /// Power on.
    pub on: String,
    /// Ask the operating system to shut down.
    pub off: String,
    /// Cut the power.
    pub force_off: String,
}

/// How to read answers. Texts are compared in any letter case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CliAnswers {
    /// A line that begins so means that the firmware does not know the command.
    pub invalid_command: Vec<String>,
    /// A line that holds one of these means that an order was refused.
    #[serde(default)]
    pub refused: Vec<String>,
    /// A line that holds one of these means that the device is busy.
    #[serde(default)]
    pub busy: Vec<String>,
    /// What confirms a one-time boot order, by target; none: no refusal will do.
    #[serde(default)]
    pub boot_once: BTreeMap<String, String>,
}

/// Names of facts, each with its spellings; the first that is there is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FactNames {
    /// Maker of the cartridge.
    pub manufacturer: Vec<String>,
    /// Product name.
    pub model: Vec<String>,
    /// Serial number.
    pub serial: Vec<String>,
    /// SMBIOS UUID.
    pub uuid: Vec<String>,
}

/// How long to wait for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CliTiming {
    /// For the TCP connection and the key exchange.
    pub connect: Span,
    /// For the login.
    pub login: Span,
    /// For the whole answer to one command.
    pub command: Span,
    /// For the next byte of an answer.
    pub silence: Span,
    /// Until a node shows the state that was ordered, power on and forced off.
    pub settle: Span,
    /// Until a node that was asked to shut down is off.
    pub shutdown: Span,
    /// Between two looks while waiting for a state.
    pub poll: Span,
}

/// Bounds on what is read, so that a broken device costs little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CliLimits {
    /// Bytes of one answer.
    pub output: ByteSize,
    /// Bytes of one line; a longer one is not looked at.
    pub line: ByteSize,
    /// Nodes of one chassis.
    pub nodes: u32,
}

impl Default for CliLimits {
    fn default() -> Self {
        Self {
            output: ByteSize(1 << 20),
            line: ByteSize(8 << 10),
            nodes: 512,
        }
    }
}

/// Something odd, and who saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Quirk {
    /// Short name with dashes.
    pub name: String,
    /// Firmware it was seen with.
    pub firmware: String,
    /// What happens, and what is done about it.
    pub story: String,
}

/// The text that stands for a node id in a command.
pub const SLOT_PLACEHOLDER: &str = "{slot}";

/// Writes `slot` into a command text.
#[must_use]
pub fn command_for(template: &str, slot: SlotId) -> String {
    template.replace(SLOT_PLACEHOLDER, &slot.to_string())
}

/// Targets of a one-time boot order.
pub const BOOT_TARGETS: [&str; 3] = ["pxe", "http", "disk"];

/// A profile that reads well and means something impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {mistake}")]
pub struct ProfileMistake {
    field: String,
    mistake: String,
}

impl HardwareProfile {
    /// Looks for what the types cannot tell.
    ///
    /// # Errors
    /// The first mistake, with the field and what to write instead.
    pub fn check(&self) -> Result<(), ProfileMistake> {
        if let Some(mistake) = name_mistake(&self.name) {
            return Err(wrong("name", mistake));
        }
        if self.name == "auto" {
            return Err(wrong(
                "name",
                "`auto` is the word for recognising the device; choose another",
            ));
        }
        for (index, rule) in self.recognise.iter().enumerate() {
            check_command(
                &format!("recognise[{index}].command"),
                &rule.command,
                Node::None,
            )?;
            if rule.contains.iter().all(String::is_empty) {
                return Err(wrong(
                    &format!("recognise[{index}].contains"),
                    "without a text to look for, every device would fit",
                ));
            }
        }
        self.check_sections()
    }

    /// Whether it has the section of its driver, and no other's.
    fn check_sections(&self) -> Result<(), ProfileMistake> {
        match (self.driver, &self.cli, &self.redfish) {
            (DriverName::MoonshotCli, _, Some(_)) => {
                Err(wrong("redfish", "the driver moonshot-cli has no use for this section"))
            }
            (DriverName::MoonshotCli, Some(rules), None) => rules.check(),
            (DriverName::MoonshotCli, None, None) => {
                Err(wrong("cli", "the driver moonshot-cli needs this section"))
            }
            (DriverName::Redfish, Some(_), _) => {
                Err(wrong("cli", "the driver redfish has no use for this section"))
            }
            (DriverName::Redfish, None, _) if !self.recognise.is_empty() => Err(wrong(
                "recognise",
                "asks for commands of a command line; a Redfish service is known by \
                 redfish.recognise",
            )),
            (DriverName::Redfish, None, None) => {
                Err(wrong("redfish", "the driver redfish needs this section, if only `redfish: {}`"))
            }
            (DriverName::Redfish, None, Some(rules)) => {
                rules.check().map_err(|(field, mistake)| wrong(&field, mistake))
            }
        }
    }
}

impl CliRules {
    fn check(&self) -> Result<(), ProfileMistake> {
        self.commands.check()?;
        if self.prompt_endings.is_empty() || self.prompt_endings.iter().any(|e| e.trim().is_empty())
        {
            return Err(wrong(
                "cli.promptEndings",
                "needs at least one ending, such as '->', none of them blank",
            ));
        }
        for state in [ObservedPower::On, ObservedPower::Off] {
            if !self.power_states.values().any(|known| *known == state) {
                return Err(wrong("cli.powerStates", &format!("no word means {state}")));
            }
        }
        if self.answers.invalid_command.iter().all(String::is_empty) {
            return Err(wrong(
                "cli.answers.invalidCommand",
                "needs the text for an unknown command",
            ));
        }
        for target in self.answers.boot_once.keys() {
            if !self.commands.boot_once.contains_key(target) {
                return Err(wrong(
                    &format!("cli.answers.bootOnce.{target}"),
                    "confirms an order that cli.commands.bootOnce does not have",
                ));
            }
        }
        self.timing.check()?;
        let smallest = ByteSize(1 << 10);
        if self.limits.output < smallest || self.limits.line.0 == 0 || self.limits.nodes == 0 {
            return Err(wrong(
                "cli.limits",
                "output must be 1Ki at least, line and nodes more than 0",
            ));
        }
        Ok(())
    }
}

impl CliCommands {
    fn check(&self) -> Result<(), ProfileMistake> {
        let all = [
            ("list", Some(&self.list)),
            ("macs", Some(&self.macs)),
            ("power", self.power.as_ref()),
            ("info", self.info.as_ref()),
        ];
        let one = [
            ("macsOfOne", self.macs_of_one.as_ref()),
            ("powerOfOne", Some(&self.power_of_one)),
            ("infoOfOne", self.info_of_one.as_ref()),
            ("setPower.on", Some(&self.set_power.on)),
            ("setPower.off", Some(&self.set_power.off)),
            ("setPower.forceOff", Some(&self.set_power.force_off)),
        ];
        for (name, command) in all {
            check_command(
                &format!("cli.commands.{name}"),
                command.map_or("-", |c| c),
                Node::None,
            )?;
        }
        for (name, command) in one {
            check_command(
                &format!("cli.commands.{name}"),
                command.map_or(SLOT_PLACEHOLDER, |c| c),
                Node::One,
            )?;
        }
        for (target, command) in &self.boot_once {
            let field = format!("cli.commands.bootOnce.{target}");
            if !BOOT_TARGETS.contains(&target.as_str()) {
                return Err(wrong(&field, "a boot target is one of pxe, http, disk"));
            }
            check_command(&field, command, Node::One)?;
        }
        Ok(())
    }
}

impl CliTiming {
    fn check(&self) -> Result<(), ProfileMistake> {
        for (name, span) in [
            ("connect", self.connect),
            ("login", self.login),
            ("command", self.command),
            ("silence", self.silence),
            ("settle", self.settle),
            ("shutdown", self.shutdown),
            ("poll", self.poll),
        ] {
            if span.0 == 0 {
                return Err(wrong(&format!("cli.timing.{name}"), "must be 1s at least"));
            }
        }
        Ok(())
    }
}

/// Whether a command is about one node.
enum Node {
    One,
    None,
}

fn check_command(field: &str, command: &str, node: Node) -> Result<(), ProfileMistake> {
    if command.trim().is_empty() {
        return Err(wrong(field, "the command is empty"));
    }
    // A line end in a template would make the shell run two commands.
    if command.chars().any(char::is_control) {
        return Err(wrong(
            field,
            "a command is one line without control characters",
        ));
    }
    match (node, command.contains(SLOT_PLACEHOLDER)) {
        (Node::One, false) => Err(wrong(field, "acts on one node, so it must hold {slot}")),
        (Node::None, true) => Err(wrong(
            field,
            "acts on all nodes, so it must not hold {slot}",
        )),
        _ => Ok(()),
    }
}

fn wrong(field: &str, mistake: &str) -> ProfileMistake {
    ProfileMistake {
        field: field.into(),
        mistake: mistake.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognition_ignores_letter_case_and_heeds_lacks() {
        let rule = Recognition {
            command: "show firmware".into(),
            contains: vec!["Slot ID".into()],
            lacks: vec!["Manager 2.0".into()],
        };
        for (answer, fits) in [
            ("SLOT id  Proc", true),
            ("Slot ID manager 2.0", false),
            ("Invalid command", false),
            ("", false),
        ] {
            assert_eq!(rule.fits(answer), fits, "{answer}");
        }
    }

    #[test]
    fn commands_name_the_node() {
        let slot: SlotId = "c11n1".parse().unwrap();
        assert_eq!(
            command_for("set node power on {slot}", slot),
            "set node power on c11n1"
        );
    }

    #[test]
    fn command_mistakes_are_named() {
        for (command, node, expected) in [
            (" ", Node::None, "x: the command is empty"),
            (
                "a\nb",
                Node::None,
                "x: a command is one line without control characters",
            ),
            (
                "a",
                Node::One,
                "x: acts on one node, so it must hold {slot}",
            ),
            (
                "a {slot}",
                Node::None,
                "x: acts on all nodes, so it must not hold {slot}",
            ),
        ] {
            assert_eq!(
                check_command("x", command, node).unwrap_err().to_string(),
                expected
            );
        }
    }
}
