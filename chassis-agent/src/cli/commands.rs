//! The commands: one visit to a device each, and the agent.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use boot_proto::api::ObservedMachine;

use super::args::{BootOnceArgs, ConsoleArgs, DeviceArgs, ObserveArgs, Output, PowerArgs, RunArgs};
use super::console;
use crate::agent;
use crate::config::{HostKeyPolicy, LoginFiles, Target};
use crate::device::{self, Device};
use crate::drivers::redfish::endpoint::{Fingerprint, TlsPolicy};
use crate::drivers::{self, ChassisDriver, DriverError, Scope, Slot};
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
    let mut slots: Vec<Slot> = args.slots.clone();
    slots.sort();
    slots.dedup();
    for slot in &slots {
        match driver.boot_once(slot, args.target).await {
            Ok(()) => writeln!(out, "{slot}: boot-once {target}: confirmed")?,
            Err(error @ DriverError::Unconfirmed { .. }) => {
                failed += 1;
                writeln!(out, "{slot}: boot-once {target}: not confirmed: {error}")?;
            }
            Err(error) => {
                failed += 1;
                writeln!(out, "{slot}: boot-once {target}: failed: {error}")?;
            }
        }
    }
    let _ = driver.close().await;
    done(&format!("boot-once {target}"), failed, slots.len())
}

pub(super) async fn console(
    args: &ConsoleArgs,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let mut driver = open(&args.device).await?;
    let result = console::use_terminal(driver.as_mut(), &args.slot, args.acquire, out).await;
    let _ = driver.close().await;
    result
}

pub(super) async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let options = agent::Options {
        manifests: args.manifests.clone().unwrap_or_default(),
        kubernetes: args
            .kubernetes
            .then(|| crate::kubernetes::KubernetesOptions {
                place: args.place.clone(),
                publish: args.publish,
            }),
        boot_server: args.boot_server.clone().unwrap_or_default(),
        token_file: args.token_file.clone().unwrap_or_default(),
        ca_file: args.ca_file.clone(),
        state: args.state.clone(),
        power_ons: args.power_ons,
        power_ons_of_all: args.power_ons_of_all,
        visits: args.visits,
        network_boot_wait: args.network_boot_wait.duration(),
        listen: args.listen,
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
    Ok(drivers::open_device(&device(args)?, &profiles).await?)
}

fn profiles(folder: Option<&PathBuf>) -> anyhow::Result<Profiles> {
    let profiles = match folder {
        Some(folder) => Profiles::with_folder(folder),
        None => Profiles::built_in(),
    };
    Ok(profiles?)
}

fn device(args: &DeviceArgs) -> anyhow::Result<Device> {
    let login = LoginFiles {
        user: Some(&args.user),
        password: args.password_file.as_deref(),
        private_key: args.private_key_file.as_deref(),
    }
    .read()?;
    let tls = match (args.insecure, &args.certificate, &args.ca_file) {
        (true, _, _) => TlsPolicy::Any,
        (_, Some(fingerprint), _) => TlsPolicy::Pinned(Fingerprint::parse(fingerprint)?),
        (_, None, Some(file)) => TlsPolicy::from_ca_file(file)?,
        (_, None, None) => TlsPolicy::System,
    };
    if device::is_url(&args.address) {
        let endpoint = device::endpoint(&args.address, &login, tls)?;
        // A web service is usable without a place to record host keys in.
        let cli = host_key(args).ok().map(|host_key| {
            Ok::<_, anyhow::Error>(Arc::new(Target {
                address: device::command_line_of(&endpoint)?,
                profile: args.profile.clone(),
                login,
                host_key,
                legacy_algorithms: args.legacy_algorithms,
            }))
        });
        return Ok(Device::Web {
            cli: cli.transpose()?,
            endpoint: Box::new(endpoint),
            profile: args.profile.clone(),
        });
    }
    let target = Target {
        address: args.address.parse()?,
        profile: args.profile.clone(),
        login,
        host_key: host_key(args)?,
        legacy_algorithms: args.legacy_algorithms,
    };
    Ok(device::host(target, &args.address, tls))
}

fn host_key(args: &DeviceArgs) -> anyhow::Result<HostKeyPolicy> {
    Ok(match (&args.host_key, args.insecure) {
        (_, true) => HostKeyPolicy::Any,
        (Some(fingerprint), _) => HostKeyPolicy::Pinned(fingerprint.clone()),
        (None, false) => HostKeyPolicy::FirstContact(match &args.known_hosts {
            Some(file) => file.clone(),
            None => default_known_hosts().context(
                "there is no home folder to record host keys in; name a file with --known-hosts, \
                 pin the key with --host-key, or take any key with --insecure",
            )?,
        }),
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
