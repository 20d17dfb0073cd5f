//! A real Kubernetes control plane in a network namespace: etcd, API server and
//! controller manager as child processes, the cluster prepared by kubeadm's own
//! phases, so that a stock `kubeadm join` with a token and a CA hash works.

mod access;
mod ca;
mod components;
mod config;
mod prepare;

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::lab::process::output;
use crate::lab::{LabError, Process, ProcessSpec};

pub use access::Access;

/// Where and how to run a control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder with etcd, kube-apiserver, kube-controller-manager, kubeadm,
    /// kubectl.
    pub programs: PathBuf,
    /// Network namespace to run in; it exists.
    pub namespace: String,
    /// Folder for certificates, logs and etcd's data; made if it is not there.
    /// One control plane at a time.
    pub folder: PathBuf,
    /// Address inside the namespace that nodes reach the API server at.
    pub address: Ipv4Addr,
    /// TCP port of the API server there; 6443 by custom.
    pub port: u16,
    /// How long a node may be silent until it counts as NotReady; without it
    /// the release's own default.
    pub node_grace: Option<Duration>,
}

impl Options {
    /// A control plane on the usual port.
    #[must_use]
    pub fn new(programs: &Path, namespace: &str, folder: &Path, address: Ipv4Addr) -> Self {
        Self {
            programs: programs.into(),
            namespace: namespace.into(),
            folder: folder.into(),
            address,
            port: 6443,
            node_grace: None,
        }
    }

    /// `ADDRESS:PORT`, as `kubeadm join` takes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    fn pki(&self, name: &str) -> PathBuf {
        self.folder.join("pki").join(name)
    }

    /// The administrator's kubeconfig. Not kubeadm's `admin.conf`: that user's
    /// rights are a role binding, which only `kubeadm init` as a whole makes.
    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("super-admin.conf")
    }

    /// A program of Kubernetes that runs in the namespace, reading nothing of
    /// the user's own settings.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(self.programs.join(program));
        command
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        command
    }
}

/// A running control plane. Dropping it kills its processes at once: asked
/// politely, the API server takes up to a minute.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    ca_hash: String,
    // Dropped in this order, so that none complains about the next one's end.
    controller_manager: Process,
    api_server: Process,
    etcd: Process,
}

impl ControlPlane {
    /// Starts the programs and prepares the cluster; `progress` is told each
    /// step as it begins. Takes 5 s on two idle cores, 25 s on busy ones.
    ///
    /// # Errors
    /// When a program is missing, ends by itself or does not become ready.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, LabError> {
        check_programs(&options.programs)?;
        fs::create_dir_all(&options.folder).map_err(LabError::file("creating", &options.folder))?;
        progress("certificates");
        let etcd = components::etcd(options).spawn()?;
        prepare::certificates(options)?;
        let ca_hash = ca::hash(&options.pki("ca.crt"))?;
        progress("API server");
        let mut api_server = components::api_server(options).spawn()?;
        prepare::wait_for_api_server(options, &mut api_server)?;
        progress("controller manager");
        let controller_manager = components::controller_manager(options).spawn()?;
        let mut plane = Self {
            options: options.clone(),
            ca_hash,
            controller_manager,
            api_server,
            etcd,
        };
        progress("cluster configuration");
        prepare::upload_configuration(&plane.options)?;
        progress("signed cluster information");
        prepare::allow_joins(&plane.options, &mut plane.controller_manager)?;
        progress("ready");
        Ok(plane)
    }

    /// The administrator's kubeconfig. Its server is reachable from inside the
    /// namespace.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.options.kubeconfig()
    }

    /// `ADDRESS:PORT` of the API server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.options.endpoint()
    }

    /// The pin of the cluster's CA, as `kubeadm join
    /// --discovery-token-ca-cert-hash` takes it.
    #[must_use]
    pub fn ca_hash(&self) -> &str {
        &self.ca_hash
    }

    /// The folder with certificates, kubeconfigs and `*.log`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Runs kubectl as administrator; its exit status is the caller's to judge.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output, LabError> {
        let mut command = self.options.command("kubectl");
        command.args(arguments);
        command.output().map_err(|source| LabError::Start {
            command: format!("kubectl {}", arguments.join(" ")),
            source,
        })
    }

    /// Runs kubectl as administrator and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<String, LabError> {
        kubectl(&self.options, arguments)
    }

    /// Starts kubectl as administrator, for what goes on until the process is
    /// dropped; what it prints goes to `NAME.log` in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_process(
        &self,
        name: &str,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<Process, LabError> {
        let program = self.options.programs.join("kubectl");
        ProcessSpec::new(name, program, folder)
            .within(&self.options.namespace)
            .env("HOME", &self.options.folder)
            .env("KUBECONFIG", self.kubeconfig())
            .args(arguments)
            .spawn()
    }

    /// Whether the Node of this name is Ready.
    #[must_use]
    pub fn is_node_ready(&self, name: &str) -> bool {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let answer = self.kubectl_output(&["get", "node", name, "--output", path]);
        answer.is_ok_and(|text| text.trim() == "True")
    }

    /// Mints a bootstrap token that lives for `lifetime`, as an operator would.
    ///
    /// # Errors
    /// When kubeadm fails.
    pub fn create_token(&self, lifetime: Duration) -> Result<String, LabError> {
        let lifetime = format!("{}s", lifetime.as_secs());
        let mut command = self.options.command("kubeadm");
        command
            .args(["token", "create", "--ttl", &lifetime, "--kubeconfig"])
            .arg(self.kubeconfig());
        Ok(output(command)?.trim().to_owned())
    }

    /// Stops the API server where it stands, or lets it go on: it neither answers
    /// nor refuses meanwhile.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn freeze(&self, is_frozen: bool) -> Result<(), LabError> {
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        let pid = self.api_server.pid().to_string();
        crate::lab::process::run("kill", [signal, &pid]).map(drop)
    }

    /// Reports a program of the control plane that ended by itself.
    ///
    /// # Errors
    /// When one did.
    pub fn check(&mut self) -> Result<(), LabError> {
        for process in [
            &mut self.etcd,
            &mut self.api_server,
            &mut self.controller_manager,
        ] {
            process.check()?;
        }
        Ok(())
    }
}

fn kubectl(options: &Options, arguments: &[&str]) -> Result<String, LabError> {
    let mut command = options.command("kubectl");
    command.args(arguments.iter().map(OsStr::new));
    output(command)
}

fn check_programs(folder: &Path) -> Result<(), LabError> {
    for program in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kubeadm",
        "kubectl",
    ] {
        if !folder.join(program).is_file() {
            return Err(LabError::Missing {
                what: folder.join(program).display().to_string(),
                remedy: "`cargo xtask kube` makes the programs and prints their folder".into(),
            });
        }
    }
    Ok(())
}
