//! The part of a kubelet that a chart's pods need: containers run as processes of
//! a network namespace, each in a root folder with its pod's volumes, under the
//! pod's user and capabilities, with the command line and the environment that the
//! API server has.
//!
//! The images themselves are not there: programs come from folders, and `sh` and
//! its companions from this machine.

mod confinement;
mod root;
mod template;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::kube::{Access, ControlPlane};
use crate::lab::{LabError, Process, ProcessSpec};
use crate::wait::until;
use root::Root;
use template::Template;

/// A cluster whose pods are run.
pub trait Cluster: std::fmt::Debug {
    /// Runs kubectl as administrator and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError>;
    /// `HOST:PORT` of its API server.
    fn endpoint(&self) -> String;
    /// The file with its CA.
    fn authority(&self) -> PathBuf;
}

impl Cluster for ControlPlane {
    fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        self.kubectl_output(arguments)
    }

    fn endpoint(&self) -> String {
        self.endpoint()
    }

    fn authority(&self) -> PathBuf {
        self.folder().join("pki/ca.crt")
    }
}

impl Cluster for Access {
    fn kubectl(&self, arguments: &[&str]) -> Result<String, LabError> {
        self.run(arguments)
    }

    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn authority(&self) -> PathBuf {
        self.authority.clone()
    }
}

/// Where pods run.
#[derive(Debug)]
pub struct Pods<'a> {
    /// The cluster that has them.
    pub cluster: &'a dyn Cluster,
    /// Kubernetes namespace of the pods.
    pub namespace: String,
    /// Network namespace to run them in.
    pub network: String,
    /// Folder for roots, volumes and logs.
    pub folder: PathBuf,
    /// Folders with programs, the first one's winning.
    pub programs: Vec<PathBuf>,
    /// Lines of /etc/hosts: what the cluster's DNS would answer.
    pub hosts: String,
}

impl Pods<'_> {
    /// Starts a container of a workload, such as `statefulset/c1-etcd`, as the pod
    /// of that name. Containers of a pod share its volumes.
    ///
    /// # Errors
    /// When the workload, the container or a volume's source is not there.
    pub fn start(&self, workload: &str, container: &str, pod: &str) -> Result<Process, LabError> {
        let template = Template::of(&self.get(workload)?)?;
        let container = template.container(container)?;
        let root = Root::prepare(self, &template, container, pod)?;
        let name = format!("{pod}-{}", text(container, "name"));
        let words = template::words(container, pod, &self.namespace);
        ProcessSpec::new(&name, "unshare", &self.folder)
            .within(&self.network)
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .args([root.script(&words)])
            .spawn()
    }

    /// Writes the volumes of a pod that runs anew from what the cluster has now, as
    /// a kubelet does it from time to time.
    ///
    /// # Errors
    /// When a volume's source is not there.
    pub fn refresh(&self, workload: &str, container: &str, pod: &str) -> Result<(), LabError> {
        let template = Template::of(&self.get(workload)?)?;
        let container = template.container(container)?;
        Root::prepare(self, &template, container, pod).map(drop)
    }

    /// Runs a container to its end, as of a job; returns what it wrote.
    ///
    /// # Errors
    /// When it cannot be started, fails, or is not done in time.
    pub fn run(&self, workload: &str, container: &str, pod: &str) -> Result<String, LabError> {
        const PATIENCE: Duration = Duration::from_secs(240);
        let mut process = self.start(workload, container, pod)?;
        let Some(status) = until(PATIENCE, || process.ended()) else {
            let (what, detail) = (workload.to_owned(), process.log_tail(30));
            return Err(LabError::Late {
                what,
                seconds: PATIENCE.as_secs(),
                detail,
            });
        };
        let log = &process.spec().log;
        let written = fs::read_to_string(log).map_err(LabError::file("reading", log))?;
        if status.success() {
            return Ok(written);
        }
        Err(LabError::Other(format!(
            "{workload} ended with {status}:\n{}",
            process.log_tail(30)
        )))
    }

    /// The folder of a persistent volume claim.
    #[must_use]
    pub fn claim(&self, name: &str) -> PathBuf {
        self.folder.join("claims").join(name)
    }

    fn get(&self, object: &str) -> Result<Value, LabError> {
        let text = self.cluster.kubectl(&[
            "--namespace",
            &self.namespace,
            "get",
            object,
            "--output",
            "json",
        ])?;
        serde_json::from_str(&text).map_err(|error| LabError::Other(format!("{object}: {error}")))
    }

    /// A token of a service account, for an audience or for the API server.
    fn token(&self, account: &str, audience: Option<&str>) -> Result<String, LabError> {
        let mut arguments = vec!["--namespace", &self.namespace, "create", "token", account];
        if let Some(audience) = audience {
            arguments.extend(["--audience", audience]);
        }
        Ok(self.cluster.kubectl(&arguments)?.trim().to_owned())
    }
}

/// The text under a key; empty where there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The items under a key; none where there is no list.
fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
