//! `cargo xtask bench scrape`: `chassis-agent run` looks after thousands of
//! virtual BMCs, and after Moonshot chassis with 45 nodes each.
//!
//! The devices are another process, `virtual-fleet`, which answers as slowly as
//! BMCs do, counts requests, and stands in for boot-server. So what is measured
//! of chassis-agent is its own.

mod peer;
mod report;
mod round;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::report::{Bound, chassis_table, fleet_table, peer_table};
use self::round::{Fleet, Round, measure};
use super::programs::build_release;
use crate::cache;
use crate::run::say;

/// Measures chassis-agent against virtual BMCs
///
/// Delays are 50 to 500 ms a request, one request in a hundred up to 3 s. The
/// lower bound is what no scanner with so many visits at once can beat: the
/// slowest device, or the time all devices together took to answer divided by
/// the number of visits at once.
#[derive(Args)]
pub struct ScrapeOptions {
    /// How many BMCs, one measurement for each number
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    devices: Vec<u32>,
    /// How many Moonshot chassis of 45 nodes, one measurement for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20])]
    chassis: Vec<u32>,
    /// Devices that chassis-agent visits at once
    #[arg(long, default_value_t = 256)]
    visits: u32,
    /// Devices of the serial walk that all is compared with
    #[arg(long, default_value_t = 10)]
    serial: u32,
    /// Devices of the scanner that all is compared with, one call each at once;
    /// 0 leaves it out
    #[arg(long, default_value_t = 32)]
    peer: u32,
    /// Folders with the resources of the BMCs, instead of the usual mixture
    #[arg(long)]
    kind: Vec<PathBuf>,
    /// Folder with chassis-agent and virtual-fleet, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a program does not build, or a measurement does not end.
pub fn run(options: &ScrapeOptions) -> Result<()> {
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["chassis-agent", "moonfarm-tests"])?,
    };
    let kinds = if options.kind.is_empty() {
        usual_kinds()?
    } else {
        options.kind.clone()
    };
    let fleet = |bmcs, chassis| Fleet {
        programs: programs.clone(),
        kinds: kinds.clone(),
        bmcs,
        chassis,
    };
    let mut rounds: Vec<Round> = Vec::new();
    for bmcs in &options.devices {
        say(&format!("{bmcs} BMCs, {} visits at once", options.visits));
        rounds.push(measure(&fleet(*bmcs, 0), options.visits)?);
        // What was measured is not lost when a later one fails.
        eprint!("{}", fleet_table(&rounds, None));
    }
    let mut serial = None;
    if options.serial > 0 {
        say(&format!("a serial walk over {} BMCs", options.serial));
        serial = Some(measure(&fleet(options.serial, 0), 1)?);
    }
    println!("{}", fleet_table(&rounds, serial.as_ref()));
    if options.peer > 0 {
        say(&format!("rf_sys_inventory over {} BMCs", options.peer));
        let devices = fleet(options.peer, 0);
        let ours = measure(&devices, options.peer)?;
        println!("{}", peer_table(&ours, &peer::measure(&devices)?));
    }
    let mut rounds = Vec::new();
    for chassis in &options.chassis {
        say(&format!(
            "{chassis} chassis, {} visits at once",
            options.visits
        ));
        rounds.push(measure(&fleet(0, *chassis), options.visits)?);
    }
    println!("{}", chassis_table(&rounds));
    println!("{}", Bound::EXPLAINED);
    Ok(())
}

/// The BMCs of the fixtures: what a farm of several vendors looks like.
fn usual_kinds() -> Result<Vec<PathBuf>> {
    let folder = cache::checkout().join("tests/fixtures/redfish/typical");
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        kinds.push(entry?.path());
    }
    kinds.sort();
    Ok(kinds)
}
