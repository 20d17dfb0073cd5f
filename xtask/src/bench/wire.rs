//! Two network namespaces with a wire between them, and servers in one of them
//! whose time on a processor is counted with that of all their children.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::usage::Usage;
use crate::packages::Package;
use crate::run::{output, run};

/// The server's address.
pub const SERVER: &str = "10.99.0.1";
/// The client's address.
pub const CLIENT: &str = "10.99.0.2";

/// What the wire, and a look through it, need.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "curl",
        program: "curl",
    },
    Package {
        name: "iproute2",
        program: "ip",
    },
    Package {
        name: "util-linux",
        program: "nsenter",
    },
];

/// Two namespaces; they go away with it.
pub struct Wire {
    server: String,
    client: String,
}

impl Wire {
    /// Makes the namespaces and the wire.
    ///
    /// # Errors
    /// When we are not root, or `ip` fails.
    pub fn new() -> Result<Self> {
        let id = std::process::id();
        let wire = Self {
            server: format!("mf-bench-s{id}"),
            client: format!("mf-bench-c{id}"),
        };
        let ip = |words: &[&str]| run(Command::new("ip").args(words));
        for name in [&wire.server, &wire.client] {
            ip(&["netns", "add", name]).context("network namespaces need root")?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let (server, client) = (&*wire.server, &*wire.client);
        ip(&[
            "-n", server, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
            client,
        ])?;
        for (name, address) in [(server, SERVER), (client, CLIENT)] {
            let address = format!("{address}/16");
            ip(&["-n", name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(wire)
    }

    /// A command that runs on the client's side.
    #[must_use]
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        within(&self.client, program)
    }

    /// A command that runs on the server's side.
    #[must_use]
    pub fn server(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        within(&self.server, program)
    }

    /// Datagrams that sockets had no room for, on the client's and the server's
    /// side.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn dropped_datagrams(&self) -> Result<(u64, u64)> {
        let of = |command: &mut Command| dropped(&output(command.arg("/proc/net/snmp"))?);
        Ok((of(&mut self.client("cat"))?, of(&mut self.server("cat"))?))
    }

    /// Starts a server and waits until `answers` says so.
    ///
    /// # Errors
    /// When it ends at once or does not answer.
    pub fn serve(
        &self,
        name: &'static str,
        program: &str,
        arguments: &[String],
        answers: impl Fn() -> bool,
    ) -> Result<Server> {
        let group = cgroup_root().join(format!("mf-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
        let log = std::env::temp_dir().join(format!("mf-bench-{name}.log"));
        let file = fs::File::create(&log)?;
        let mut command = within(&self.server, "sh");
        command
            .args(["-c", "echo $$ > \"$0\"/cgroup.procs; exec \"$@\""])
            .arg(&group)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut server = Server { name, child, group };
        let begun = Instant::now();
        while !answers() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > Duration::from_secs(20) {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} does not serve: {said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            // It may never have been made.
            let _ = output(Command::new("ip").args(["netns", "delete", name]));
        }
    }
}

/// `RcvbufErrors` of UDP: a line of names is followed by one of values.
fn dropped(snmp: &str) -> Result<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let names = lines.next().context("no UDP in /proc/net/snmp")?;
    let values = lines.next().context("no values in /proc/net/snmp")?;
    names
        .split(' ')
        .zip(values.split(' '))
        .find(|(name, _)| *name == "RcvbufErrors")
        .and_then(|(_, value)| value.parse().ok())
        .context("/proc/net/snmp has no RcvbufErrors")
}

fn within(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    // `ip netns exec` would hide the control groups behind another /sys.
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(program);
    command
}

/// Where control groups of version 2 are, which count a group's time whether
/// its processes live or not.
fn cgroup_root() -> PathBuf {
    let plain = PathBuf::from("/sys/fs/cgroup");
    if plain.join("cgroup.controllers").exists() {
        return plain;
    }
    plain.join("unified")
}

/// A running server with all its children.
pub struct Server {
    /// What it is called.
    pub name: &'static str,
    child: Child,
    group: PathBuf,
}

impl Server {
    /// Seconds on a processor until now, of all its processes, also of those
    /// that have ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu_secs(&self) -> Result<f64> {
        let text = fs::read_to_string(self.group.join("cpu.stat"))?;
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .context("cpu.stat has no usage_usec")?;
        Ok(micros.trim().parse::<f64>()? / 1e6)
    }

    /// Resident memory of all its processes now, in MiB.
    #[must_use]
    pub fn rss_mib(&self) -> f64 {
        let pids = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        let pages: f64 = pids
            .lines()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/statm")).ok())
            .filter_map(|statm| statm.split_whitespace().nth(1)?.parse::<f64>().ok())
            .sum();
        pages * 4096.0 / f64::from(1 << 20)
    }

    /// The most memory that its first process ever held, in MiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_rss_mib(&self) -> Result<f64> {
        Ok(Usage::of(self.child.id())?.peak_rss_mib)
    }

    fn kill(&self) {
        let Ok(pids) = fs::read_to_string(self.group.join("cgroup.procs")) else {
            return;
        };
        for pid in pids.lines() {
            // One that has ended meanwhile is what we want.
            let _ = Command::new("kill")
                .args(["-9", pid])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        for _ in 0..50 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            self.kill();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_had_no_room_for() {
        let snmp = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams RcvbufErrors SndbufErrors\n\
                    Udp: 900 7 1\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 3\n";
        assert_eq!(dropped(snmp).unwrap(), 7);
        assert!(dropped("Ip: Forwarding\n").is_err());
    }
}
