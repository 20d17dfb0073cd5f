//! What the types of a hardware profile cannot tell: mistakes of meaning, each
//! with the field and what to write instead.

use super::{
    BOOT_TARGETS, CARTRIDGE_PLACEHOLDER, CliCommands, CliRules, CliTiming, ConsoleRules,
    DriverName, HardwareProfile, RestRules, SLOT_PLACEHOLDER,
};
use crate::ids::name_mistake;
use crate::quantity::ByteSize;
use crate::resources::ObservedPower;

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
        if let Some(rest) = &self.rest {
            if self.driver != DriverName::MoonshotCli {
                return Err(wrong(
                    "rest",
                    "only the driver moonshot-cli has a use for this section",
                ));
            }
            rest.check()?;
        }
        match (self.driver, &self.cli, &self.redfish) {
            (DriverName::MoonshotCli, _, Some(_)) => Err(wrong(
                "redfish",
                "the driver moonshot-cli has no use for this section",
            )),
            (DriverName::MoonshotCli, Some(rules), None) => rules.check(),
            (DriverName::MoonshotCli, None, None) => {
                Err(wrong("cli", "the driver moonshot-cli needs this section"))
            }
            (DriverName::Redfish, Some(_), _) => Err(wrong(
                "cli",
                "the driver redfish has no use for this section",
            )),
            (DriverName::Redfish, None, _) if !self.recognise.is_empty() => Err(wrong(
                "recognise",
                "asks for commands of a command line; a Redfish service is known by \
                 redfish.recognise",
            )),
            (DriverName::Redfish, None, None) => Err(wrong(
                "redfish",
                "the driver redfish needs this section, if only `redfish: {}`",
            )),
            (DriverName::Redfish, None, Some(rules)) => rules
                .check()
                .map_err(|(field, mistake)| wrong(&field, mistake)),
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
        if let Some(console) = &self.console {
            console.check()?;
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

impl RestRules {
    fn check(&self) -> Result<(), ProfileMistake> {
        check_command("rest.summary", &self.summary, Node::None)?;
        check_command("rest.system", &self.system, Node::One)?;
        for (name, path) in [("summary", &self.summary), ("system", &self.system)] {
            if !path.starts_with("/rest/") {
                return Err(wrong(
                    &format!("rest.{name}"),
                    "is a path that begins with /rest/",
                ));
            }
        }
        for target in self.boot_once.keys() {
            if !BOOT_TARGETS.contains(&target.as_str()) {
                let field = format!("rest.bootOnce.{target}");
                return Err(wrong(&field, "a boot target is one of pxe, http, disk"));
            }
        }
        Ok(())
    }
}

impl ConsoleRules {
    fn check(&self) -> Result<(), ProfileMistake> {
        check_command("cli.console.connect", &self.connect, Node::One)?;
        check_command("cli.console.acquire", &self.acquire, Node::One)?;
        for (name, text) in [("begun", &self.begun), ("leave", &self.leave)] {
            if text.is_empty() {
                return Err(wrong(
                    &format!("cli.console.{name}"),
                    "must not be empty: without it nobody knows when a console begins and ends",
                ));
            }
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
    let names_node = command.contains(SLOT_PLACEHOLDER) || command.contains(CARTRIDGE_PLACEHOLDER);
    match (node, names_node) {
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
