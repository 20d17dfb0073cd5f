//! The servers, each as it is meant to run: one pool, leases on disk, no probe
//! of addresses, no log line for each lease where that can be said.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::lan::{CIDR, Lan, RANGE, WIRE};
use super::perf::{self, Step};

/// How long a server may take until it gives a lease: ISC dhcpd takes a while to
/// lay a large pool out.
const PATIENCE: Duration = Duration::from_secs(60);

/// A DHCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// boot-server: leases synced before the ACK.
    #[value(name = "boot-server")]
    Ours,
    /// Kea with its memfile, persistent, not synced.
    Kea,
    /// ISC dhcpd.
    IscDhcpd,
    /// dnsmasq.
    Dnsmasq,
}

impl Server {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "boot-server",
            Self::Kea => "kea",
            Self::IscDhcpd => "isc-dhcpd",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    fn command(self, lan: &Lan, programs: &Path) -> Result<Command> {
        match self {
            Self::Ours => boot_server(lan, programs),
            Self::Kea => kea(lan),
            Self::IscDhcpd => isc(lan),
            Self::Dnsmasq => Ok(dnsmasq(lan)),
        }
    }
}

/// A server that runs; killed when dropped.
pub struct Running {
    process: Child,
}

impl Running {
    /// Starts it and waits until it gives a lease.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(server: Server, lan: &Lan, programs: &Path) -> Result<Self> {
        let log = lan.file("log");
        let mut command = server.command(lan, programs)?;
        let file = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", server.name()))?;
        let mut running = Self { process };
        let began = Instant::now();
        while !perf::answers(lan) {
            if running.process.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{} gives no lease: {log}", server.name());
            }
        }
        Ok(running)
    }

    /// Runs one step against it.
    ///
    /// # Errors
    /// When that cannot be measured.
    pub fn measure(&self, lan: &Lan, rate: f64, secs: u32) -> Result<Step> {
        perf::measure(lan, self.process.id(), rate, secs)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn boot_server(lan: &Lan, programs: &Path) -> Result<Command> {
    let (from, to) = RANGE;
    let manifests = lan.file("manifests");
    std::fs::create_dir_all(&manifests)?;
    std::fs::write(
        manifests.join("farm.yaml"),
        format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {{name: lan}}\nspec:\n  \
             cidr: {CIDR}\n  ranges: [{{from: {from}, to: {to}}}]\n  probe: false\n  \
             strangers: {{burst: 1000000, perMinute: 1000000}}\n---\n\
             apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {{name: all}}\n\
             spec: {{catchAll: true, image: none}}\n"
        ),
    )?;
    let mut command = lan.server(programs.join("boot-server"));
    command
        .args(["serve", "--no-tftp", "--manifests"])
        .arg(manifests);
    command.arg("--state").arg(lan.file("state"));
    Ok(command)
}

fn kea(lan: &Lan) -> Result<Command> {
    let (from, to) = RANGE;
    let config = serde_json::json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": [WIRE], "dhcp-socket-type": "udp" },
        "lease-database": { "type": "memfile", "persist": true, "name": lan.file("kea.csv") },
        "valid-lifetime": 43_200,
        "subnet4": [{ "subnet": CIDR, "pools": [{ "pool": format!("{from} - {to}") }] }],
        "loggers": [{ "name": "kea-dhcp4", "severity": "WARN",
            "output_options": [{ "output": "stdout" }] }],
    }});
    let path = lan.file("kea.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = lan.server("kea-dhcp4");
    command.arg("-c").arg(path);
    command
        .env("KEA_PIDFILE_DIR", lan.file(""))
        .env("KEA_LOCKFILE_DIR", lan.file(""));
    Ok(command)
}

/// With a range of 65,000 addresses: of three times as many it gives less than ten
/// leases a second, at 0.2 s of a processor each.
fn isc(lan: &Lan) -> Result<Command> {
    let (from, to) = (RANGE.0, "10.33.255.250");
    let path = lan.file("dhcpd.conf");
    std::fs::write(
        &path,
        format!(
            "authoritative;\nping-check false;\ndefault-lease-time 43200;\n\
             subnet 10.32.0.0 netmask 255.252.0.0 {{ range {from} {to}; }}\n"
        ),
    )?;
    std::fs::write(lan.file("dhcpd.leases"), "")?;
    let mut command = lan.server("dhcpd");
    command.args(["-4", "-f", "-q", "-cf"]).arg(path);
    command.arg("-lf").arg(lan.file("dhcpd.leases"));
    command.arg("-pf").arg(lan.file("dhcpd.pid")).arg(WIRE);
    Ok(command)
}

fn dnsmasq(lan: &Lan) -> Command {
    let (from, to) = RANGE;
    let mut command = lan.server("dnsmasq");
    command.args([
        "-k",
        "-C",
        "/dev/null",
        "-p",
        "0",
        "--user=root",
        "--no-ping",
        "--quiet-dhcp",
    ]);
    command.args([
        "--dhcp-authoritative",
        "--dhcp-lease-max=1000000",
        "--log-facility=-",
    ]);
    command.arg(format!("--interface={WIRE}"));
    command.arg(format!("--dhcp-range={from},{to},255.252.0.0,12h"));
    command.arg(format!(
        "--dhcp-leasefile={}",
        lan.file("dnsmasq.leases").display()
    ));
    command
}
