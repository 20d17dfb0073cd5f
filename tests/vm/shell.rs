//! A root shell on a booted machine, over SSH.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moonfarm_tests::lab::process::{output, run};
use moonfarm_tests::lab::{LabError, Namespace};
use moonfarm_tests::wait::until;

/// A key, and the host keys that were met.
pub struct Shell {
    folder: PathBuf,
    namespace: String,
}

impl Shell {
    /// Makes a key in `folder`.
    pub fn new(folder: &Path) -> Self {
        let key = folder.join("key");
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"];
        let mut command = Command::new("ssh-keygen");
        command.args(arguments).arg(key);
        output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
        Self {
            folder: folder.to_owned(),
            namespace: String::new(),
        }
    }

    /// Says where the machines are.
    pub fn within(&mut self, namespace: &Namespace) {
        namespace.name().clone_into(&mut self.namespace);
    }

    /// The public key, as a profile has it.
    pub fn public_key(&self) -> String {
        let text = fs::read_to_string(self.folder.join("key.pub")).expect("a public key");
        text.trim().to_owned()
    }

    /// Runs `script`. The machine's host key is believed the first time and has
    /// to be the same ever after.
    pub fn run(&self, user: &str, at: Ipv4Addr, script: &str) -> Result<String, LabError> {
        let known = format!("UserKnownHostsFile={}", self.folder.join("known").display());
        let key = self.folder.join("key").display().to_string();
        let target = format!("{user}@{at}");
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "StrictHostKeyChecking=accept-new",
            "HashKnownHosts=no",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            &known,
        ];
        let mut words = vec![
            "netns",
            "exec",
            &self.namespace,
            "ssh",
            "-F",
            "none",
            "-i",
            &key,
        ];
        for option in &options {
            words.extend(["-o", option]);
        }
        words.extend([target.as_str(), "--", script]);
        run("ip", words)
    }

    /// Runs it as soon as the machine lets us in.
    pub fn wait_and_run(&self, at: Ipv4Addr, patience: Duration, script: &str) -> String {
        let mut last = String::new();
        let answer = until(patience, || {
            let answer = self.run("root", at, script);
            // Each attempt costs a process; a booting machine has better to do.
            answer
                .map_err(|error| {
                    last = error.chain();
                    std::thread::sleep(Duration::from_secs(1));
                })
                .ok()
        });
        answer.unwrap_or_else(|| panic!("no shell at {at}: {last}"))
    }

    /// The host keys that were met.
    pub fn known_hosts(&self) -> String {
        fs::read_to_string(self.folder.join("known")).unwrap_or_default()
    }
}
