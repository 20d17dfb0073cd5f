//! One SSH connection on which commands are run one after the other, each in an
//! exec channel or, where the device has none, in one interactive shell.

use std::sync::Arc;
use std::time::Duration;

use boot_proto::hardware_profile::CliRules;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::time::timeout;

use super::connect::Connection;
use super::parse::{Answer, Ending, clean_with, ending, prompt_of};
use crate::config::Target;
use crate::drivers::{DriverError, excerpt};

/// A device's command line. Keeps one connection open and opens a new one when
/// that has broken.
pub(super) struct Session {
    target: Arc<Target>,
    connection: Option<Connection>,
    way: Way,
    /// The prompt of its shell, once one was open.
    prompt: Option<String>,
    /// Commands so far.
    commands: u64,
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
            prompt: None,
            commands: 0,
        }
    }

    /// Commands so far.
    pub(super) const fn commands(&self) -> u64 {
        self.commands
    }

    /// Runs one command and returns the lines of its answer.
    pub(super) async fn run(
        &mut self,
        command: &str,
        rules: &CliRules,
    ) -> Result<Answer, DriverError> {
        self.commands += 1;
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
        let answer = clean_with(&outcome?, command, self.prompt.as_deref(), rules);
        tracing::trace!(address = %self.target.address, command, lines = answer.lines.len());
        Ok(answer)
    }

    /// A shell for one's own use, with its prompt where that is known.
    pub(super) async fn take_shell(
        &mut self,
        rules: &CliRules,
    ) -> Result<(Box<Channel<Msg>>, Option<String>), DriverError> {
        self.forget_shell();
        let shell = Box::new(self.open_shell(rules).await?);
        Ok((shell, self.prompt.clone()))
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        self.target.address.to_string()
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
            (Executed::Output(raw), _) if self.says_something(&raw, command, rules) => {
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
        let mut heard = Heard::new(command, rules);
        loop {
            // Some firmware shows a prompt and leaves the channel open.
            let Some(message) = self.next(&mut channel, &heard).await? else {
                break;
            };
            match message {
                ChannelMsg::Failure => return Ok(Executed::Refused),
                ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                    heard.take(&data)?;
                    self.turn_page(&channel, &mut heard).await?;
                }
                ChannelMsg::Eof | ChannelMsg::Close => break,
                _ => {}
            }
        }
        let _ = channel.close().await;
        Ok(Executed::Output(heard.raw))
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
        let greeting = self.read_to_prompt(&mut shell, doing, rules).await?;
        self.prompt = prompt_of(&greeting, rules);
        Ok(shell)
    }

    async fn read_to_prompt(
        &mut self,
        shell: &mut Channel<Msg>,
        command: &str,
        rules: &CliRules,
    ) -> Result<Vec<u8>, DriverError> {
        let mut heard = Heard::new(command, rules);
        while let Some(message) = self.next(shell, &heard).await? {
            match message {
                ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                    heard.take(&data)?;
                    self.turn_page(shell, &mut heard).await?;
                }
                ChannelMsg::Eof | ChannelMsg::Close => {
                    return Err(self.cut_off(command, &heard.raw));
                }
                _ => {}
            }
        }
        Ok(heard.raw)
    }

    /// Answers a pager that waits for a key.
    async fn turn_page(
        &self,
        channel: &Channel<Msg>,
        heard: &mut Heard<'_>,
    ) -> Result<(), DriverError> {
        if !heard.wants_a_key()? {
            return Ok(());
        }
        let sent = channel.data(&b" "[..]).await;
        sent.map_err(|error| self.lost(heard.command, &error))
    }

    /// The next message, or `None` when a prompt says that the answer is
    /// complete.
    ///
    /// A prompt with neither the command's echo nor an answer before it may be
    /// left over from the command before, and a word like a prompt at the end of
    /// a row may be a part of it; then more is waited for, but not long, because
    /// a device may have nothing more to say.
    async fn next(
        &self,
        channel: &mut Channel<Msg>,
        heard: &Heard<'_>,
    ) -> Result<Option<ChannelMsg>, DriverError> {
        const LEFT_OVER: Duration = Duration::from_secs(2);
        let Heard {
            raw,
            command,
            rules,
            ..
        } = heard;
        let silence = rules.timing.silence.duration();
        let ending = ending(raw, self.prompt.as_deref(), rules);
        let is_answered = || is_echoed(raw, command) || self.says_something(raw, command, rules);
        if ending == Ending::Prompt && is_answered() {
            return Ok(None);
        }
        let has_prompt = matches!(ending, Ending::Prompt | Ending::MaybePrompt);
        let patience = if has_prompt {
            LEFT_OVER.min(silence)
        } else {
            silence
        };
        match timeout(patience, channel.wait()).await {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(self.cut_off(command, raw)),
            Err(_) if has_prompt => Ok(None),
            Err(_) => Err(self.timed_out(command, silence)),
        }
    }

    /// Whether an answer holds anything besides the echo of the command.
    fn says_something(&self, raw: &[u8], command: &str, rules: &CliRules) -> bool {
        clean_with(raw, command, self.prompt.as_deref(), rules)
            .lines
            .iter()
            .any(|line| !line.trim().is_empty())
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

/// Whether the device has repeated the command.
fn is_echoed(raw: &[u8], command: &str) -> bool {
    !command.is_empty()
        && raw
            .windows(command.len())
            .any(|part| part.eq_ignore_ascii_case(command.as_bytes()))
}

/// What has come for one command so far.
struct Heard<'a> {
    raw: Vec<u8>,
    command: &'a str,
    rules: &'a CliRules,
    /// Bytes that came before the last key that was sent, and how many were.
    seen: usize,
    keys: u32,
}

impl<'a> Heard<'a> {
    const fn new(command: &'a str, rules: &'a CliRules) -> Self {
        Self {
            raw: Vec::new(),
            command,
            rules,
            seen: 0,
            keys: 0,
        }
    }

    /// Takes more, up to the profile's limit.
    fn take(&mut self, data: &[u8]) -> Result<(), DriverError> {
        self.raw.extend_from_slice(data);
        let output = self.rules.limits.output;
        if self.raw.len() <= usize::try_from(output.0).unwrap_or(usize::MAX) {
            return Ok(());
        }
        Err(self.garbled(format!("longer than {output} bytes")))
    }

    /// Whether a pager waits for a key; says so once for each of its questions.
    fn wants_a_key(&mut self) -> Result<bool, DriverError> {
        /// Pages of one answer: a row each, of the largest chassis.
        const MOST_KEYS: u32 = 256;
        let fresh = self.raw.get(self.seen..).unwrap_or_default();
        if ending(fresh, None, self.rules) != Ending::Pager {
            return Ok(false);
        }
        if self.keys >= MOST_KEYS {
            return Err(self.garbled(format!("it asks for a key {MOST_KEYS} times")));
        }
        self.seen = self.raw.len();
        self.keys += 1;
        Ok(true)
    }

    fn garbled(&self, problem: String) -> DriverError {
        let beginning = self.raw.get(..400).unwrap_or(&self.raw);
        DriverError::Garbled {
            command: self.command.to_owned(),
            problem,
            excerpt: excerpt(&String::from_utf8_lossy(beginning)),
        }
    }
}
