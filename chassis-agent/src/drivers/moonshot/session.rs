//! One SSH connection on which commands are run one after the other, each in an
//! exec channel or, where the device has none, in one interactive shell.

use std::sync::Arc;
use std::time::Duration;

use boot_proto::hardware_profile::CliRules;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::time::timeout;

use super::connect::Connection;
use super::parse::{Answer, clean, ends_with_prompt};
use crate::config::Target;
use crate::drivers::{DriverError, excerpt};

/// A device's command line. Keeps one connection open and opens a new one when
/// that has broken.
pub(super) struct Session {
    target: Arc<Target>,
    connection: Option<Connection>,
    way: Way,
}

/// How the device takes commands.
enum Way {
    /// Not known yet: exec is tried first.
    Unknown,
    /// In exec channels; at least one command was answered so.
    Exec,
    /// In an interactive shell, open or to be opened.
    Shell(Option<Box<Channel<Msg>>>),
}

/// What came of a command in an exec channel.
enum Executed {
    Output(Vec<u8>),
    Refused,
}

impl Session {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            connection: None,
            way: Way::Unknown,
        }
    }

    /// Runs one command and returns the lines of its answer.
    pub(super) async fn run(
        &mut self,
        command: &str,
        rules: &CliRules,
    ) -> Result<Answer, DriverError> {
        let patience = rules.timing.command.duration();
        let outcome = match timeout(self.whole_patience(rules), self.attempt(command, rules)).await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(self.timed_out(command, patience)),
        };
        if outcome.as_ref().is_err_and(DriverError::breaks_connection) {
            // Whatever still comes belongs to this command; the next one must
            // not mistake it for its own answer.
            self.drop_connection();
        }
        let answer = clean(&outcome?, command, rules);
        tracing::trace!(address = %self.target.address, command, lines = answer.lines.len());
        Ok(answer)
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        self.forget_shell();
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    async fn attempt(&mut self, command: &str, rules: &CliRules) -> Result<Vec<u8>, DriverError> {
        if matches!(self.way, Way::Shell(_)) {
            return self.run_in_shell(command, rules).await;
        }
        let executed = self.execute(command, rules).await?;
        match (executed, &self.way) {
            (Executed::Output(raw), Way::Exec) => Ok(raw),
            (Executed::Output(raw), _) if says_something(&raw, command, rules) => {
                self.way = Way::Exec;
                Ok(raw)
            }
            _ => {
                tracing::debug!(address = %self.target.address, "no exec channel, using a shell");
                self.way = Way::Shell(None);
                self.run_in_shell(command, rules).await
            }
        }
    }

    /// Opens a session channel, connecting first where needed. A connection the
    /// device has closed meanwhile is replaced once: nothing was sent on it.
    async fn open_channel(&mut self, rules: &CliRules) -> Result<Channel<Msg>, DriverError> {
        let was_open = self.connection.is_some();
        match self.try_open_channel(rules).await {
            Err(error) if was_open && !matches!(error, DriverError::TimedOut { .. }) => {
                tracing::debug!(address = %self.target.address, %error, "connecting anew");
                self.drop_connection();
                self.try_open_channel(rules).await
            }
            outcome => outcome,
        }
    }

    async fn try_open_channel(&mut self, rules: &CliRules) -> Result<Channel<Msg>, DriverError> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.handle.is_closed() => connection,
            _ => Connection::open(&self.target, &rules.timing).await?,
        };
        let connection = self.connection.insert(connection);
        let opening = connection.handle.channel_open_session();
        match timeout(rules.timing.silence.duration(), opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => Err(DriverError::Busy {
                address: self.target.address.to_string(),
                answer: format!("no session channel: {reason:?}"),
            }),
            Ok(Err(error)) => Err(connection.broke("opening a session", error)),
            Err(_) => Err(self.timed_out("opening a session", rules.timing.silence.duration())),
        }
    }

    async fn execute(&mut self, command: &str, rules: &CliRules) -> Result<Executed, DriverError> {
        let mut channel = self.open_channel(rules).await?;
        channel
            .exec(true, command)
            .await
            .map_err(|error| self.lost(command, &error))?;
        let mut raw = Vec::new();
        loop {
            match self.next(&mut channel, command, rules).await? {
                Some(ChannelMsg::Failure) => return Ok(Executed::Refused),
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    take(&mut raw, &data, command, rules)?;
                    // Some firmware shows a prompt and leaves the channel open.
                    if ends_with_prompt(&raw, rules) {
                        break;
                    }
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) => break,
                Some(_) => {}
                None => return Err(self.cut_off(command, &raw)),
            }
        }
        let _ = channel.close().await;
        Ok(Executed::Output(raw))
    }

    async fn run_in_shell(
        &mut self,
        command: &str,
        rules: &CliRules,
    ) -> Result<Vec<u8>, DriverError> {
        let is_alive = self
            .connection
            .as_ref()
            .is_some_and(|c| !c.handle.is_closed());
        let open = match &mut self.way {
            Way::Shell(shell) => shell.take().filter(|_| is_alive),
            _ => None,
        };
        let mut shell = match open {
            Some(shell) => shell,
            None => Box::new(self.open_shell(rules).await?),
        };
        let line = format!("{command}\r");
        shell
            .data(line.as_bytes())
            .await
            .map_err(|error| self.lost(command, &error))?;
        let raw = self.read_to_prompt(&mut shell, command, rules).await?;
        self.way = Way::Shell(Some(shell));
        Ok(raw)
    }

    async fn open_shell(&mut self, rules: &CliRules) -> Result<Channel<Msg>, DriverError> {
        // Wide enough that no table is broken over two lines.
        const COLUMNS: u32 = 250;
        const ROWS: u32 = 500;
        let doing = "opening a shell";
        let mut shell = self.open_channel(rules).await?;
        let pty = shell
            .request_pty(false, "vt100", COLUMNS, ROWS, 0, 0, &[])
            .await;
        pty.map_err(|error| self.lost(doing, &error))?;
        shell
            .request_shell(false)
            .await
            .map_err(|error| self.lost(doing, &error))?;
        self.read_to_prompt(&mut shell, doing, rules).await?;
        Ok(shell)
    }

    async fn read_to_prompt(
        &mut self,
        shell: &mut Channel<Msg>,
        command: &str,
        rules: &CliRules,
    ) -> Result<Vec<u8>, DriverError> {
        let mut raw = Vec::new();
        while !ends_with_prompt(&raw, rules) {
            match self.next(shell, command, rules).await? {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    take(&mut raw, &data, command, rules)?;
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => {
                    return Err(self.cut_off(command, &raw));
                }
                Some(_) => {}
            }
        }
        Ok(raw)
    }

    /// The next message, or an error when the device is silent for too long.
    async fn next(
        &self,
        channel: &mut Channel<Msg>,
        command: &str,
        rules: &CliRules,
    ) -> Result<Option<ChannelMsg>, DriverError> {
        let silence = rules.timing.silence.duration();
        timeout(silence, channel.wait())
            .await
            .map_err(|_| self.timed_out(command, silence))
    }

    /// Longest time a command may take with everything that it may need first.
    fn whole_patience(&self, rules: &CliRules) -> Duration {
        let timing = &rules.timing;
        let connecting = timing.connect.duration() + timing.login.duration();
        let is_open = self.connection.is_some();
        timing.command.duration() + if is_open { Duration::ZERO } else { connecting }
    }

    fn drop_connection(&mut self) {
        self.forget_shell();
        self.connection = None;
    }

    fn forget_shell(&mut self) {
        if let Way::Shell(shell) = &mut self.way {
            *shell = None;
        }
    }

    fn timed_out(&self, command: &str, after: Duration) -> DriverError {
        DriverError::TimedOut {
            address: self.target.address.to_string(),
            doing: format!("answering {command:?}"),
            after,
        }
    }

    fn lost(&self, command: &str, error: &russh::Error) -> DriverError {
        DriverError::Unreachable {
            address: self.target.address.to_string(),
            doing: format!("sending {command:?}"),
            reason: error.to_string(),
        }
    }

    fn cut_off(&self, command: &str, raw: &[u8]) -> DriverError {
        DriverError::Unreachable {
            address: self.target.address.to_string(),
            doing: format!("answering {command:?}"),
            reason: format!(
                "the connection was closed after {} bytes of the answer",
                raw.len()
            ),
        }
    }
}

/// Whether an answer holds anything besides the echo of the command.
fn says_something(raw: &[u8], command: &str, rules: &CliRules) -> bool {
    clean(raw, command, rules)
        .lines
        .iter()
        .any(|line| !line.trim().is_empty())
}

/// Takes more of an answer, up to the profile's limit.
fn take(
    raw: &mut Vec<u8>,
    data: &[u8],
    command: &str,
    rules: &CliRules,
) -> Result<(), DriverError> {
    raw.extend_from_slice(data);
    let most = usize::try_from(rules.limits.output.0).unwrap_or(usize::MAX);
    if raw.len() <= most {
        return Ok(());
    }
    Err(DriverError::Garbled {
        command: command.to_owned(),
        problem: format!("longer than {} bytes", rules.limits.output),
        excerpt: excerpt(&String::from_utf8_lossy(raw.get(..400).unwrap_or(raw))),
    })
}
