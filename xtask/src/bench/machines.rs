//! `cargo xtask bench machines`: boot-server with thousands of Machines in a real
//! API server. The measuring is a program of the tests crate, which has the
//! control plane.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::programs::build_release;
use crate::{farm, kube_binaries, packages};

/// Measures boot-server with many Machines in an API server
///
/// Seconds from its start to its first answer, until the status of each Machine is
/// written, and to the first answer of a later start; memory and requests to the
/// API server at rest, the latter beyond those that it has by itself.
#[derive(Args)]
pub struct MachinesOptions {
    /// How many Machines, one measurement for each number
    #[arg(long, value_delimiter = ',', default_values_t = [5000])]
    machines: Vec<usize>,
    /// Seconds that it is watched at rest
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When we are not root, a program does not build, or a measurement fails.
pub fn run(options: &MachinesOptions) -> Result<()> {
    if !packages::is_root()? {
        bail!("this bench makes network namespaces: run it as root");
    }
    packages::need(farm::PACKAGES)?;
    packages::need(farm::PEERS)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let measuring = farm::build_programs()?.join("many-machines");
    let numbers: Vec<String> = options.machines.iter().map(ToString::to_string).collect();
    let mut command = Command::new(measuring);
    command.args(["--machines", &numbers.join(",")]);
    command.args(["--rest", &options.rest.to_string(), "--programs"]);
    command.arg(programs).arg("--kube");
    command.arg(kube_binaries::provide()?.folder);
    let status = command.status().context("starting many-machines")?;
    if !status.success() {
        bail!("many-machines ended with {status}");
    }
    Ok(())
}
