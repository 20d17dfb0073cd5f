//! `node-agent join`: makes the booted machine a node of its cluster, and keeps
//! at it until it is one.
//!
//! [`attempt`] decides, [`host`] talks: to the container runtime, to boot-server,
//! to kubeadm (`kubeadm_run.rs`) and to the kubelet.

pub mod attempt;
pub mod host;
pub mod kubeadm;
mod kubeadm_run;
pub mod labels;
pub mod outcome;

use std::fs;
use std::io;
use std::path::PathBuf;

use boot_proto::boot_config::BootConfig;

use self::host::RealHost;
use crate::clock::SystemClock;
use crate::log::Log;
use crate::paths::Paths;
use crate::trust;

/// Why there was no attempt to join, or no use in another.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The boot config is not there or cannot be read.
    #[error("reading the boot config {}", path.display())]
    BootConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The CA of boot-server cannot be used.
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
    /// The container runtime did not start.
    #[error("no container runtime answers within {secs} s; see `journalctl -u containerd`")]
    NoRuntime {
        /// Seconds waited.
        secs: u64,
    },
}

/// Joins the cluster of the boot config that the initramfs left behind.
///
/// # Errors
/// See [`JoinError`]. What can get better by itself is waited for.
pub fn run() -> Result<(), JoinError> {
    let log = Log::to_stderr();
    let paths = Paths::default();
    let path = paths.boot_config();
    let config = read_config(&path).map_err(|source| JoinError::BootConfig { path, source })?;
    let ca = trust::read_ca(&paths.run(trust::CA_FOR_JOIN))?;
    let mut host = RealHost::new(&config, ca.as_ref(), &paths, log.clone());
    attempt::join(&config, &mut host, &SystemClock, &log)
}

fn read_config(path: &std::path::Path) -> io::Result<BootConfig> {
    let text = fs::read(path)?;
    Ok(serde_json::from_slice(&text)?)
}
