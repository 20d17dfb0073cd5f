//! One run of `kubeadm join`: the files with the token, its output, its end.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::outcome::{Outcome, classify, kubelets_reason};
use crate::clock::{Clock as _, SystemClock};
use crate::log::Log;
use crate::paths::{Paths, create_secret};

/// Where kubeadm writes the token for the kubelet.
const BOOTSTRAP_KUBECONFIG: &str = "etc/kubernetes/bootstrap-kubelet.conf";
/// Bytes of kubeadm's output that are kept.
const OUTPUT_LIMIT: usize = 64 << 10;
/// How long a run may take. kubeadm itself gives up after one minute of discovery,
/// four for the kubelet and five for its certificate; what else it does it does at
/// once, or hangs.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Joins with this configuration; `token` is kept out of the log and off the disks.
///
/// # Errors
/// When the files cannot be written or there is no kubeadm.
pub(super) fn join(
    paths: &Paths,
    configuration: &str,
    token: &str,
    log: &Log,
) -> io::Result<Outcome> {
    let file = SecretFile::write(paths.run("kubeadm-join.yaml"), configuration)?;
    let _in_memory = BootstrapInMemory::prepare(paths)?;
    let mut command = Command::new("kubeadm");
    command.arg("join").arg("--config").arg(&file.0);
    let outcome = run(command, token, LIMIT, log)?;
    let Outcome::KubeletFailed(reason) = outcome else {
        return Ok(outcome);
    };
    let journal = without_token(&kubelets_journal(), token);
    let reason = kubelets_reason(&journal).unwrap_or(reason);
    Ok(Outcome::KubeletFailed(reason))
}

fn run(mut command: Command, token: &str, limit: Duration, log: &Log) -> io::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it started ends with it.
        .process_group(0)
        .spawn()?;
    let (lines, output) = channel();
    if let Some(stream) = child.stdout.take() {
        read_lines(stream, lines.clone());
    }
    if let Some(stream) = child.stderr.take() {
        read_lines(stream, lines);
    }
    let (text, is_done) = collect(&output, token, limit, log);
    if !is_done {
        end(&mut child)?;
        let secs = limit.as_secs();
        return Ok(Outcome::Failed(format!("not done after {secs} s")));
    }
    let status = child.wait()?;
    Ok(classify(status.success(), &text))
}

/// What it said, and whether it ended within the limit.
fn collect(output: &Receiver<String>, token: &str, limit: Duration, log: &Log) -> (String, bool) {
    let mut text = String::new();
    let end = SystemClock.now().after(limit);
    loop {
        let line = match output.recv_timeout(end.since(SystemClock.now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return (text, true),
            Err(RecvTimeoutError::Timeout) => return (text, false),
        };
        let line = without_token(&line, token);
        log.info(&format!("kubeadm: {line}"));
        if text.len() < OUTPUT_LIMIT {
            text.push_str(&line);
            text.push('\n');
        }
    }
}

fn end(child: &mut Child) -> io::Result<()> {
    let group = i32::try_from(child.id()).map_err(io::Error::other)?;
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    child.wait().map(drop)
}

/// The last lines of the kubelet's log, as far as there is one.
fn kubelets_journal() -> String {
    let arguments = ["--unit=kubelet", "--boot", "--no-pager", "--output=cat"];
    let output = Command::new("journalctl")
        .args(arguments)
        .arg("--lines=100")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// A file that only root can read and that is gone when this value is.
struct SecretFile(PathBuf);

impl SecretFile {
    fn write(path: PathBuf, text: &str) -> io::Result<Self> {
        let mut file = create_secret(&path)?;
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

/// Ends with the stream.
fn read_lines(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn run_shell(script: &str, limit: Duration, log: &Log) -> Outcome {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        run(command, TOKEN, limit, log).unwrap()
    }

    #[test]
    fn what_it_says_is_told_without_the_token() {
        let log = Log::new();
        let script = "echo uses abcdef.0123456789abcdef; echo error: swap is on >&2; exit 1";
        let outcome = run_shell(script, LIMIT, &log);
        assert_eq!(outcome, Outcome::Failed("swap is on".to_owned()));
        assert!(
            log.tail().contains("kubeadm: uses [token]"),
            "{}",
            log.tail()
        );
        assert_eq!(run_shell("exit 0", LIMIT, &log), Outcome::Joined);
    }

    /// It, and what it started, which holds its output open.
    #[test]
    fn a_run_that_hangs_is_ended() {
        let outcome = run_shell("sleep 600 & wait", Duration::from_millis(50), &Log::new());
        assert_eq!(outcome, Outcome::Failed("not done after 0 s".to_owned()));
    }

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
        for (line, expected) in [
            ("joins with abcdef.0123456789abcdef.", "joins with [token]."),
            ("secret=0123456789abcdef", "secret=[token]"),
            ("for token ID \"abcdef\"", "for token ID \"abcdef\""),
        ] {
            assert_eq!(without_token(line, TOKEN), expected);
        }
        assert_eq!(without_token("as it is", "nodot."), "as it is");
    }
}
