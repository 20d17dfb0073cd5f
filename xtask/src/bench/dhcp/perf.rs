//! perfdhcp: one step, and what it prints.

use std::fmt;

use anyhow::{Context as _, Result};

use super::lan::{Lan, RELAY, SERVER};
use crate::bench::usage::Usage;

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Exchanges a second that were asked for.
    pub asked: f64,
    /// Leases that were acknowledged.
    pub leases: f64,
    /// Of them each second.
    pub leases_per_sec: f64,
    /// Exchanges that were begun and brought no lease within the time.
    pub loss_percent: f64,
    /// CPU time of the server.
    pub cpu_ms_per_lease: f64,
    /// Largest resident set of the server so far.
    pub peak_rss_mib: f64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} leases/s, {:.2} % lost, {:.4} ms CPU a lease, {:.0} MiB",
            self.leases_per_sec, self.loss_percent, self.cpu_ms_per_lease, self.peak_rss_mib
        )
    }
}

/// Runs one step against the server with this process number.
///
/// # Errors
/// When perfdhcp does not run or prints what is not understood.
pub fn measure(lan: &Lan, pid: u32, rate: f64, secs: u32) -> Result<Step> {
    let before = Usage::of(pid)?;
    let mut perfdhcp = lan.relay("perfdhcp");
    perfdhcp.args([
        "-4", "-l", RELAY, "-d", "1", "-W", "1000000", "-R", "16000000",
    ]);
    perfdhcp.args(["-r", &format!("{rate:.0}"), "-p", &secs.to_string(), SERVER]);
    // It ends with 3 where anything was lost.
    let output = perfdhcp.output().context("starting perfdhcp")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (begun, leases) = exchanges(&text).with_context(|| {
        format!(
            "reading what perfdhcp printed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let after = Usage::of(pid)?;
    Ok(Step {
        asked: rate,
        leases,
        leases_per_sec: leases / f64::from(secs),
        loss_percent: (1.0 - leases / begun.max(1.0)) * 100.0,
        cpu_ms_per_lease: (after.cpu_secs - before.cpu_secs) * 1000.0 / leases.max(1.0),
        peak_rss_mib: after.peak_rss_mib,
    })
}

/// Whether the server is there: it gives nearly all of a few leases. ISC dhcpd gives
/// one in a second as long as it lays a large pool out.
pub fn answers(lan: &Lan) -> bool {
    let mut perfdhcp = lan.relay("perfdhcp");
    // A few new clients: one that asks over and over would rightly be stopped.
    perfdhcp.args(["-4", "-l", RELAY, "-d", "1", "-W", "300000"]);
    perfdhcp.args(["-r", "10", "-p", "1", "-R", "16000000", SERVER]);
    perfdhcp.output().is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        exchanges(&text).is_some_and(|(begun, leases)| leases >= 1.0 && leases >= begun * 0.9)
    })
}

/// DISCOVERs sent and ACKs received.
fn exchanges(text: &str) -> Option<(f64, f64)> {
    let (_, rest) = text.split_once("Statistics for: DISCOVER-OFFER")?;
    let (discover, request) = rest.split_once("Statistics for: REQUEST-ACK")?;
    Some((
        number(discover, "sent packets:")?,
        number(request, "received packets:")?,
    ))
}

fn number(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perfdhcp_prints() {
        let text = "***Rate statistics***\nRate: 99.8 4-way exchanges/second, expected rate: 100\n\n\
            ***Statistics for: DISCOVER-OFFER***\nsent packets: 300\nreceived packets: 299\ndrops: 1\n\
            min delay: 0.6 ms\n\n***Statistics for: REQUEST-ACK***\nsent packets: 299\nreceived packets: 297\ndrops: 2\n";
        assert_eq!(exchanges(text), Some((300.0, 297.0)));
        assert_eq!(exchanges("nothing"), None);
    }
}
