//! Command texts, and what the answers to orders mean. Pure.

use boot_proto::hardware_profile::{CliRules, command_for};
use boot_proto::ids::SlotId;

use super::parse::Answer;
use crate::drivers::{BootTarget, DriverError, PowerOrderKind, excerpt};

/// The command for a power order.
pub(super) fn power(rules: &CliRules, slot: SlotId, order: PowerOrderKind) -> String {
    let commands = &rules.commands.set_power;
    let template = match order {
        PowerOrderKind::On => &commands.on,
        PowerOrderKind::Off => &commands.off,
        PowerOrderKind::ForceOff => &commands.force_off,
    };
    command_for(template, slot)
}

/// The command for a one-time boot order.
pub(super) fn boot_once(
    rules: &CliRules,
    profile: &str,
    slot: SlotId,
    target: BootTarget,
) -> Result<String, DriverError> {
    let templates = &rules.commands.boot_once;
    let template = templates
        .get(target.name())
        .ok_or_else(|| DriverError::Impossible {
            what: format!("boot-once {}", target.name()),
            profile: profile.to_owned(),
            possible: if templates.is_empty() {
                "none".into()
            } else {
                templates.keys().cloned().collect::<Vec<_>>().join(", ")
            },
        })?;
    Ok(command_for(template, slot))
}

/// Whether a command was refused because the firmware does not know it.
pub(super) fn is_unknown(answer: &Answer, rules: &CliRules) -> bool {
    answer
        .line_beginning(&rules.answers.invalid_command)
        .is_some()
}

/// What an order's answer means: there is no exit status, so it is a refusal
/// when it says so, and the state tells the rest.
pub(super) fn judge_order(
    command: &str,
    answer: &Answer,
    rules: &CliRules,
    address: &str,
) -> Result<(), DriverError> {
    let texts = &rules.answers;
    let refused = |line: &str| DriverError::Refused {
        command: command.to_owned(),
        answer: excerpt(line),
    };
    if let Some(line) = answer.line_beginning(&texts.invalid_command) {
        return Err(refused(line));
    }
    if let Some(line) = answer.line_holding(&texts.busy) {
        return Err(DriverError::Busy {
            address: address.to_owned(),
            answer: excerpt(line),
        });
    }
    answer
        .line_holding(&texts.refused)
        .map_or(Ok(()), |line| Err(refused(line)))
}

/// Whether a one-time boot order was confirmed.
pub(super) fn judge_boot_once(
    command: &str,
    answer: &Answer,
    rules: &CliRules,
    target: BootTarget,
) -> Result<(), DriverError> {
    let Some(expected) = rules.answers.boot_once.get(target.name()) else {
        return Ok(());
    };
    if answer
        .line_holding(std::slice::from_ref(expected))
        .is_some()
    {
        return Ok(());
    }
    Err(DriverError::Unconfirmed {
        command: command.to_owned(),
        expected: expected.clone(),
        answer: excerpt(&answer.text()),
    })
}

/// Why an answer to a question held nothing to read.
pub(super) fn unreadable(
    command: &str,
    answer: &Answer,
    rules: &CliRules,
    address: &str,
    problem: &str,
) -> DriverError {
    match judge_order(command, answer, rules, address) {
        Err(error) => error,
        Ok(()) => DriverError::Garbled {
            command: command.to_owned(),
            problem: problem.to_owned(),
            excerpt: excerpt(&answer.text()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;

    fn answer(text: &str) -> Answer {
        Answer {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn orders_are_judged_by_what_the_device_says() {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.named("hpe-moonshot-1500").unwrap();
        let rules = profile.cli.as_ref().unwrap();
        for (text, expected) in [
            ("", ""),
            ("Node #1 is powering on", ""),
            ("Invalid command", "refused"),
            ("  invalid COMMAND ", "refused"),
            ("Error: not permitted for this user", "refused"),
            ("The node is busy, try again", "busy"),
        ] {
            let verdict = judge_order("x", &answer(text), rules, "a:22");
            assert_eq!(
                verdict.as_ref().err().map_or("", DriverError::kind),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_boot_order_must_be_confirmed() {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.named("hpe-moonshot-1500").unwrap();
        let rules = profile.cli.as_ref().unwrap();
        let slot = "c1n1".parse().unwrap();
        let command = boot_once(rules, "p", slot, BootTarget::Pxe).unwrap();
        assert_eq!(command, "set node bootonce pxe c1n1");
        judge_boot_once(
            &command,
            &answer("c1n1 Bootonce: PXE"),
            rules,
            BootTarget::Pxe,
        )
        .unwrap();
        let vague = judge_boot_once(&command, &answer("ok"), rules, BootTarget::Pxe).unwrap_err();
        assert_eq!(vague.kind(), "unconfirmed");
        assert!(vague.to_string().contains("it answered \"ok\""), "{vague}");
        let error = boot_once(rules, "p", slot, BootTarget::Http)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "boot-once http is not possible on p; possible: pxe");
    }
}
