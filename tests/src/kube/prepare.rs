//! From running programs to a cluster that nodes can join, by the phases of
//! `kubeadm init` that have to do with joining.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Options, config, kubectl};
use crate::lab::process::output;
use crate::lab::{LabError, Process};
use crate::wait::until;

/// On two busy cores the API server has been seen to take 20 s.
const API_SERVER_PATIENCE: Duration = Duration::from_secs(90);
/// The signer looks at the cluster's information when it starts, and again when
/// something changed.
const SIGNER_PATIENCE: Duration = Duration::from_secs(60);

/// Makes every certificate and kubeconfig.
pub(super) fn certificates(options: &Options) -> Result<(), LabError> {
    let token = kubeadm(options, &["token", "generate"])?;
    let version = kubeadm(options, &["version", "--output", "short"])?;
    for (file, with_certificates) in [(local(options), true), (uploaded(options), false)] {
        let text = config::kubeadm(options, version.trim(), token.trim(), with_certificates);
        fs::write(&file, text).map_err(LabError::file("writing", &file))?;
    }
    phase(options, local(options), &["certs", "all"], &[])?;
    let folder = options.folder.display().to_string();
    for user in ["super-admin", "controller-manager"] {
        phase(
            options,
            local(options),
            &["kubeconfig", user],
            &["--kubeconfig-dir", &folder],
        )?;
    }
    Ok(())
}

/// Waits until the API server takes requests.
pub(super) fn wait_for_api_server(
    options: &Options,
    api_server: &mut Process,
) -> Result<(), LabError> {
    wait(
        api_server,
        "the API server becoming ready",
        API_SERVER_PATIENCE,
        || {
            kubectl(
                options,
                &["get", "--raw", "/readyz", "--request-timeout", "5s"],
            )
            .map(drop)
        },
    )
}

/// Puts what `kubeadm join` reads into the cluster: its own configuration and
/// the kubelet's, each with the rights to read it.
pub(super) fn upload_configuration(options: &Options) -> Result<(), LabError> {
    phase(options, uploaded(options), &["upload-config", "all"], &[]).map(drop)
}

/// Gives bootstrap tokens their rights and publishes the cluster's information,
/// then waits until the signer signs it: from then on any new token works. The
/// token all this was tried with is removed.
pub(super) fn allow_joins(options: &Options, signer: &mut Process) -> Result<(), LabError> {
    phase(
        options,
        uploaded(options),
        &["bootstrap-token"],
        &["--skip-token-print"],
    )?;
    wait(
        signer,
        "the signing of cluster-info",
        SIGNER_PATIENCE,
        || {
            let signed = kubectl(
                options,
                &[
                    "--namespace",
                    "kube-public",
                    "get",
                    "configmap",
                    "cluster-info",
                    "--output",
                    "json",
                ],
            )?;
            match signed.contains("\"jws-kubeconfig-") {
                true => Ok(()),
                false => Err(LabError::Other(
                    "there is no jws-kubeconfig-* in it yet".into(),
                )),
            }
        },
    )?;
    let tokens = "--field-selector=type=bootstrap.kubernetes.io/token";
    kubectl(
        options,
        &["--namespace", "kube-system", "delete", "secrets", tokens],
    )
    .map(drop)
}

/// Tries until it works, the process ends or time is up.
fn wait(
    process: &mut Process,
    what: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), LabError>,
) -> Result<(), LabError> {
    let mut last = String::new();
    let outcome = until(patience, || {
        if let Err(ended) = process.check() {
            return Some(Err(ended));
        }
        match attempt() {
            Ok(()) => Some(Ok(())),
            Err(error) => {
                last = error.chain();
                None
            }
        }
    });
    outcome.unwrap_or_else(|| {
        let detail = format!(": {last}\nits log ends:\n{}", process.log_tail(20));
        Err(LabError::Late {
            what: what.into(),
            seconds: patience.as_secs(),
            detail,
        })
    })
}

fn local(options: &Options) -> PathBuf {
    options.folder.join("kubeadm-local.yaml")
}

fn uploaded(options: &Options) -> PathBuf {
    options.folder.join("kubeadm.yaml")
}

fn phase(
    options: &Options,
    config: PathBuf,
    name: &[&str],
    flags: &[&str],
) -> Result<String, LabError> {
    let mut command = options.command("kubeadm");
    command
        .args(["init", "phase"])
        .args(name)
        .arg("--config")
        .arg(config)
        .args(flags);
    if !matches!(name, ["certs" | "kubeconfig", ..]) {
        command.arg("--kubeconfig").arg(options.kubeconfig());
    }
    output(command)
}

fn kubeadm(options: &Options, arguments: &[&str]) -> Result<String, LabError> {
    let mut command = options.command("kubeadm");
    command.args(arguments);
    output(command)
}
