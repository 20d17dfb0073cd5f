//! The commands: one visit to a device each, and the agent.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use boot_proto::api::ObservedMachine;
use boot_proto::ids::SlotId;

use super::args::{BootOnceArgs, DeviceArgs, ObserveArgs, Output, PowerArgs, RunArgs};
use crate::agent;
use crate::config::{HostKeyPolicy, LoginFiles, Target};
use crate::drivers::{self, ChassisDriver, Scope};
use crate::orders::{self, Outcome};
use crate::profiles::Profiles;

pub(super) async fn observe(
    args: &ObserveArgs,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut driver = open(&args.device).await?;
    let machines = driver.observe(Scope::Full).await;
    let _ = driver.close().await;
    let machines = machines?;
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &machines)?;
            writeln!(out)?;
        }
        Output::Table => table(&machines, out)?,
    }
    Ok(())
}

pub(super) async fn power(args: &PowerArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut driver = open(&args.device).await?;
    let results = orders::carry_out(driver.as_mut(), &args.slots, args.action).await;
    let _ = driver.close().await;
    let mut failed = 0;
    let action = args.action.name();
    let results = results?;
    for (slot, result) in &results {
        match result {
            Ok(Outcome::Changed) => writeln!(out, "{slot}: {action}: done")?,
            Ok(Outcome::Unchanged) => writeln!(out, "{slot}: {action}: was so already")?,
            Err(error) => {
                failed += 1;
                writeln!(out, "{slot}: {action}: failed: {error}")?;
            }
        }
    }
    done(&format!("power {action}"), failed, results.len())
}

pub(super) async fn boot_once(
    args: &BootOnceArgs,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut driver = open(&args.device).await?;
    let target = args.target.name();
    let mut failed = 0;
    let mut slots: Vec<SlotId> = args.slots.clone();
    slots.sort();
    slots.dedup();
    for slot in &slots {
        match driver.boot_once(*slot, args.target).await {
            Ok(()) => writeln!(out, "{slot}: boot-once {target}: confirmed")?,
            Err(error) => {
                failed += 1;
                writeln!(out, "{slot}: boot-once {target}: failed: {error}")?;
            }
        }
    }
    let _ = driver.close().await;
    done(&format!("boot-once {target}"), failed, slots.len())
}

pub(super) async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let options = agent::Options {
        manifests: args.manifests.clone(),
        boot_server: args.boot_server.clone(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
        state: args.state.clone(),
        power_ons: args.power_ons,
        profiles: profiles(args.profiles.as_ref())?,
    };
    agent::run_until_signal(options).await
}

fn done(what: &str, failed: usize, of: usize) -> anyhow::Result<()> {
    if failed > 0 {
        bail!("{what} failed for {failed} of {of} slots");
    }
    Ok(())
}

async fn open(args: &DeviceArgs) -> anyhow::Result<Box<dyn ChassisDriver>> {
    let profiles = profiles(args.profiles.as_ref())?;
    let target = Arc::new(target(args)?);
    Ok(drivers::open(&target, &profiles).await?)
}

fn profiles(folder: Option<&PathBuf>) -> anyhow::Result<Profiles> {
    let profiles = match folder {
        Some(folder) => Profiles::with_folder(folder),
        None => Profiles::built_in(),
    };
    Ok(profiles?)
}

fn target(args: &DeviceArgs) -> anyhow::Result<Target> {
    let login = LoginFiles {
        user: Some(&args.user),
        password: args.password_file.as_deref(),
        private_key: args.private_key_file.as_deref(),
    };
    let host_key = match (&args.host_key, args.insecure) {
        (_, true) => HostKeyPolicy::Any,
        (Some(fingerprint), _) => HostKeyPolicy::Pinned(fingerprint.clone()),
        (None, false) => HostKeyPolicy::FirstContact(match &args.known_hosts {
            Some(file) => file.clone(),
            None => default_known_hosts().context(
                "there is no home folder to record host keys in; name a file with --known-hosts, \
                 pin the key with --host-key, or take any key with --insecure",
            )?,
        }),
    };
    Ok(Target {
        address: args.address.parse()?,
        profile: args.profile.clone(),
        login: login.read()?,
        host_key,
        legacy_algorithms: args.legacy_algorithms,
    })
}

/// `$XDG_STATE_HOME/moonfarm/known-hosts`, by default below `~/.local/state`
/// (XDG Base Directory Specification).
fn default_known_hosts() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let state = folder("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("moonfarm/known-hosts"))
}

/// Columns as wide as what is in them.
fn table(machines: &[ObservedMachine], out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let dash = || "-".to_owned();
    let mut rows = vec![["SLOT", "POWER", "MACS", "MODEL", "SERIAL"].map(str::to_owned)];
    rows.extend(machines.iter().map(|machine| {
        let macs: Vec<String> = machine.macs.iter().map(ToString::to_string).collect();
        [
            machine.slot.clone(),
            machine.power.to_string(),
            if macs.is_empty() {
                dash()
            } else {
                macs.join(",")
            },
            machine.model.clone().unwrap_or_else(dash),
            machine.serial.clone().unwrap_or_else(dash),
        ]
    }));
    let widths: Vec<usize> = (0..5)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
