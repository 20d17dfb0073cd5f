//! The command lines of Moonfarm's programs in a farm, and their first answers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::layout::{CHASSIS, Layout};
use crate::lab::process::output;
use crate::lab::{LabError, Process, ProcessSpec};
use crate::wait::until;

/// The management API, which boot-server serves on the loopback by itself.
const MANAGEMENT: &str = "http://127.0.0.1:8443";
/// User of the chassis manager.
pub(super) const USER: &str = "Administrator";

/// The programs, and where they run.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    namespace: String,
    layout: Layout,
}

impl Programs {
    pub(super) fn new(folder: &Path, namespace: &str, layout: &Layout) -> Self {
        Self {
            folder: folder.into(),
            namespace: namespace.into(),
            layout: layout.clone(),
        }
    }

    /// A Moonfarm program that runs to its end, inside.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(self.folder.join(program));
        command
    }

    /// A Moonfarm program that stays, inside.
    fn process(&self, program: &str) -> ProcessSpec {
        ProcessSpec::new(program, self.folder.join(program), self.layout.folder())
            .within(&self.namespace)
    }

    pub(super) fn boot_server(&self) -> ProcessSpec {
        self.process("boot-server")
            .args(["serve"])
            .args(["--manifests".into(), self.layout.manifests()])
            .args(["--state".into(), self.layout.state()])
    }

    pub(super) fn chassis_agent(&self) -> ProcessSpec {
        self.process("chassis-agent")
            .args(["run", "--boot-server", MANAGEMENT])
            .args(["--manifests".into(), self.layout.manifests()])
            .args(["--state".into(), self.layout.agent_state()])
            .args(["--token-file".into(), self.layout.token()])
    }

    /// `boot-server get …`.
    pub(super) fn get(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("boot-server");
        command
            .arg("get")
            .args(arguments)
            .args(["--server", MANAGEMENT, "--state"]);
        command.arg(self.layout.state());
        command
    }

    /// `chassis-agent …` against the virtual chassis.
    pub(super) fn chassis_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("chassis-agent");
        command.args(arguments).args([
            "--address",
            &CHASSIS.to_string(),
            "--profile",
            "auto",
            "--user",
            USER,
        ]);
        command
            .arg("--password-file")
            .arg(self.layout.password())
            .arg("--insecure");
        command
    }

    /// Puts the image into boot-server's store.
    pub(super) fn add_image(&self, image: &Path) -> Result<(), LabError> {
        let mut command = self.command("boot-server");
        command
            .args(["image", "add"])
            .arg(image)
            .arg("--state")
            .arg(self.layout.state());
        output(command).map(drop)
    }

    /// Has boot-server read the manifests.
    pub(super) fn check_manifests(&self) -> Result<(), LabError> {
        let mut command = self.command("boot-server");
        command
            .arg("check")
            .arg("--manifests")
            .arg(self.layout.manifests());
        output(command).map(drop)
    }

    /// Waits for the first answer of boot-server's management API.
    pub(super) fn wait_for_boot_server(
        &self,
        process: &mut Process,
        patience: Duration,
    ) -> Result<(), LabError> {
        let mut last = String::new();
        let answered = until(patience, || {
            if let Err(ended) = process.check() {
                return Some(Err(ended));
            }
            output(self.get(&["machines", "-o", "json"]))
                .map_err(|error| last = error.chain())
                .ok()
                .map(|_| Ok(()))
        });
        answered.unwrap_or_else(|| {
            Err(LabError::Late {
                what: "an answer of boot-server's management API".into(),
                seconds: patience.as_secs(),
                detail: format!("; last: {last}; its log ends:\n{}", process.log_tail(20)),
            })
        })
    }
}
