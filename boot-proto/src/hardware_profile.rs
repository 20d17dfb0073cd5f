//! Hardware profiles: how each chassis manager or BMC behaves, as data.
//!
//! The types of the YAML files in `hardware-profiles/`, and the checks that
//! need no I/O. A model that differs only in data needs a profile, no code.

mod check;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::SlotId;
use crate::quantity::{ByteSize, Span};
use crate::redfish_rules::RedfishRules;
use crate::resources::ObservedPower;

pub use check::ProfileMistake;

/// How one kind of chassis manager or BMC behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
    /// How `auto` knows the device: one rule must fit. Where the rules of
    /// several profiles do, the one that looks for most text decides.
    #[serde(default)]
    pub recognise: Vec<Recognition>,
    /// What the `moonshot-cli` driver needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cli: Option<CliRules>,
    /// The web interface that a chassis manager has beside its command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestRules>,
    /// What the `redfish` driver needs to know; may be left out where the
    /// service follows the standard. Shared by all devices of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<Arc<RedfishRules>>,
    /// What is odd about it, for people: every entry names the firmware it was
    /// seen with and the symptom.
    #[serde(default)]
    pub quirks: Vec<Quirk>,
}

/// The JSON Schema of a hardware profile, for editors and for checks without
/// this program. What no schema can say, the program says when it reads it.
#[cfg(feature = "crd")]
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(HardwareProfile).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".into(), "Hardware profile of Moonfarm".into());
    }
    schema
}

/// The drivers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DriverName {
    /// The command line of a Moonshot chassis manager, over SSH.
    MoonshotCli,
    /// A Redfish service, over HTTP.
    Redfish,
}

/// A command whose answer tells the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
    /// How much the rule looks for: "Slot ID" says less of a device than its
    /// full name.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.contains.iter().map(String::len).sum()
    }

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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
    /// How a node's serial console is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleRules>,
    /// How long to wait for what.
    pub timing: CliTiming,
    /// Bounds on what is read.
    #[serde(default)]
    pub limits: CliLimits,
}

/// The web interface of a chassis manager from before Redfish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RestRules {
    /// Path of one answer about all nodes.
    pub summary: String,
    /// Path of one node.
    pub system: String,
    /// Words for resets.
    pub reset: ResetWords,
    /// Words for boot targets, by target: `pxe`, `http`, `disk`.
    #[serde(default)]
    pub boot_once: BTreeMap<String, String>,
    /// Switch modules that the NICs lead to, in turn.
    #[serde(default)]
    pub switches: Vec<String>,
    /// How often a resource that is said not to be there is asked for again.
    #[serde(default)]
    pub retries_of_404: u32,
}

/// Words of a web interface for resets; what has none goes to the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ResetWords {
    /// Power on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Ask the operating system to shut down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
    /// Cut the power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_off: Option<String>,
    /// Restart a node that is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

/// The way to a node's serial console and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConsoleRules {
    /// Connects with the console.
    pub connect: String,
    /// The same, taking it away from who uses it.
    pub acquire: String,
    /// What the device says once it is connected; a prompt before that means
    /// that it is not.
    pub begun: String,
    /// The keys that lead back to the command line.
    pub leave: String,
    /// These keys in words, such as `ESC (`.
    pub leave_keys: String,
}

/// Command texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
    /// Shows facts of one node, where the device refuses `info`; `{cartridge}`
    /// stands for the number of its cartridge.
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
    /// What a pager asks with before it shows more; a blank is the answer.
    #[serde(default = "pager")]
    pub pager: Vec<String>,
}

fn pager() -> Vec<String> {
    ["--More--", "-- More --", "Press any key", "Press space"]
        .map(str::to_owned)
        .into()
}

/// Names of facts, each with its spellings; the first that is there is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
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

/// The text that stands for the number of a cartridge in a command.
pub const CARTRIDGE_PLACEHOLDER: &str = "{cartridge}";

/// Writes `slot` into a command text.
#[must_use]
pub fn command_for(template: &str, slot: SlotId) -> String {
    template
        .replace(SLOT_PLACEHOLDER, &slot.to_string())
        .replace(CARTRIDGE_PLACEHOLDER, &slot.cartridge().to_string())
}

/// Targets of a one-time boot order.
pub const BOOT_TARGETS: [&str; 3] = ["pxe", "http", "disk"];

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
        assert_eq!(
            command_for("show blades b{cartridge}", slot),
            "show blades b11"
        );
    }
}
