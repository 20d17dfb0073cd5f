//! A cluster as one of its kubeconfigs reaches it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab::LabError;
use crate::lab::process::output;

/// A kubeconfig, and from where it is used.
#[derive(Clone, Debug)]
pub struct Access {
    /// Network namespace to use it in.
    pub network: String,
    /// The kubectl program.
    pub program: PathBuf,
    /// The kubeconfig.
    pub kubeconfig: PathBuf,
    /// `HOST:PORT` of the API server.
    pub endpoint: String,
    /// The file with the cluster's CA.
    pub authority: PathBuf,
}

impl Access {
    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When it fails, as where the user may not.
    pub fn run(&self, arguments: &[&str]) -> Result<String, LabError> {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.network])
            .arg(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::null());
        output(command)
    }
}
