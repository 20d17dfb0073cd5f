//! A farm's resources in the API server: the same manifests, applied as an
//! operator would, and the Secrets that they name.

use std::path::Path;

use super::layout::{Layout, NAMESPACE};
use super::manifests::{CHASSIS_LOGIN, CLUSTER_NAME};
use super::programs::USER;
use crate::charts::install_crds;
use crate::kube::ControlPlane;
use crate::lab::LabError;

/// Makes the kinds, the Secrets and what the folder of manifests says.
pub(super) fn apply(plane: &ControlPlane, layout: &Layout) -> Result<(), LabError> {
    install_crds(plane);
    plane.kubectl_output(&["create", "namespace", NAMESPACE])?;
    let login = [
        format!("--from-literal=username={USER}"),
        format!("--from-literal=password={}", super::layout::PASSWORD),
    ];
    secret(plane, CHASSIS_LOGIN, &login)?;
    let kubeconfig = format!("--from-file=kubeconfig={}", plane.kubeconfig().display());
    secret(plane, CLUSTER_NAME, &[kubeconfig])?;
    apply_folder(plane, &layout.manifests())
}

/// Applies a folder of manifests; a field that no type has is an error.
fn apply_folder(plane: &ControlPlane, folder: &Path) -> Result<(), LabError> {
    let folder = folder.display().to_string();
    let strictly = ["apply", "--server-side", "--validate=strict"];
    let what = ["--namespace", NAMESPACE, "--filename", &folder];
    plane
        .kubectl_output(&[&strictly[..], &what].concat())
        .map(drop)
}

fn secret(plane: &ControlPlane, name: &str, from: &[String]) -> Result<(), LabError> {
    let create = ["create", "secret", "generic", name];
    let mut words = [&create[..], &["--namespace", NAMESPACE]].concat();
    words.extend(from.iter().map(String::as_str));
    plane.kubectl_output(&words).map(drop)
}
