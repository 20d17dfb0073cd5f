//! `cargo xtask bench tftp`: boot-server beside dnsmasq, tftpd-hpa and atftpd.

pub mod client;
mod peers;
mod relay;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::client::Outcome;
use super::programs::build_release;
use super::samples::{Samples, number, ratio};
use super::table::Table;
use super::wire::{SERVER, Server, Wire};
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

/// What one server did under one load.
struct Measured {
    server: &'static str,
    agreed: u64,
    mb_per_second: Samples,
    cpu_per_gb: Samples,
    rss_mib: f64,
    timeouts: u64,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a server does not serve, or a transfer fails.
pub fn run(options: &TftpOptions) -> Result<()> {
    need(peers::PACKAGES)?;
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
                let mut measured = Vec::new();
                for peer in peers.iter().filter(|peer| is_wanted(peer.name)) {
                    say(&format!("{}: {}", load.name(), peer.name));
                    let server = peer.start(&wire)?;
                    measured.push(measure(&wire, &server, load, options)?);
                }
                rows(&mut table, load, &measured);
            }
        }
    }
    println!("{table}");
    println!(
        "ratio: to the best of the others in the same rows; MB/s of file content, all clients \
         together; median (min to max) of {} samples.",
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

fn measure(wire: &Wire, server: &Server, load: Load, options: &TftpOptions) -> Result<Measured> {
    let (mut rates, mut costs, mut timeouts, mut agreed) = (vec![], vec![], 0, 0);
    let mut rss_mib = 0.0_f64;
    for _ in 0..options.samples.max(1) {
        let before = server.cpu_secs()?;
        let outcome = fetch(wire, load, options.seconds)?;
        let cpu = server.cpu_secs()? - before;
        rss_mib = rss_mib.max(server.rss_mib());
        rates.push(outcome.bytes as f64 / outcome.secs / 1e6);
        costs.push(cpu / (outcome.bytes as f64 / 1e9));
        timeouts += outcome.timeouts;
        agreed = outcome.window;
    }
    Ok(Measured {
        server: server.name,
        agreed,
        mb_per_second: Samples::new(rates).context("no samples")?,
        cpu_per_gb: Samples::new(costs).context("no samples")?,
        rss_mib,
        timeouts,
    })
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
    for own in measured {
        let others = || measured.iter().filter(|other| other.server != own.server);
        let best_rate = others().map(|other| other.mb_per_second.median());
        let best_cost = others().map(|other| other.cpu_per_gb.median());
        let (best_rate, best_cost) = (
            best_rate.fold(0.0, f64::max),
            best_cost.fold(f64::INFINITY, f64::min),
        );
        table.row([
            load.name(),
            own.server.to_owned(),
            own.agreed.to_string(),
            own.mb_per_second.to_string(),
            ratio(own.mb_per_second.median(), best_rate),
            own.cpu_per_gb.to_string(),
            ratio(own.cpu_per_gb.median(), best_cost),
            number(own.rss_mib),
            own.timeouts.to_string(),
        ]);
    }
}
