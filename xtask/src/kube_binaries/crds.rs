//! Others' CustomResourceDefinitions that the charts have objects of, out of the Go
//! modules that publish them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cache;
use crate::run::{output, say};

/// Folder with go.mod, in the checkout.
pub const MODULE: &str = "deploy/helm/crds";

/// A module, and the files that are wanted of it.
const FILES: [(&str, &str); 3] = [
    (
        "github.com/cert-manager/cert-manager",
        "deploy/crds/cert-manager.io_certificates.yaml",
    ),
    (
        "github.com/cert-manager/cert-manager",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
];

/// What `go mod download -json` tells of a module.
#[derive(Deserialize)]
struct Downloaded {
    #[serde(rename = "Dir")]
    folder: PathBuf,
}

/// Copies them into `folder`.
///
/// # Errors
/// When a module cannot be fetched, or has no such file.
pub fn copy_into(folder: &Path) -> Result<()> {
    say("fetching others' CRDs from Go modules");
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (module, file) in FILES {
        let source = download(module)?.join(file);
        let name = source.file_name().unwrap_or_default();
        // A copy's permissions would be those of the module cache: read-only.
        let text = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        let target = folder.join(name);
        fs::write(&target, text).with_context(|| format!("writing {}", target.display()))?;
    }
    Ok(())
}

/// The folder that a module of go.mod was unpacked to, checked against go.sum.
fn download(module: &str) -> Result<PathBuf> {
    let mut command = Command::new("go");
    command
        .args(["mod", "download", "-json", module])
        .current_dir(cache::checkout().join(MODULE))
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .stderr(Stdio::inherit());
    let text = output(&mut command).with_context(|| format!("fetching {module}"))?;
    let told: Downloaded =
        serde_json::from_str(&text).with_context(|| format!("what go tells of {module}"))?;
    Ok(told.folder)
}
