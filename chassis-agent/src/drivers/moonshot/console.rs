//! The serial console of a node, through the chassis manager's command line.

use std::time::Duration;

use boot_proto::hardware_profile::{CliRules, ConsoleRules, command_for};
use boot_proto::ids::SlotId;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::time::timeout;

use super::commands;
use super::parse::{Answer, Ending, clean_with, ending};
use super::session::Session;
use crate::drivers::{Console, DriverError, DriverFuture, excerpt};

/// How long the device may take to give a console back.
const GOODBYE: Duration = Duration::from_secs(2);

/// A console that is connected.
pub(super) struct NodeConsole {
    rules: ConsoleRules,
    address: String,
    shell: Box<Channel<Msg>>,
    prompt: Option<String>,
    /// What came behind the word that it is connected.
    early: Vec<u8>,
    /// The end of the last line, to see the prompt when it comes back.
    tail: Vec<u8>,
}

/// Connects with the console of a node.
///
/// # Errors
/// When the device cannot be reached or does not connect.
pub(super) async fn connect(
    session: &mut Session,
    slot: SlotId,
    acquire: bool,
    rules: &CliRules,
    profile: &str,
) -> Result<NodeConsole, DriverError> {
    let console = rules
        .console
        .clone()
        .ok_or_else(|| DriverError::Impossible {
            what: "console".into(),
            profile: profile.to_owned(),
            possible: "no console".into(),
        })?;
    let template = if acquire {
        &console.acquire
    } else {
        &console.connect
    };
    let command = command_for(template, slot);
    let (shell, prompt) = session.take_shell(rules).await?;
    let mut opening = NodeConsole {
        address: session.address(),
        rules: console,
        shell,
        prompt,
        early: Vec::new(),
        tail: Vec::new(),
    };
    opening.begin(&command, rules).await?;
    Ok(opening)
}

impl NodeConsole {
    /// Gives the command and waits until the device says that it is connected.
    async fn begin(&mut self, command: &str, rules: &CliRules) -> Result<(), DriverError> {
        let line = format!("{command}\r");
        self.write(line.as_bytes()).await?;
        let silence = rules.timing.silence.duration();
        let most = usize::try_from(rules.limits.output.0).unwrap_or(usize::MAX);
        let mut raw: Vec<u8> = Vec::new();
        while raw.len() <= most {
            let data = match timeout(silence, self.data()).await {
                Ok(data) => data?,
                Err(_) => {
                    return Err(DriverError::TimedOut {
                        address: self.address.clone(),
                        doing: format!("answering {command:?}"),
                        after: silence,
                    });
                }
            };
            let is_over = data.is_none();
            raw.extend(data.unwrap_or_default());
            if let Some(end) = end_of_line_with(&raw, &self.rules.begun) {
                self.early = raw.split_off(end);
                return Ok(());
            }
            let prompt = self.prompt.as_deref();
            let answer = clean_with(&raw, command, prompt, rules);
            let has_prompt = ending(&raw, prompt, rules) == Ending::Prompt;
            if is_over || (has_prompt && !answer.text().is_empty()) {
                return Err(self.refusal(command, &answer, rules));
            }
        }
        Err(DriverError::Garbled {
            command: command.to_owned(),
            problem: format!("longer than {}", rules.limits.output),
            excerpt: excerpt(&String::from_utf8_lossy(raw.get(..400).unwrap_or(&raw))),
        })
    }

    /// Only the meaning of what the device says to the second user of a console
    /// is known, not the words: what is no plain refusal is taken for that.
    fn refusal(&self, command: &str, answer: &Answer, rules: &CliRules) -> DriverError {
        match commands::judge_order(command, answer, rules, &self.address) {
            Err(error @ DriverError::Refused { .. }) if commands::is_unknown(answer, rules) => {
                error
            }
            _ => DriverError::Busy {
                address: self.address.clone(),
                answer: excerpt(&answer.text()),
            },
        }
    }

    /// The next bytes; `None` when the device has closed the channel.
    async fn data(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        loop {
            match self.shell.wait().await {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    return Ok(Some(data.to_vec()));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    /// Whether the last line is the device's prompt and nothing else: then it
    /// has taken the console away.
    fn is_back(&mut self, data: &[u8]) -> bool {
        const LONGEST: usize = 256;
        self.tail.extend_from_slice(data);
        let line = self
            .tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let from = line.max(self.tail.len().saturating_sub(LONGEST));
        self.tail.drain(..from);
        let Some(prompt) = &self.prompt else {
            return false;
        };
        String::from_utf8_lossy(&self.tail).trim() == prompt
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError> {
        let data = if self.early.is_empty() {
            self.data().await?
        } else {
            Some(std::mem::take(&mut self.early))
        };
        Ok(data.filter(|data| !self.is_back(data)))
    }

    async fn say_goodbye(&mut self, typed: bool) -> Result<(), DriverError> {
        if !typed {
            let keys = self.rules.leave.clone();
            self.write(keys.as_bytes()).await?;
        }
        let back = async { while let Ok(Some(_)) = self.next().await {} };
        // A device that does not show its prompt frees the console when the
        // channel closes.
        let _ = timeout(GOODBYE, back).await;
        let _ = self.shell.close().await;
        Ok(())
    }
}

impl Console for NodeConsole {
    fn leave_keys(&self) -> (&[u8], &str) {
        (self.rules.leave.as_bytes(), &self.rules.leave_keys)
    }

    fn read(&mut self) -> DriverFuture<'_, Option<Vec<u8>>> {
        Box::pin(self.next())
    }

    fn write<'a>(&'a mut self, typed: &'a [u8]) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let sent = self.shell.data(typed).await;
            sent.map_err(|error| DriverError::Unreachable {
                address: self.address.clone(),
                doing: "typing on the console".into(),
                reason: error.to_string(),
            })
        })
    }

    fn leave(&mut self, typed: bool) -> DriverFuture<'_, ()> {
        Box::pin(self.say_goodbye(typed))
    }
}

/// Where the line that holds `text` ends, in any letter case.
fn end_of_line_with(raw: &[u8], text: &str) -> Option<usize> {
    let at = raw
        .windows(text.len())
        .position(|part| part.eq_ignore_ascii_case(text.as_bytes()))?;
    let rest = raw.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some(at + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_begins_behind_the_line_that_says_so() {
        for (raw, expected) in [
            ("a\r\nvirtual serial port ACTIVE: COM2\r\nlogin:", Some(37)),
            ("Virtual Serial Port Active: ", None),
            ("in use\r\n", None),
            ("", None),
        ] {
            let end = end_of_line_with(raw.as_bytes(), "Virtual Serial Port Active");
            assert_eq!(end, expected, "{raw:?}");
        }
    }
}
