//! `cargo xtask bench storm`: a whole farm is switched on at once.
//!
//! Every simulated node walks the way of a real one through one boot-server:
//! DHCP as UEFI firmware behind its rack's relay, the loader by TFTP, DHCP again
//! as iPXE, both scripts, kernel and initramfs, and as node-agent the boot
//! config, the image (waiting its turn where it is told to) and reports. They
//! are threads of one process in a network namespace of their own.

pub mod crowd;
mod node;
mod relay;
mod site;
mod web;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::crowd::{Outcome, Stage};
use self::node::Again;
use self::site::Site;
use super::programs::build_release;
use super::samples::number;
use super::table::Table;
use super::wire::{self, Wire};
use crate::packages::need;
use crate::run::say;

/// Boots thousands of simulated nodes at once
///
/// A boot-server of its own serves each size of crowd. Server and nodes share
/// this machine's processors: the times say how it grows, and the memory is the
/// server's own.
#[derive(Args)]
pub struct StormOptions {
    /// Nodes at once, one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 2000])]
    nodes: Vec<u32>,
    /// Nodes are switched on spread over so many seconds
    #[arg(long, default_value_t = 0)]
    within: u32,
    /// Nodes that may fetch the image at once, as boot-server's option
    #[arg(long, default_value_t = 32)]
    image_transfers: u32,
    /// Size of the image in MiB
    #[arg(long, default_value_t = 8)]
    image_mib: usize,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When the server does not serve, or a node fails.
pub fn run(options: &StormOptions) -> Result<()> {
    need(wire::PACKAGES)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let mut table = Table::new(&[
        "nodes",
        "failed",
        "script p50 s",
        "p99",
        "kernel p50 s",
        "p99",
        "image p50 s",
        "p99",
        "last s",
        "again DHCP/TFTP/HTTP",
        "put off",
        "server CPU s",
        "peak RSS MiB",
    ]);
    let mut failures = Vec::new();
    for &nodes in &options.nodes {
        say(&format!("{nodes} nodes"));
        let wire = Wire::new()?;
        let site = Site::prepare(&programs, &wire, nodes, options.image_mib)?;
        let server = site.start(&wire, options.image_transfers)?;
        let before = server.cpu_secs()?;
        let outcome = site.storm(&wire, nodes, options.within)?;
        let cpu = server.cpu_secs()? - before;
        table.row(cells(nodes, &outcome, cpu, server.peak_rss_mib()?));
        let (at_nodes, at_server) = wire.dropped_datagrams()?;
        say(&format!(
            "datagrams that sockets had no room for: {at_nodes} at the nodes, {at_server} at the server"
        ));
        failures.extend(outcome.failures);
    }
    println!("{table}");
    println!(
        "times from a node's power-on; again: packets and requests that had to be sent again; put \
         off: answers 503 with Retry-After; loader {} KiB, kernel {} KiB, initramfs \
         {} KiB, image {} MiB, {} image transfers at once.",
        site::LOADER_BYTES >> 10,
        site::KERNEL_BYTES >> 10,
        site::INITRAMFS_BYTES >> 10,
        options.image_mib,
        options.image_transfers
    );
    if !failures.is_empty() {
        failures.truncate(10);
        bail!("nodes failed, such as:\n{}", failures.join("\n"));
    }
    Ok(())
}

fn cells(nodes: u32, outcome: &Outcome, cpu: f64, rss_mib: f64) -> Vec<String> {
    let at = |stage: Stage, percent: f64| {
        outcome
            .percentile(stage, percent)
            .map_or("-".into(), number)
    };
    vec![
        nodes.to_string(),
        outcome.failures.len().to_string(),
        at(Stage::Script, 50.0),
        at(Stage::Script, 99.0),
        at(Stage::Kernel, 50.0),
        at(Stage::Kernel, 99.0),
        at(Stage::Image, 50.0),
        at(Stage::Image, 99.0),
        at(Stage::Image, 100.0),
        again(&outcome.again),
        outcome.put_off.to_string(),
        number(cpu),
        number(rss_mib),
    ]
}

/// How much of each protocol had to be sent again.
fn again(again: &Again) -> String {
    format!("{} / {} / {}", again.dhcp, again.tftp, again.http)
}

/// Reads what the process of the nodes printed.
fn parse(text: &str) -> Result<Outcome> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("reading {line:?}"))
}
