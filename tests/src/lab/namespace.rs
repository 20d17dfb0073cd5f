//! A network namespace with bridges and taps, removed with all in it when it
//! is dropped.
//!
//! Its name, `mf-PID-COUNT`, tells whose it is: one whose process is gone was
//! left by a lab that could not clean up, and the next lab removes it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::LabError;
use super::process::run;
use crate::wait::until;

const PREFIX: &str = "mf-";
/// How long the processes of a namespace may take to be gone once killed.
const EMPTYING: Duration = Duration::from_secs(10);

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up, after removing what dead labs left.
    ///
    /// # Errors
    /// When `ip` is missing or may not make one (that needs root).
    pub fn create() -> Result<Self, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers()?;
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        // One of this name is of an earlier process with our number.
        if existing()?.contains(&name) {
            remove(&name)?;
        }
        run("ip", ["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns exec` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with `arguments` inside.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, LabError> {
        run("ip", ["-netns", &self.name].iter().chain(arguments))
    }

    /// Adds a bridge with an address, such as `10.77.0.1/24`. It forwards at
    /// once: a bridge that listens first would eat the firmware's DISCOVER.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_bridge(&self, bridge: &str, address: &str) -> Result<(), LabError> {
        self.ip(&[
            "link",
            "add",
            bridge,
            "type",
            "bridge",
            "forward_delay",
            "0",
            "stp_state",
            "0",
        ])?;
        self.ip(&["address", "add", address, "dev", bridge])?;
        self.ip(&["link", "set", bridge, "up"]).map(drop)
    }

    /// Adds a tap to a bridge. It stays when the machine on it is powered off,
    /// as a switch port does.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_tap(&self, tap: &str, bridge: &str) -> Result<(), LabError> {
        self.ip(&["tuntap", "add", "dev", tap, "mode", "tap"])?;
        self.ip(&["link", "set", tap, "master", bridge])?;
        self.ip(&["link", "set", tap, "up"]).map(drop)
    }

    /// Wires another namespace to a bridge, as a host is wired to a switch: the
    /// port here is `port`, the other end `eth0` there. Both are up.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_host(&self, other: &Self, port: &str, bridge: &str) -> Result<(), LabError> {
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &other.name];
        self.ip(&[&["link", "add", port][..], &peer].concat())?;
        self.ip(&["link", "set", port, "master", bridge, "up"])?;
        other.ip(&["link", "set", "eth0", "up"]).map(drop)
    }

    /// A TCP socket that listens inside, for a server that runs in our process:
    /// a socket belongs to the namespace it was made in, whoever uses it.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the address is not its own.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener, LabError> {
        let path = Path::new("/run/netns").join(&self.name);
        let file = File::open(&path).map_err(LabError::file("opening", &path))?;
        // Entering is for the thread that does it, so that thread is no one else's.
        let thread = std::thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            TcpListener::bind(address)
        });
        let listener = thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        listener.map_err(|error| {
            LabError::Other(format!("listening at {address} in {}: {error}", self.name))
        })
    }

    /// A command that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            tracing::warn!(namespace = self.name, error = error.chain(), "not removed");
        }
    }
}

/// Removes the namespaces of labs that are gone.
///
/// # Errors
/// When `ip` fails.
pub fn remove_leftovers() -> Result<(), LabError> {
    let lives = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
    for name in leftovers(&existing()?, lives) {
        tracing::info!(namespace = name, "removing what a lab left that is gone");
        // Another lab may be at the same; then it is gone, which is all we want.
        if let Err(error) = remove(&name)
            && existing()?.contains(&name)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// The names of which the process in the name does not live.
fn leftovers(names: &[String], lives: impl Fn(u32) -> bool) -> Vec<String> {
    let owner = |name: &str| -> Option<u32> {
        let (pid, count) = name.strip_prefix(PREFIX)?.split_once('-')?;
        count.parse::<u32>().ok()?;
        pid.parse().ok()
    };
    names
        .iter()
        .filter(|name| owner(name).is_some_and(|pid| !lives(pid)))
        .cloned()
        .collect()
}

fn existing() -> Result<Vec<String>, LabError> {
    let list = run("ip", ["netns", "list"])?;
    Ok(list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Kills what runs inside, then removes the namespace; with a process inside it
/// would live on without a name.
fn remove(name: &str) -> Result<(), LabError> {
    let emptied = until(EMPTYING, || {
        let pids = run("ip", ["netns", "pids", name]).unwrap_or_default();
        let pids: Vec<&str> = pids.split_whitespace().collect();
        if pids.is_empty() {
            return Some(());
        }
        // A process may be gone by now; the next look tells.
        let _ = run("kill", ["-9"].iter().chain(&pids));
        None
    });
    if emptied.is_none() {
        tracing::warn!(namespace = name, "processes inside do not die");
    }
    run("ip", ["netns", "delete", name]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_labs_are_leftovers() {
        let names = [
            "mf-100-0",
            "mf-100-12",
            "mf-200-0",
            "mf-x-0",
            "mf-100",
            "mf-100-",
            "other",
            "mf--1",
        ];
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            leftovers(&names, |pid| pid == 200),
            ["mf-100-0", "mf-100-12"]
        );
        assert!(leftovers(&names, |_| true).is_empty());
    }
}
