//! `cargo xtask bench http`: boot-server beside nginx.

mod servers;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::servers::{Site, Target};
use super::programs::build_release;
use super::samples::{Samples, number, ratios};
use super::table::Table;
use super::wire::{self, Server, Wire};
use crate::packages::need;
use crate::run::say;

/// Measures HTTP against nginx with sendfile
///
/// A file of 2 KiB and one of 200 MiB are fetched by `wrk` from the other end of
/// a wire. boot-server sends them by digest out of its image store, as kernel
/// and root file system of an image. Server and clients share this machine's
/// processors: compare servers within one run, by the ratios.
#[derive(Args)]
pub struct HttpOptions {
    /// Connections at once, one row for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<u32>,
    /// Samples of each row
    #[arg(long, default_value_t = 3)]
    samples: u32,
    /// Seconds of each sample
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// What one server did under one load, sample by sample.
#[derive(Default)]
struct Measured {
    server: &'static str,
    requests: Vec<f64>,
    mb_per_second: Vec<f64>,
    /// Per GB for the large file, in seconds; per request for the small one, in
    /// microseconds.
    cost: Vec<f64>,
    rss_mib: f64,
    errors: u64,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a server does not serve.
pub fn run(options: &HttpOptions) -> Result<()> {
    need(servers::PACKAGES)?;
    need(wire::PACKAGES)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let wire = Wire::new()?;
    let site = Site::prepare(&programs)?;
    let mut table = Table::new(&[
        "file",
        "connections",
        "server",
        "requests/s",
        "MB/s",
        "ratio",
        "server CPU",
        "ratio",
        "RSS MiB",
        "errors",
    ]);
    for target in [Target::Small, Target::Large] {
        for &connections in &options.connections {
            say(&format!("{}, {connections} connections", target.name()));
            let measured = measure(&wire, &site, target, connections, options)?;
            rows(&mut table, target, connections, &measured);
        }
    }
    println!("{table}");
    println!(
        "ratio: boot-server to nginx, each sample to the one beside it; server CPU: µs a request for 2 KiB, s a GB for 200 MiB; \
         median (min to max) of {} samples.",
        options.samples
    );
    Ok(())
}

/// Each server in turn, and again for each sample: both meet the same machine.
fn measure(
    wire: &Wire,
    site: &Site,
    target: Target,
    connections: u32,
    options: &HttpOptions,
) -> Result<Vec<Measured>> {
    let peers = site.servers();
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
            let mut wrk = wire.client("wrk");
            wrk.args(["--threads", "1", "--timeout", "30s"])
                .args(["--connections", &connections.to_string()])
                .args(["--duration", &format!("{}s", options.seconds)])
                .arg(peer.url(target));
            own.sample(&server, target, &mut wrk)?;
        }
    }
    Ok(measured)
}

impl Measured {
    fn sample(&mut self, server: &Server, target: Target, wrk: &mut Command) -> Result<()> {
        let before = server.cpu_secs()?;
        let output = wrk.output()?;
        let cpu = server.cpu_secs()? - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let load = Load::parse(&text).with_context(|| format!("reading wrk's {text:?}"))?;
        if load.bytes <= 0.0 {
            bail!("{} sent nothing: {text}", server.name);
        }
        self.rss_mib = self.rss_mib.max(server.rss_mib());
        self.requests.push(load.requests / load.secs);
        self.mb_per_second.push(load.bytes / load.secs / 1e6);
        self.cost.push(match target {
            Target::Small => cpu * 1e6 / load.requests,
            Target::Large => cpu / (load.bytes / 1e9),
        });
        self.errors += load.errors;
        Ok(())
    }
}

/// What wrk says.
#[derive(Debug, PartialEq)]
struct Load {
    requests: f64,
    secs: f64,
    bytes: f64,
    errors: u64,
}

impl Load {
    /// Reads `N requests in 3.10s, 1.20GB read` and the lines on errors.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.contains(" requests in "))?;
        let (requests, rest) = line.trim().split_once(" requests in ")?;
        let (secs, rest) = rest.split_once(", ")?;
        let secs = match secs.strip_suffix("ms") {
            Some(millis) => millis.parse::<f64>().ok()? / 1000.0,
            None => secs.strip_suffix('s')?.parse().ok()?,
        };
        let errors = |words: &str| -> u64 {
            let numbers = words.split(|c: char| !c.is_ascii_digit());
            numbers
                .filter_map(|number| number.parse::<u64>().ok())
                .sum()
        };
        let failed = text
            .lines()
            .filter(|line| line.contains("Socket errors") || line.contains("Non-2xx"))
            // A transfer that the end of the sample cut off is no error.
            .map(|line| line.split(", timeout").next().unwrap_or_default())
            .map(|line| errors(line.split_once(':').map_or("", |(_, words)| words)))
            .sum();
        Some(Self {
            requests: requests.parse().ok()?,
            secs,
            bytes: bytes(rest.strip_suffix(" read")?)?,
            errors: failed,
        })
    }
}

/// `1.20GB` and the like; wrk counts in 1024s.
fn bytes(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(number.len()..)? {
        "B" => 1.0,
        "KB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

fn rows(table: &mut Table, target: Target, connections: u32, measured: &[Measured]) {
    let theirs = measured.iter().find(|other| other.server == "nginx");
    for own in measured {
        let theirs = theirs.filter(|_| own.server != "nginx");
        let compared = |values: fn(&Measured) -> &[f64]| {
            theirs.map_or_else(String::new, |theirs| ratios(values(own), values(theirs)))
        };
        let shown = |values: &[f64]| {
            Samples::new(values.to_vec()).map_or("-".into(), |samples| samples.to_string())
        };
        table.row([
            target.name().to_owned(),
            connections.to_string(),
            own.server.to_owned(),
            shown(&own.requests),
            shown(&own.mb_per_second),
            compared(|measured| &measured.mb_per_second),
            shown(&own.cost),
            compared(|measured| &measured.cost),
            number(own.rss_mib),
            own.errors.to_string(),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let text = "Running 3s test\n  74000 requests in 3.10s, 155.00MB read\n  \
                    Socket errors: connect 0, read 1, write 2, timeout 9\n\
                    Requests/sec: 1\n";
        let load = Load::parse(text).unwrap();
        assert_eq!(load.requests, 74_000.0);
        assert_eq!(load.secs, 3.1);
        assert_eq!(load.bytes, 155.0 * 1024.0 * 1024.0);
        assert_eq!(load.errors, 3);
        assert_eq!(Load::parse("nothing"), None);
    }
}
