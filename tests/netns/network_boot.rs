//! boot-server and clients that others wrote, each side in a namespace of its
//! own with a wire between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moonfarm_tests::lab::{Namespace, Process, ProcessSpec};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

const SERVER: &str = "10.78.0.1";
/// Of the declared client.
const MAC: &str = "02:00:00:00:78:01";
const RESERVED: &str = "10.78.0.50";
const MANIFESTS: &str = r"
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan}
spec:
  cidr: 10.78.0.0/24
  gateway: 10.78.0.1
  dns: [10.78.0.1]
  ranges: [{from: 10.78.0.100, to: 10.78.0.110}]
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: all}
spec: {catchAll: true, image: none}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: n1}
spec: {macs: ['02:00:00:00:78:01'], address: 10.78.0.50}
";
/// What udhcpc runs when it has a lease.
const BOUND: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
echo "$ip $subnet $router $dns $serverid" > "$LEASE"
ip address replace "$ip/24" dev "$interface"
"#;

/// A server and a client, joined by a wire.
struct Lan {
    folder: tempfile::TempDir,
    programs: PathBuf,
    server: Namespace,
    client: Namespace,
    process: Option<Process>,
}

impl Lan {
    /// `None`, with the reason printed, where there can be none.
    fn new() -> Option<Self> {
        if !needs::has_namespaces() {
            return None;
        }
        let programs = needs::folder("MOONFARM_PROGRAMS")?;
        let (server, client) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        server.add_bridge("br0", "10.78.0.1/24").unwrap();
        server
            .ip(&[
                "link",
                "add",
                "wire",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                client.name(),
            ])
            .unwrap();
        server
            .ip(&["link", "set", "wire", "master", "br0", "up"])
            .unwrap();
        client
            .ip(&["link", "set", "eth0", "address", MAC, "up"])
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        for sub in ["manifests", "state", "loaders"] {
            std::fs::create_dir(folder.path().join(sub)).unwrap();
        }
        std::fs::write(folder.path().join("manifests/farm.yaml"), MANIFESTS).unwrap();
        std::fs::write(folder.path().join("loaders/loader"), loader()).unwrap();
        let script = folder.path().join("bound");
        std::fs::write(&script, BOUND).unwrap();
        run(Command::new("chmod").arg("0755").arg(&script)).unwrap();
        let mut lan = Self {
            folder,
            programs,
            server,
            client,
            process: None,
        };
        lan.start();
        Some(lan)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let folder = |name: &str| self.path(name).into_os_string();
        let process = ProcessSpec::new(
            "boot-server",
            self.programs.join("boot-server"),
            self.folder.path(),
        )
        .args(["serve", "--manifests"])
        .args([
            folder("manifests"),
            "--state".into(),
            folder("state"),
            "--loaders".into(),
            folder("loaders"),
        ])
        .within(self.server.name());
        let mut process = process.spawn().unwrap();
        let answers = until(Duration::from_secs(30), || {
            process
                .check()
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            self.server
                .command("curl")
                .args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/boot.ipxe"])
                .status()
                .ok()?
                .success()
                .then_some(())
        });
        assert!(
            answers.is_some(),
            "boot-server does not answer: {}",
            process.log_tail(20)
        );
        self.process = Some(process);
    }

    /// Address, netmask, router, DNS and server that udhcpc is given.
    fn udhcpc(&self) -> String {
        let lease = self.path("lease");
        let _ = std::fs::remove_file(&lease);
        let mut client = self.client.command("udhcpc");
        client
            .args(["-i", "eth0", "-n", "-q", "-f", "-t", "5", "-s"])
            .arg(self.path("bound"))
            .env("LEASE", &lease);
        run(&mut client).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        std::fs::read_to_string(&lease).unwrap().trim().to_owned()
    }

    fn log(&self) -> String {
        self.process
            .as_ref()
            .map(|process| process.log_tail(30))
            .unwrap_or_default()
    }

    /// Runs a TFTP client that writes the file to `received`.
    fn fetch(&self, program: &str, arguments: &[&str]) {
        if let Some(reason) = missing(program) {
            println!("SKIPPED: {reason}");
            return;
        }
        let received = self.path("received");
        let _ = std::fs::remove_file(&received);
        let mut client = self.client.command(program);
        client.args(arguments).current_dir(self.folder.path());
        run(&mut client).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let content = std::fs::read(&received).unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            content == loader(),
            "{program} {arguments:?}: {} bytes",
            content.len()
        );
    }
}

/// More than 65535 blocks of 8 bytes would be slow; some hundred odd blocks do.
fn loader() -> Vec<u8> {
    (0..300_001_u32).map(|at| (at % 253) as u8).collect()
}

fn missing(program: &str) -> Option<String> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder: PathBuf| Path::new(&folder).join(program).exists())
    });
    (!found).then(|| format!("{program} is not installed"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = || {
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}\n{}", output.status, text()))
    }
}

#[test]
fn udhcpc_gets_its_lease_and_keeps_it_over_a_kill() {
    if !needs::is_met(missing("udhcpc").or_else(|| missing("curl"))) {
        return;
    }
    let Some(mut lan) = Lan::new() else { return };
    let all = |address: &str| format!("{address} 255.255.255.0 {SERVER} {SERVER} {SERVER}");
    assert_eq!(lan.udhcpc(), all(RESERVED));
    // Nobody declared this one.
    lan.client
        .ip(&["link", "set", "eth0", "address", "02:00:00:00:78:09"])
        .unwrap();
    assert_eq!(lan.udhcpc(), all("10.78.0.100"));
    // Killed, not stopped.
    drop(lan.process.take());
    lan.start();
    lan.client
        .ip(&["link", "set", "eth0", "address", "02:00:00:00:78:0a"])
        .unwrap();
    assert_eq!(
        lan.udhcpc(),
        all("10.78.0.101"),
        "the lease before the kill is remembered"
    );
    lan.client
        .ip(&["link", "set", "eth0", "address", "02:00:00:00:78:09"])
        .unwrap();
    assert_eq!(lan.udhcpc(), all("10.78.0.100"));
}

#[test]
fn tftp_clients_get_the_file() {
    if !needs::is_met(missing("curl")) {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    lan.client
        .ip(&["address", "add", "10.78.0.9/24", "dev", "eth0"])
        .unwrap();
    lan.fetch(
        "tftp",
        &["-m", "binary", SERVER, "-c", "get", "loader", "received"],
    );
    lan.fetch("atftp", &["-g", "-r", "/loader", "-l", "received", SERVER]);
    lan.fetch(
        "atftp",
        &[
            "--option",
            "blksize 1468",
            "--option",
            "windowsize 16",
            "--option",
            "tsize 0",
            "-g",
            "-r",
            "loader",
            "-l",
            "received",
            SERVER,
        ],
    );
    lan.fetch(
        "curl",
        &["-sS", "-o", "received", "tftp://10.78.0.1/loader"],
    );
    lan.fetch(
        "curl",
        &[
            "-sS",
            "--tftp-blksize",
            "1024",
            "-o",
            "received",
            "tftp://10.78.0.1//loader",
        ],
    );
    lan.fetch(
        "busybox",
        &[
            "tftp", "-g", "-r", "loader", "-l", "received", "-b", "1468", SERVER,
        ],
    );
    let mut outside = lan.client.command("curl");
    outside
        .args(["-sS", "--path-as-is", "-o"])
        .arg(lan.path("outside"))
        .arg("tftp://10.78.0.1/../manifests/farm.yaml");
    assert!(
        run(&mut outside).is_err(),
        "what lies outside the folder is not sent"
    );
}
