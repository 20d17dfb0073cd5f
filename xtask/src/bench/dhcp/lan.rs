//! Two namespaces, a wire between them, and a folder for files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run::run;

/// Address of the server.
pub const SERVER: &str = "10.32.0.1";
/// Address of the relay.
pub const RELAY: &str = "10.32.0.2";
/// The network.
pub const CIDR: &str = "10.32.0.0/14";
/// First and last address to give: 196,000 of them.
pub const RANGE: (&str, &str) = ("10.33.0.0", "10.35.255.250");
/// The server's end of the wire.
pub const WIRE: &str = "wire";

/// The network of one measurement; removed when dropped.
pub struct Lan {
    name: String,
    folder: PathBuf,
}

impl Lan {
    /// Makes it, over what an earlier one may have left.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn new() -> Result<Self> {
        let name = format!("mfbench{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        let lan = Self { name, folder };
        lan.remove();
        std::fs::create_dir_all(&lan.folder)?;
        let (server, relay) = (lan.namespace("s"), lan.namespace("r"));
        for namespace in [&server, &relay] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        ip(&[
            "-n", &server, "link", "add", WIRE, "type", "veth", "peer", "name", "uplink", "netns",
            &relay,
        ])?;
        for (namespace, link, address) in [(&server, WIRE, SERVER), (&relay, "uplink", RELAY)] {
            let address = format!("{address}/14");
            ip(&["-n", namespace, "address", "add", &address, "dev", link])?;
            ip(&["-n", namespace, "link", "set", link, "up"])?;
        }
        Ok(lan)
    }

    /// A command inside the server's namespace.
    pub fn server(&self, program: impl AsRef<Path>) -> Command {
        self.within("s", program.as_ref())
    }

    /// A command inside the relay's namespace.
    pub fn relay(&self, program: &str) -> Command {
        self.within("r", Path::new(program))
    }

    /// A file of this measurement.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn within(&self, side: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(side)])
            .arg(program);
        command
    }

    fn namespace(&self, side: &str) -> String {
        format!("{}{side}", self.name)
    }

    fn remove(&self) {
        for side in ["s", "r"] {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.namespace(side)])
                .output();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}
