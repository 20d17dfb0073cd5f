//! One measurement: a fleet of devices, and chassis-agent looking after it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::bench::usage::Usage;
use crate::run::say;

/// The devices of a measurement.
pub struct Fleet {
    /// Folder with the programs.
    pub programs: PathBuf,
    /// Folders with the resources of the BMCs.
    pub kinds: Vec<PathBuf>,
    /// How many BMCs.
    pub bmcs: u32,
    /// How many Moonshot chassis.
    pub chassis: u32,
}

/// What was measured.
pub struct Round {
    /// Devices that were visited at once, at most.
    pub visits: u32,
    /// From the start of chassis-agent until the inventory of all was reported.
    pub inventory: Lap,
    /// From then until the power of all was read once more.
    pub power: Lap,
}

/// A part of a measurement.
pub struct Lap {
    /// How long it took.
    pub secs: f64,
    /// What the devices saw.
    pub stats: Stats,
    /// What chassis-agent had used at its end.
    pub usage: Usage,
    /// Commands that the chassis that was asked most was given so far.
    pub most_commands: Option<u64>,
}

/// What the devices saw, as `virtual-fleet` prints it.
#[derive(Debug, Default, Deserialize)]
pub struct Stats {
    pub devices: u32,
    pub machines: u64,
    pub macs: u64,
    pub requests: u64,
    pub most_requests: u32,
    pub looks: u64,
    pub busy_secs: f64,
    pub slowest_secs: f64,
    pub failures: u64,
    pub last_failure: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    event: String,
    sink: Option<String>,
    stats: Option<Stats>,
    most_commands: Option<u64>,
}

/// A program that ends with us.
pub(super) struct Running {
    child: Child,
    name: &'static str,
}

impl Running {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name })
    }

    fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended too early, with {status}", self.name),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the devices and chassis-agent, and waits until all was read.
///
/// # Errors
/// When a program ends early; the message has what it said.
pub fn measure(fleet: &Fleet, visits: u32) -> Result<Round> {
    let folder = tempfile::tempdir().context("making a folder for the measurement")?;
    let (_devices, mut events) = start_devices(fleet, folder.path())?;
    let ready = next(&mut events, "ready")?;
    let log = folder.path().join("chassis-agent.log");
    let begun = Instant::now();
    let mut agent = Running::start(
        "chassis-agent",
        Command::new(fleet.programs.join("chassis-agent"))
            .arg("run")
            .arg("--manifests")
            .arg(folder.path().join("manifests"))
            .args(["--boot-server", &ready.sink.unwrap_or_default()])
            .arg("--token-file")
            .arg(folder.path().join("token"))
            .arg("--state")
            .arg(folder.path().join("state"))
            .args(["--visits", &visits.to_string()])
            .stdout(Stdio::null())
            .stderr(File::create(&log)?),
    )?;
    let mut lap = |since: Instant, name: &str| -> Result<Lap> {
        let event = next(&mut events, name).and_then(|event| {
            agent.check()?;
            Ok(event)
        });
        let event = event.with_context(|| last_lines(&log))?;
        if let Some(stats) = event.stats.as_ref().filter(|stats| stats.failures > 0) {
            say(&format!("the last failure: {}", stats.last_failure));
        }
        Ok(Lap {
            secs: since.elapsed().as_secs_f64(),
            stats: event.stats.unwrap_or_default(),
            usage: Usage::of(agent.child.id())?,
            most_commands: event.most_commands,
        })
    };
    let inventory = lap(begun, "inventory")?;
    let power = lap(Instant::now(), "power")?;
    Ok(Round {
        visits,
        inventory,
        power,
    })
}

/// What `virtual-fleet` prints.
type Events = Lines<BufReader<ChildStdout>>;

/// Starts the devices; they are ready, and their manifests written, when their
/// first line can be read.
pub(super) fn start_devices(fleet: &Fleet, folder: &Path) -> Result<(Running, Events)> {
    let mut devices = Command::new(fleet.programs.join("virtual-fleet"));
    devices
        .args(["--bmcs", &fleet.bmcs.to_string()])
        .args(["--chassis", &fleet.chassis.to_string()])
        .arg("--folder")
        .arg(folder)
        .stdout(Stdio::piped());
    for kind in &fleet.kinds {
        devices.arg("--kind").arg(kind);
    }
    let mut devices = Running::start("virtual-fleet", &mut devices)?;
    let stdout = devices.child.stdout.take().context("no stdout")?;
    Ok((devices, BufReader::new(stdout).lines()))
}

pub(super) fn next(events: &mut Events, name: &str) -> Result<Event> {
    let line = events
        .next()
        .with_context(|| format!("virtual-fleet ended before it was {name}"))??;
    let event: Event =
        serde_json::from_str(&line).with_context(|| format!("virtual-fleet printed {line:?}"))?;
    if event.event != name {
        bail!("virtual-fleet said {} before {name}", event.event);
    }
    Ok(event)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(5)..)
        .unwrap_or_default();
    format!("chassis-agent said last:\n{}", last.join("\n"))
}
