//! [`Host`] over the booted system.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use boot_proto::boot_config::{BootConfig, JoinToken};
use boot_proto::ids::MacAddr;
use boot_proto::report::{BootReport, Phase, PhaseTime, Progress, VERSION};
use boot_proto::time::Monotonic;

use super::attempt::{Host, TokenRefusal};
use super::kubeadm_run;
use super::outcome::Outcome;
use crate::clock::{Clock as _, SystemClock};
use crate::http::{self, Client};
use crate::kernel::Kernel as _;
use crate::kernel::linux::Linux;
use crate::log::{Log, chain};
use crate::paths::Paths;
use crate::reporter::{ReportSink as _, Reporter};
use crate::tls::PinnedCa;

/// Sockets of the container runtimes that a kubelet can use.
const RUNTIMES: &[&str] = &["run/containerd/containerd.sock", "run/crio/crio.sock"];
/// What an unfinished join leaves behind and kubeadm would not write over.
const LEFTOVERS: &[&str] = &[
    "etc/kubernetes/bootstrap-kubelet.conf",
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/pki/ca.crt",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/instance-config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    // Files with a token, of a join that was killed.
    "run/moonfarm/bootstrap-kubelet.conf",
    "run/moonfarm/kubeadm-join.yaml",
    // Which containers had which processors and memory. None runs any more, and a
    // kubelet with another policy does not start beside it.
    "var/lib/kubelet/cpu_manager_state",
    "var/lib/kubelet/memory_manager_state",
];
/// The certificate of a join that got as far.
const KUBELET_PKI: &str = "var/lib/kubelet/pki";
/// The kubelet's own word on its health, on the loopback only.
const HEALTH: &str = "http://127.0.0.1:10248/healthz";
/// Time limits: minting a token talks to the API server.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);
/// The last report is what ends the boot in boot-server's books.
const LAST_REPORT: Duration = Duration::from_secs(10);
/// The booted machine.
#[derive(Debug)]
pub struct RealHost {
    paths: Paths,
    server: String,
    mac: MacAddr,
    client: Client,
    reporter: Reporter,
    log: Log,
}

impl RealHost {
    /// The machine that `config` is for.
    #[must_use]
    pub fn new(config: &BootConfig, ca: Option<&PinnedCa>, paths: &Paths, log: Log) -> Self {
        Self {
            paths: paths.clone(),
            server: config.server.clone(),
            // The initramfs puts the NIC it used first.
            mac: config.macs.first().copied().unwrap_or(MacAddr::new([0; 6])),
            client: Client::new(CONNECT, ANSWER, ca),
            reporter: Reporter::start(&config.server, ca, log.clone()),
            log,
        }
    }
}

impl Host for RealHost {
    fn runtime_socket(&mut self) -> Option<String> {
        let sockets = RUNTIMES.iter().map(|path| self.paths.at(path));
        let answering = sockets
            .into_iter()
            .find(|path| UnixStream::connect(path).is_ok())?;
        Some(answering.display().to_string())
    }

    fn has_joined(&mut self) -> bool {
        self.paths.at("etc/kubernetes/kubelet.conf").exists() && self.kubelet_is_healthy()
    }

    fn token(&mut self) -> Result<JoinToken, TokenRefusal> {
        let url = http::machine_url(&self.server, "join-token", self.mac);
        let answer = self.client.post(&url, "{}");
        let text = answer.map_err(|error| TokenRefusal {
            reason: chain(&error),
            retry_after: error.retry_after(),
        })?;
        // The parser's message could quote the token.
        serde_json::from_str(&text).map_err(|_| TokenRefusal {
            reason: "boot-server's answer cannot be read".to_owned(),
            retry_after: None,
        })
    }

    fn set_clock(&mut self, unix_ms: u64) {
        if let Err(error) = Linux.set_clock(unix_ms) {
            self.log.warn(&chain(&error));
        }
    }

    fn kubeadm(&mut self, configuration: &str, secret: &str) -> Outcome {
        match kubeadm_run::join(&self.paths, configuration, secret, &self.log) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("it cannot be run: {error}")),
        }
    }

    fn clean(&mut self) {
        // Without its files the kubelet would only fail and be started again.
        let _ = Command::new("systemctl")
            .args(["stop", "kubelet.service"])
            .status();
        remove_leftovers(&self.paths);
    }

    fn kubelet_is_healthy(&mut self) -> bool {
        Client::new(CONNECT, CONNECT, None).get(HEALTH).is_ok()
    }

    fn report(&mut self, progress: Progress, message: &str, begin: Monotonic) {
        let now = SystemClock.now();
        let elapsed_ms = millis(now.since(begin));
        let is_done = progress == Progress::Done;
        let time = PhaseTime {
            phase: Phase::Join,
            started_ms: millis(begin.0),
            elapsed_ms,
        };
        let failed = progress == Progress::Failed;
        let log = if failed {
            self.log.tail()
        } else {
            String::new()
        };
        self.reporter.send(BootReport {
            version: VERSION,
            mac: self.mac,
            phase: Phase::Join,
            progress,
            percent: None,
            uptime_ms: millis(now.0),
            elapsed_ms,
            message: message.to_owned(),
            log,
            facts: None,
            phases: is_done.then_some(time).into_iter().collect(),
        });
        if is_done {
            self.reporter.finish(LAST_REPORT);
        }
    }
}

fn remove_leftovers(paths: &Paths) {
    for path in LEFTOVERS {
        let _ = fs::remove_file(paths.at(path));
    }
    let _ = fs::remove_dir_all(paths.at(KUBELET_PKI));
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that nobody listens at is one of a runtime that is not running.
    #[test]
    fn the_runtime_that_answers_is_the_one_that_is_joined_with() {
        let base = tempfile::tempdir().unwrap();
        let config = crate::configure::tests::config();
        let mut host = RealHost::new(&config, None, &Paths::below(base.path()), Log::new());
        let listen = |path: &str| {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::net::UnixListener::bind(path).unwrap()
        };
        drop(listen("run/containerd/containerd.sock"));
        let _crio = listen("run/crio/crio.sock");
        let socket = host.runtime_socket().unwrap();
        assert!(socket.ends_with("/run/crio/crio.sock"), "{socket}");
        let join = config.join.as_ref().unwrap();
        let token = JoinToken {
            token: "abcdef.0123456789abcdef".to_owned(),
            expires_in_secs: 600,
            server_time_ms: 0,
        };
        let text = crate::join::kubeadm::join_configuration(&config, join, &token, &socket);
        assert!(text.contains(&format!("unix://{socket}")), "{text}");
    }

    #[test]
    fn leftovers_of_a_join_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let config = crate::configure::tests::config();
        let mut host = RealHost::new(&config, None, &Paths::below(base.path()), Log::new());
        let kubeconfig = base.path().join("etc/kubernetes/kubelet.conf");
        let certificate = base.path().join("var/lib/kubelet/pki/kubelet.crt");
        for file in [&kubeconfig, &certificate] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        remove_leftovers(&host.paths);
        assert!(!kubeconfig.exists() && !certificate.exists());
        assert_eq!(host.runtime_socket(), None);
    }
}
