//! The command lines of Moonfarm's programs in a farm.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::{CHASSIS, Layout, NAMESPACE};
use crate::lab::ProcessSpec;

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
    /// Kubeconfig of the API server that is the store, if one is.
    store: Option<PathBuf>,
}

/// Where a boot-server runs, and what is its own there.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Name of the server, for people and for the other server.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its state folder.
    pub state: PathBuf,
}

impl Programs {
    pub(super) fn new(
        folder: &Path,
        namespace: &str,
        layout: &Layout,
        store: Option<PathBuf>,
    ) -> Self {
        Self {
            folder: folder.into(),
            namespace: namespace.into(),
            layout: layout.clone(),
            store,
        }
    }

    /// A Moonfarm program that runs to its end in a namespace.
    fn command(&self, program: &str, namespace: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace])
            .arg(self.folder.join(program));
        command
    }

    /// Where the resources are: a folder, or a namespace of the API server.
    fn resources(&self) -> Vec<PathBuf> {
        match &self.store {
            None => vec!["--manifests".into(), self.layout.manifests()],
            Some(kubeconfig) => vec![
                "--kubernetes".into(),
                "--kubeconfig".into(),
                kubeconfig.clone(),
                "--namespace".into(),
                NAMESPACE.into(),
            ],
        }
    }

    pub(super) fn boot_server(&self, host: &Host) -> ProcessSpec {
        let program = self.folder.join("boot-server");
        let spec = ProcessSpec::new(&host.name, program, self.layout.folder())
            .within(&host.namespace)
            .args(["serve"])
            .args(self.resources())
            .args(["--state".into(), host.state.clone()]);
        match &self.store {
            None => spec,
            Some(_) => spec.args(["--server-name", &host.name]),
        }
    }

    pub(super) fn chassis_agent(&self) -> ProcessSpec {
        let program = self.folder.join("chassis-agent");
        let spec = ProcessSpec::new("chassis-agent", program, self.layout.folder())
            .within(&self.namespace)
            .args(["run"])
            .args(self.resources())
            .args(["--state".into(), self.layout.agent_state()]);
        match &self.store {
            None => spec
                .args(["--boot-server", MANAGEMENT, "--token-file"])
                .args([self.layout.token()]),
            Some(_) => spec,
        }
    }

    /// `boot-server get …` of the server on a host.
    pub(super) fn get(&self, host: &Host, arguments: &[&str]) -> Command {
        let mut command = self.boot_server_command(host, &[&["get"], arguments].concat());
        command.args(["--server", MANAGEMENT]);
        command
    }

    /// `boot-server …` with the state of the server on a host.
    pub(super) fn boot_server_command(&self, host: &Host, arguments: &[&str]) -> Command {
        let mut command = self.command("boot-server", &host.namespace);
        command.args(arguments).arg("--state").arg(&host.state);
        command
    }

    /// `chassis-agent …` against the virtual chassis.
    pub(super) fn chassis_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("chassis-agent", &self.namespace);
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

    /// Puts the image into the store of the boot-server on a host.
    pub(super) fn add_image(&self, host: &Host, image: &Path) -> Command {
        let mut command = self.command("boot-server", &host.namespace);
        command
            .args(["image", "add"])
            .arg(image)
            .arg("--state")
            .arg(&host.state);
        command
    }

    /// Has boot-server read the manifests.
    pub(super) fn check_manifests(&self) -> Command {
        let mut command = self.command("boot-server", &self.namespace);
        command
            .arg("check")
            .arg("--manifests")
            .arg(self.layout.manifests());
        command
    }
}
