//! A scanner that others wrote, over the same devices: `rf_sys_inventory` of
//! DMTF's Redfish-Tacklebox (`redfish_utilities` on PyPI). It takes one device a
//! call, so a call for each device is made, all at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::round::{Fleet, next, start_devices};
use crate::bench::usage::cpu_secs_of_children;
use crate::cache;
use crate::packages::{Package, need};
use crate::run::run;

/// The release that is measured.
const VERSION: &str = "3.5.2";

const PACKAGES: &[Package] = &[Package {
    name: "python3-venv",
    program: "python3",
}];

/// What it took.
pub struct PeerRound {
    /// Devices, and calls at a time.
    pub devices: u32,
    /// From the first call to the end of the last.
    pub secs: f64,
    /// Processor time of all calls, in seconds.
    pub cpu_secs: f64,
}

/// Installs it, once, into a folder of its own.
fn provide() -> Result<PathBuf> {
    need(PACKAGES)?;
    let folder = cache::folder()?.join(format!("redfish-utilities-{VERSION}"));
    // A virtual environment names its own folder in its scripts, so it is made
    // where it stays and a file tells that it is whole.
    let _lock = cache::lock(&folder)?;
    let whole = folder.join("whole");
    if !whole.exists() {
        cache::remove_tree(&folder)?;
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("redfish_utilities=={VERSION}")))?;
        fs::write(&whole, "")?;
    }
    Ok(folder.join("bin/rf_sys_inventory.py"))
}

/// Scans the devices of a fleet.
///
/// # Errors
/// When it cannot be installed, or a call fails.
pub fn measure(fleet: &Fleet) -> Result<PeerRound> {
    let program = provide().context("installing redfish_utilities")?;
    let folder = tempfile::tempdir()?;
    let (_devices, mut events) = start_devices(fleet, folder.path())?;
    next(&mut events, "ready")?;
    let urls = urls(&folder.path().join("manifests"))?;
    let before = cpu_secs_of_children()?;
    let begun = Instant::now();
    let mut calls = Vec::new();
    for url in &urls {
        let call = Command::new(&program)
            .args(["--user", "admin", "--password", "secret", "--rhost", url])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        calls.push(call);
    }
    let mut failed = 0;
    for mut call in calls {
        failed += u32::from(!call.wait()?.success());
    }
    let secs = begun.elapsed().as_secs_f64();
    if failed > 0 {
        bail!(
            "{failed} of {} calls of rf_sys_inventory failed",
            urls.len()
        );
    }
    Ok(PeerRound {
        devices: fleet.bmcs,
        secs,
        cpu_secs: cpu_secs_of_children()? - before,
    })
}

/// The addresses in the manifests that the devices wrote.
fn urls(manifests: &Path) -> Result<Vec<String>> {
    let mut urls = Vec::new();
    for entry in fs::read_dir(manifests)? {
        let text = fs::read_to_string(entry?.path())?;
        let found = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("address: "))
            .map(str::to_owned);
        urls.extend(found);
    }
    Ok(urls)
}
