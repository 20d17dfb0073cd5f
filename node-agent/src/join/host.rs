//! [`Host`] over the booted system.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use boot_proto::boot_config::{BootConfig, JoinToken};
use boot_proto::ids::MacAddr;
use boot_proto::report::{BootReport, Phase, PhaseTime, Progress, VERSION};
use boot_proto::time::Monotonic;

use super::attempt::{Host, TokenRefusal};
use super::outcome::{Outcome, classify};
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
/// Where kubeadm writes the token for the kubelet.
const BOOTSTRAP_KUBECONFIG: &str = "etc/kubernetes/bootstrap-kubelet.conf";
/// What an unfinished join leaves behind and kubeadm would not write over.
const LEFTOVERS: &[&str] = &[
    BOOTSTRAP_KUBECONFIG,
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/pki/ca.crt",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/instance-config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
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
/// Bytes of kubeadm's output that are kept.
const OUTPUT_LIMIT: usize = 64 << 10;

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

    fn run_kubeadm(&self, configuration: &str, secret: &str) -> io::Result<Outcome> {
        let file = SecretFile::write(self.paths.run("kubeadm-join.yaml"), configuration)?;
        let _in_memory = BootstrapInMemory::prepare(&self.paths)?;
        let mut child = Command::new("kubeadm")
            .arg("join")
            .arg("--config")
            .arg(&file.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, output) = channel();
        let readers = [
            child
                .stdout
                .take()
                .map(|stream| read_lines(stream, lines.clone())),
            child.stderr.take().map(|stream| read_lines(stream, lines)),
        ];
        let mut text = String::new();
        for line in output {
            let line = without_token(&line, secret);
            self.log.info(&format!("kubeadm: {line}"));
            if text.len() < OUTPUT_LIMIT {
                text.push_str(&line);
                text.push('\n');
            }
        }
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        let status = child.wait()?;
        Ok(classify(status.success(), &text))
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
        match self.run_kubeadm(configuration, secret) {
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

/// A file that only root can read and that is gone when this value is.
struct SecretFile(PathBuf);

impl SecretFile {
    fn write(path: PathBuf, text: &str) -> io::Result<Self> {
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let this = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(this)
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = fs::remove_file::<&Path>(&self.0);
    }
}

/// The kubeconfig with the token, which kubeadm writes for the kubelet's first
/// request, is in `/run` and nowhere else: `/etc` can be on a local disk, where what
/// is deleted stays readable.
///
/// kubeadm and the kubelet follow the link: client-go writes the file in place
/// (`clientcmd.WriteToFile`), with mode 0600, and kubeadm's preflight takes a link
/// to nothing as no file. kubeadm then removes the link only, so both go when this
/// value does.
struct BootstrapInMemory {
    link: PathBuf,
    target: PathBuf,
}

impl BootstrapInMemory {
    fn prepare(paths: &Paths) -> io::Result<Self> {
        let this = Self {
            link: paths.at(BOOTSTRAP_KUBECONFIG),
            target: paths.run("bootstrap-kubelet.conf"),
        };
        this.remove();
        if let Some(folder) = this.link.parent() {
            fs::create_dir_all(folder)?;
        }
        symlink(&this.target, &this.link)?;
        Ok(this)
    }

    fn remove(&self) {
        for path in [&self.link, &self.target] {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for BootstrapInMemory {
    fn drop(&mut self) {
        self.remove();
    }
}

/// kubeadm does not print the token; a later version's debug line shall not either,
/// nor the half of it that is secret.
fn without_token(line: &str, token: &str) -> String {
    let line = line.replace(token, "[token]");
    match token.split_once('.') {
        Some((_, secret)) if !secret.is_empty() => line.replace(secret, "[token]"),
        _ => line,
    }
}

fn read_lines(stream: impl Read + Send + 'static, lines: Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(line).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_configuration_is_private_and_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("join.yaml");
        fs::write(&path, "left over").unwrap();
        let file = SecretFile::write(path.clone(), "token").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "token");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        drop(file);
        assert!(!path.exists());
    }

    /// As kubeadm does it: looks whether the file is there, writes it, removes it.
    #[test]
    fn the_bootstrap_kubeconfig_is_written_to_memory_alone() {
        let base = tempfile::tempdir().unwrap();
        let paths = Paths::below(base.path());
        let link = paths.at(BOOTSTRAP_KUBECONFIG);
        let target = paths.run("bootstrap-kubelet.conf");
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        for (kubeadm_removes_it, is_left_over) in [(true, false), (false, true)] {
            if is_left_over {
                fs::write(&link, "an earlier attempt's").unwrap();
                fs::write(&target, "an earlier attempt's").unwrap();
            }
            let in_memory = BootstrapInMemory::prepare(&paths).unwrap();
            assert!(!link.exists(), "preflight finds a file");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&link).unwrap().write_all(b"token").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&link).unwrap(), "token");
            let mode = fs::metadata(&target).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            if kubeadm_removes_it {
                fs::remove_file(&link).unwrap();
            }
            drop(in_memory);
            assert!(fs::symlink_metadata(&link).is_err());
            assert!(!target.exists());
        }
    }

    #[test]
    fn no_part_of_the_token_that_is_secret_is_told() {
        let token = "abcdef.0123456789abcdef";
        for (line, expected) in [
            ("joins with abcdef.0123456789abcdef.", "joins with [token]."),
            ("secret=0123456789abcdef", "secret=[token]"),
            ("for token ID \"abcdef\"", "for token ID \"abcdef\""),
        ] {
            assert_eq!(without_token(line, token), expected);
        }
        assert_eq!(without_token("as it is", "nodot."), "as it is");
    }

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
