//! A program run by a lab: in its namespace, with its output in a file, gone
//! when the lab is gone.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::console::last_lines;
use super::{LabError, spawner};
use crate::wait::{Deadline, PAUSE};

/// What to run.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Name for people and for the log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Namespace to run it in; without one it stays in ours.
    pub namespace: Option<String>,
    /// File its output is appended to.
    pub log: PathBuf,
}

impl ProcessSpec {
    /// A program that logs to `NAME.log` in `folder`.
    #[must_use]
    pub fn new(name: &str, program: impl Into<PathBuf>, folder: &Path) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            namespace: None,
            log: folder.join(format!("{name}.log")),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it in a namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(self) -> Result<Process, LabError> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open().map_err(LabError::file("opening", &self.log))?;
        let errors = log
            .try_clone()
            .map_err(LabError::file("opening", &self.log))?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = spawner::spawn(command).map_err(|source| LabError::Start {
            command: self.program.display().to_string(),
            source,
        })?;
        tracing::debug!(name = self.name, pid = child.id(), "started");
        Ok(Process { child, spec: self })
    }

    /// The command line: setpriv has the kernel kill the program with us, ip
    /// moves it into the namespace; both then become the program itself.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(namespace) = &self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.arg(&self.program).args(&self.arguments);
        // Ctrl-C at a terminal goes to its whole process group; what a lab's
        // programs are told, and in which order, is the lab's to say.
        command.process_group(0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    spec: ProcessSpec,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was run.
    #[must_use]
    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last `count` lines of its log.
    #[must_use]
    pub fn log_tail(&self, count: usize) -> String {
        last_lines(&self.spec.log, count)
    }

    /// An error if it ended by itself.
    ///
    /// # Errors
    /// When it is not running any more.
    pub fn check(&mut self) -> Result<(), LabError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(LabError::Ended {
                name: self.spec.name.clone(),
                status: status.to_string(),
                log: self.log_tail(20),
            }),
        }
    }

    /// Kills it with `-9` and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, waits, and kills it if it does not. Returns its status.
    pub fn stop(&mut self, patience: Duration) -> ExitStatus {
        if let Some(pid) = i32::try_from(self.pid()).ok().map(Pid::from_raw)
            && self.ended().is_none()
        {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let deadline = Deadline::after(patience);
        while !deadline.has_passed() {
            if let Some(status) = self.ended() {
                return status;
            }
            std::thread::sleep(PAUSE);
        }
        tracing::warn!(name = self.spec.name, "did not end when asked; killed");
        self.kill();
        self.ended().unwrap_or_else(|| ExitStatus::from_raw(9))
    }

    /// Kills it if it runs, and starts it again with the same command line. The
    /// log goes on in the same file, after a line that says so.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<(), LabError> {
        self.kill();
        if let Ok(mut log) = OpenOptions::new().append(true).open(&self.spec.log) {
            let _ = writeln!(log, "---- started again ----");
        }
        *self = self.spec.clone().spawn()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a short tool to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run<A: AsRef<std::ffi::OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, LabError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    output(command)
}

/// Runs a prepared command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn output(mut command: Command) -> Result<String, LabError> {
    let shown = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let line = shown();
    let output = command.output().map_err(|source| LabError::Start {
        command: line.clone(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let start = stderr
        .char_indices()
        .rev()
        .nth(1999)
        .map_or(0, |(at, _)| at);
    Err(LabError::Failed {
        command: line,
        status: output.status.to_string(),
        stderr: stderr[start..].trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Process {
        ProcessSpec::new("shell", "sh", folder)
            .args(["-c", script])
            .spawn()
            .expect("spawned")
    }

    #[test]
    fn a_process_is_stopped_killed_and_restarted() {
        let folder = tempfile::tempdir().expect("folder");
        let mut obedient = shell(folder.path(), "echo up; exec sleep 60");
        assert!(obedient.check().is_ok());
        assert_eq!(obedient.stop(Duration::from_secs(10)).signal(), Some(15));
        obedient.restart().expect("restarted");
        assert!(obedient.ended().is_none());
        obedient.kill();
        assert_eq!(obedient.ended().and_then(|status| status.signal()), Some(9));
        assert!(obedient.log_tail(9).contains("started again"));
    }

    #[test]
    fn what_ended_by_itself_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("folder");
        let mut broken = shell(folder.path(), "echo no such bridge >&2; exit 3");
        let _ = broken.child.wait();
        let error = broken.check().expect_err("it ended").to_string();
        assert!(
            error.contains("no such bridge") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn a_failing_tool_is_named_with_what_it_said() {
        let error = run("sh", ["-c", "echo bad luck >&2; exit 4"])
            .expect_err("fails")
            .to_string();
        assert!(
            error.contains("bad luck") && error.contains("sh -c"),
            "{error}"
        );
        assert!(run("no-such-tool-here", [""]).is_err());
    }
}
