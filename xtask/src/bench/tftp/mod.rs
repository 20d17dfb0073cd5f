//! `cargo xtask bench tftp`: boot-server beside dnsmasq, tftpd-hpa and atftpd.

pub mod client;
mod peers;
mod relay;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::client::Outcome;
use self::peers::Peer;
use super::programs::build_release;
use super::samples::{Samples, number, ratios};
use super::table::Table;
use super::wire::{self, SERVER, Server, Wire};
use crate::packages::need;
use crate::run::say;

/// The file that is fetched: about what a large initramfs has.
const FILE: &str = "initramfs";
const FILE_BYTES: usize = 12 << 20;
/// Each way; with what the relay itself takes, the round trip is about 0.5 ms.
const DELAY_MICROS: u64 = 200;

/// Measures TFTP against dnsmasq, tftpd-hpa and atftpd
///
/// Each server in turn sends a file of 12 MiB to clients on the other end of a
/// wire, in blocks of 1468 bytes. Server and clients share this machine's
/// processors: compare servers within one run, by the ratios.
#[derive(Args)]
pub struct TftpOptions {
    /// Clients at once, one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    clients: Vec<u32>,
    /// Window sizes that are asked for, one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    windows: Vec<u64>,
    /// Samples of each row
    #[arg(long, default_value_t = 3)]
    samples: u32,
    /// Seconds of each sample
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Leave out the rows with a delayed wire
    #[arg(long)]
    no_delay: bool,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// One kind of load.
#[derive(Clone, Copy)]
struct Load {
    clients: u32,
    window: u64,
    delay_micros: u64,
}

/// What one server did under one load, sample by sample.
#[derive(Default)]
struct Measured {
    server: &'static str,
    agreed: u64,
    mb_per_second: Vec<f64>,
    cpu_per_gb: Vec<f64>,
    rss_mib: f64,
    timeouts: u64,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a server does not serve, or a transfer fails.
pub fn run(options: &TftpOptions) -> Result<()> {
    need(peers::PACKAGES)?;
    need(wire::PACKAGES)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let wire = Wire::new()?;
    let folder = tempfile::tempdir()?;
    let peers = peers::prepare(folder.path(), &programs, &wire)?;
    let is_wanted =
        |name: &str| options.servers.is_empty() || options.servers.iter().any(|own| own == name);
    let delays: &[u64] = if options.no_delay {
        &[0]
    } else {
        &[0, DELAY_MICROS]
    };
    let mut table = Table::new(&[
        "load",
        "server",
        "window",
        "MB/s",
        "ratio",
        "server CPU s/GB",
        "ratio",
        "RSS MiB",
        "timeouts",
    ]);
    for &delay_micros in delays {
        for &window in &options.windows {
            for &clients in &options.clients {
                let load = Load {
                    clients,
                    window,
                    delay_micros,
                };
                let peers: Vec<&Peer> = peers.iter().filter(|peer| is_wanted(peer.name)).collect();
                say(&load.name());
                rows(&mut table, load, &measure(&wire, &peers, load, options)?);
            }
        }
    }
    println!("{table}");
    println!(
        "ratio: to the best of the others in the same rows, each sample to the one beside it; MB/s \
         of file content, all clients together; median (min to max) of {} samples.",
        options.samples
    );
    Ok(())
}

impl Load {
    fn name(self) -> String {
        let delay = match self.delay_micros {
            0 => String::new(),
            micros => format!(", {} ms each way", micros as f64 / 1000.0),
        };
        let plural = if self.clients == 1 { "" } else { "s" };
        format!(
            "{} client{plural}, window {}{delay}",
            self.clients, self.window
        )
    }
}

/// Each server in turn, and again for each sample: all meet the same machine.
fn measure(
    wire: &Wire,
    peers: &[&Peer],
    load: Load,
    options: &TftpOptions,
) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = peers
        .iter()
        .map(|peer| Measured {
            server: peer.name,
            ..Measured::default()
        })
        .collect();
    for _ in 0..options.samples.max(1) {
        for (peer, own) in peers.iter().zip(&mut measured) {
            let server = peer.start(wire)?;
            own.sample(wire, &server, load, options.seconds)
                .with_context(|| format!("{} under {}", peer.name, load.name()))?;
        }
    }
    Ok(measured)
}

impl Measured {
    fn sample(&mut self, wire: &Wire, server: &Server, load: Load, seconds: u64) -> Result<()> {
        let before = server.cpu_secs()?;
        let outcome = fetch(wire, load, seconds)?;
        let cpu = server.cpu_secs()? - before;
        self.rss_mib = self.rss_mib.max(server.rss_mib());
        self.mb_per_second
            .push(outcome.bytes as f64 / outcome.secs / 1e6);
        self.cpu_per_gb.push(cpu / (outcome.bytes as f64 / 1e9));
        self.timeouts += outcome.timeouts;
        self.agreed = outcome.window;
        Ok(())
    }
}

fn fetch(wire: &Wire, load: Load, seconds: u64) -> Result<Outcome> {
    let output = wire
        .client(std::env::current_exe()?)
        .args(["bench", "tftp-client", &format!("{SERVER}:69"), FILE])
        .arg(FILE_BYTES.to_string())
        .args(["--clients", &load.clients.to_string()])
        .args(["--window", &load.window.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(["--delay-micros", &load.delay_micros.to_string()])
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("reading {line:?}"))
}

fn rows(table: &mut Table, load: Load, measured: &[Measured]) {
    let middle = |values: &[f64]| Samples::new(values.to_vec()).map_or(0.0, |all| all.median());
    for own in measured {
        let others = || measured.iter().filter(|other| is_other(own, other));
        let fastest = others().max_by(|a, b| {
            let (a, b) = (middle(&a.mb_per_second), middle(&b.mb_per_second));
            a.total_cmp(&b)
        });
        let cheapest = others().min_by(|a, b| {
            let (a, b) = (middle(&a.cpu_per_gb), middle(&b.cpu_per_gb));
            a.total_cmp(&b)
        });
        table.row([
            load.name(),
            own.server.to_owned(),
            own.agreed.to_string(),
            shown(&own.mb_per_second),
            fastest.map_or("-".into(), |best| {
                ratios(&own.mb_per_second, &best.mb_per_second)
            }),
            shown(&own.cpu_per_gb),
            cheapest.map_or("-".into(), |best| ratios(&own.cpu_per_gb, &best.cpu_per_gb)),
            number(own.rss_mib),
            own.timeouts.to_string(),
        ]);
    }
}

/// boot-server is not compared with itself in its other mode.
fn is_other(own: &Measured, other: &Measured) -> bool {
    let ours = |measured: &Measured| measured.server.starts_with("boot-server");
    other.server != own.server && !(ours(own) && ours(other))
}

fn shown(values: &[f64]) -> String {
    Samples::new(values.to_vec()).map_or("-".into(), |samples| samples.to_string())
}
