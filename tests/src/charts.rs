//! The charts of the checkout, and Helm to install them.

use std::path::{Path, PathBuf};

use crate::kube::ControlPlane;
use crate::lab::{LabError, Namespace, process};

/// The root of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Helm against an API server.
#[derive(Debug)]
pub struct Helm<'a> {
    /// The program.
    pub program: PathBuf,
    /// The cluster that it installs into.
    pub plane: &'a ControlPlane,
    /// Where that is reached from.
    pub network: &'a Namespace,
}

impl Helm<'_> {
    /// Installs or upgrades a release, as an operator would; `set` are values, each
    /// `KEY=VALUE`.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn install(
        &self,
        release: &str,
        chart: &Path,
        namespace: &str,
        values: &Path,
        set: &[&str],
    ) -> Result<(), LabError> {
        let mut command = self.network.command(&self.program);
        command
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", self.plane.folder())
            .args(["upgrade", "--install", release])
            .arg(chart)
            .args(["--namespace", namespace, "--create-namespace", "--values"])
            .arg(values);
        for value in set {
            command.args(["--set", value]);
        }
        process::output(command).map(drop)
    }
}

/// Makes Moonfarm's kinds known.
///
/// # Panics
/// When the API server refuses them.
pub fn install_crds(plane: &ControlPlane) {
    install_kinds(plane, &checkout().join("deploy/crds"));
}

/// Makes the kinds known whose CRDs are in this folder.
///
/// # Panics
/// When the API server refuses them.
pub fn install_kinds(plane: &ControlPlane, folder: &Path) {
    let folder = folder.display().to_string();
    let established = ["wait", "--for=condition=Established", "--timeout=60s"];
    for arguments in [
        &["apply", "--server-side", "-f", &folder][..],
        &[&established[..], &["crd", "--all"]].concat(),
    ] {
        plane
            .kubectl_output(arguments)
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }
}
