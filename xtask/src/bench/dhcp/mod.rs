//! `cargo xtask bench dhcp`: leases a second and CPU time a lease, for
//! boot-server, dnsmasq, Kea and ISC dhcpd side by side.
//!
//! perfdhcp plays a relay with a new client for each 4-way exchange; an answer
//! later than a second is lost. Server and relay are in namespaces of their own
//! with a wire between them. boot-server syncs each lease before its ACK; Kea
//! and dnsmasq write their lease files without sync.

mod lan;
mod perf;
mod servers;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use self::lan::Lan;
use self::perf::Step;
use self::servers::{Running, Server};
use super::programs::build_release;
use super::samples::{Samples, ratios};
use super::table::Table;
use crate::packages::{self, Package};
use crate::run::say;

const PACKAGES: &[Package] = &[
    Package {
        name: "iproute2",
        program: "ip",
    },
    Package {
        name: "kea-admin",
        program: "perfdhcp",
    },
    Package {
        name: "kea-dhcp4-server",
        program: "kea-dhcp4",
    },
    Package {
        name: "dnsmasq-base",
        program: "dnsmasq",
    },
    Package {
        name: "isc-dhcp-server",
        program: "dhcpd",
    },
];

/// Exchanges that may be lost, in hundredths.
const MOST_LOSS: f64 = 1.0;
/// Exchanges a second that a search begins with, where no run has found better.
const FIRST_RATE: f64 = 2000.0;
/// Rates are told apart down to this factor.
const FINENESS: f64 = 1.12;

/// Measures DHCP against dnsmasq, Kea and ISC dhcpd
#[derive(Args)]
pub struct DhcpOptions {
    /// How often everything is measured
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Seconds of each step of the search
    #[arg(long, default_value_t = 3)]
    secs: u32,
    /// Servers to measure
    #[arg(long, value_delimiter = ',', default_values = ["boot-server", "kea", "isc-dhcpd", "dnsmasq"])]
    servers: Vec<Server>,
    /// Leases that the store is filled with, to see whether it stays as fast; 0 for none
    #[arg(long, default_value_t = 100_000)]
    fill: u32,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// The best step of one server in one run.
struct Best {
    server: Server,
    step: Step,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a program is missing, does not build or does not start.
pub fn run(options: &DhcpOptions) -> Result<()> {
    if !packages::is_root()? {
        bail!("network namespaces need root");
    }
    packages::need(PACKAGES)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let mut best: Vec<Best> = Vec::new();
    for run in 1..=options.runs.max(1) {
        // One after the other within each run: all meet the same machine.
        for server in &options.servers {
            let known = best.iter().rev().find(|best| best.server == *server);
            let first = known.map_or(FIRST_RATE, |best| best.step.asked);
            let step = highest(*server, &programs, options.secs, first)?;
            say(&format!("run {run}: {} {step}", server.name()));
            best.push(Best {
                server: *server,
                step,
            });
        }
    }
    println!("{}", rates(&options.servers, &best));
    if options.fill > 0 {
        let flat = [Server::Ours, Server::Kea];
        for server in flat
            .iter()
            .filter(|server| options.servers.contains(server))
        {
            println!("{}", flatness(*server, &programs, options.fill)?);
        }
    }
    Ok(())
}

/// The highest rate that loses next to nothing: from `first` on doubled until it
/// does, or halved until it does not, then halved in between. Each step has a new
/// server with no lease.
fn highest(server: Server, programs: &std::path::Path, secs: u32, first: f64) -> Result<Step> {
    let measure = |rate: f64| -> Result<Step> {
        let lan = Lan::new()?;
        let running = Running::start(server, &lan, programs)?;
        running.measure(&lan, rate, secs)
    };
    let (mut good, mut bad) = (None, f64::INFINITY);
    let mut rate = first;
    while good
        .as_ref()
        .is_none_or(|step: &Step| bad / step.asked > FINENESS)
    {
        let step = measure(rate)?;
        say(&format!("  {} at {rate:.0}/s: {step}", server.name()));
        if step.loss_percent < MOST_LOSS {
            good = Some(step);
        } else {
            bad = rate;
        }
        rate = match &good {
            Some(step) if bad.is_finite() => (step.asked * bad).sqrt(),
            Some(step) => step.asked * 2.0,
            None if rate > 60.0 => rate / 2.0,
            None => bail!("{} answers next to nothing", server.name()),
        };
    }
    good.ok_or_else(|| anyhow::anyhow!("{} has no rate", server.name()))
}

fn rates(servers: &[Server], best: &[Best]) -> Table {
    let of = |server: Server, pick: fn(&Step) -> f64| -> Vec<f64> {
        let steps = best.iter().filter(|best| best.server == server);
        steps.map(|best| pick(&best.step)).collect()
    };
    let mut table = Table::new(&[
        "server",
        "leases/s, loss < 1 %",
        "CPU ms a lease",
        "peak RSS MiB",
        "rate to Kea's",
        "CPU to Kea's",
    ]);
    for server in servers {
        let picks: [fn(&Step) -> f64; 3] = [
            |step| step.leases_per_sec,
            |step| step.cpu_ms_per_lease,
            |step| step.peak_rss_mib,
        ];
        let samples = picks.map(|pick| of(*server, pick));
        let to_kea = |at: usize| ratios(&samples[at], &of(Server::Kea, picks[at]));
        let text = |values: &Vec<f64>| {
            Samples::new(values.clone()).map_or("-".into(), |samples| samples.to_string())
        };
        table.row([
            server.name().to_owned(),
            text(&samples[0]),
            text(&samples[1]),
            text(&samples[2]),
            to_kea(0),
            to_kea(1),
        ]);
    }
    table
}

/// CPU time a lease while the store fills up, at one rate.
fn flatness(server: Server, programs: &std::path::Path, fill: u32) -> Result<Table> {
    const PARTS: u32 = 5;
    const RATE: f64 = 4000.0;
    let mut table = Table::new(&[
        "server",
        "leases before",
        "leases/s",
        "loss %",
        "CPU ms a lease",
        "peak RSS MiB",
    ]);
    let lan = Lan::new()?;
    let running = Running::start(server, &lan, programs)?;
    let secs = (f64::from(fill) / f64::from(PARTS) / RATE).ceil().max(1.0) as u32;
    let mut held = 0.0;
    for _ in 0..=PARTS {
        let step = running.measure(&lan, RATE, secs)?;
        table.row([
            server.name().to_owned(),
            format!("{held:.0}"),
            format!("{:.0}", step.leases_per_sec),
            format!("{:.2}", step.loss_percent),
            format!("{:.4}", step.cpu_ms_per_lease),
            format!("{:.0}", step.peak_rss_mib),
        ]);
        held += step.leases;
    }
    Ok(table)
}
