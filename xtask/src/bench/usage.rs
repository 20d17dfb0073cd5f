//! What a process has used so far, and what this machine is: read from /proc.

use std::fs;

use anyhow::{Context, Result};

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Largest resident set, in MiB (`VmHWM`, proc(5)).
    pub peak_rss_mib: f64,
    /// Time on a processor, user and system, in seconds.
    pub cpu_secs: f64,
}

impl Usage {
    /// What the process of this number has used until now.
    ///
    /// # Errors
    /// When it has ended, or /proc is not there.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        Ok(Self {
            peak_rss_mib: peak_rss_mib(&status)
                .with_context(|| format!("process {pid} shows no VmHWM: it has ended"))?,
            cpu_secs: cpu_secs(&stat).context("reading the times of a process")?,
        })
    }
}

fn peak_rss_mib(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Processor time of our own children that have ended, in seconds: fields 16
/// and 17 of /proc/self/stat.
///
/// # Errors
/// When /proc is not there.
pub fn cpu_secs_of_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    ticks(&stat, 13).context("reading the times of children")
}

/// Fields 14 and 15 of /proc/PID/stat. The name in field 2 may hold blanks.
fn cpu_secs(stat: &str) -> Option<f64> {
    ticks(stat, 11)
}

/// The sum of two fields that follow each other, in seconds; the first is
/// counted from behind the name.
fn ticks(stat: &str, first: usize) -> Option<f64> {
    /// `USER_HZ`, which is 100 on every architecture Linux shows it for.
    const TICKS_PER_SECOND: f64 = 100.0;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(first)? + ticks(first + 1)?) / TICKS_PER_SECOND)
}

/// A line on what the figures were measured on.
#[must_use]
pub fn this_machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} cores, {model}; load before: {load}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(peak_rss_mib(status), Some(20.0));
        assert_eq!(peak_rss_mib("Name:\tx\n"), None);
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 1";
        assert_eq!(cpu_secs(stat), Some(2.0));
        assert_eq!(cpu_secs(""), None);
    }

    #[test]
    fn of_this_process() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_mib > 0.1, "{usage:?}");
    }
}
