//! A machine that is declared, and boots by HTTP as iPXE and `node-agent` do.

use std::net::Ipv4Addr;
use std::path::Path;

use boot_proto::ids::Digest;
use moonfarm_tests::lab::Namespace;
use moonfarm_tests::lab::process::output;

use crate::changes::{KERNEL, write_image};
use crate::kubernetes_agent::Lab;

const MAC: &str = "02:4d:46:07:01:01";
/// The reserved address of what is [`DECLARED`].
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 18);
/// What declares it, in a namespace `farm`. Whoever uses it has a Subnet that
/// holds its address.
pub const DECLARED: &str = r#"
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers, namespace: farm}
spec: {image: debian}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {name: known, namespace: farm}
spec: {pool: workers, macs: ["02:4d:46:07:01:01"], address: 10.77.0.18}
"#;

/// The machine, on a wire.
pub struct KnownMachine<'a> {
    wire: &'a Namespace,
    server: Ipv4Addr,
    address: Ipv4Addr,
}

impl<'a> KnownMachine<'a> {
    /// At that address of the lab's wire, with the image that it boots in the store
    /// of `server`, whose state folder that is.
    pub fn new(lab: &'a Lab, server: Ipv4Addr, state: &Path, address: Ipv4Addr) -> Self {
        let image = lab.path("image");
        if !image.exists() {
            write_image(&image);
        }
        let mut add = lab.network.command(lab.programs.join("boot-server"));
        add.args(["image", "add"]).arg(&image);
        add.arg("--state").arg(state);
        output(add).unwrap_or_else(|error| panic!("{}", error.chain()));
        let own = format!("{address}/24");
        let take = ["address", "replace", &own, "dev", "eth0"];
        lab.wire.ip(&take).unwrap();
        let wire = &lab.wire;
        Self {
            wire,
            server,
            address,
        }
    }

    /// Fetches script, kernel and boot config, all of this very machine.
    ///
    /// # Errors
    /// Which it did not get, and what came in its place.
    pub fn boots(&self) -> Result<(), String> {
        let script = self.script()?;
        let kernel = format!("/blobs/sha256/{}", Digest::of(KERNEL).hex());
        if !script.contains(&kernel) {
            return Err(format!("a script without its kernel: {script}"));
        }
        if self.get(&kernel)?.as_bytes() != KERNEL {
            return Err("another kernel".to_owned());
        }
        let config = self.get(&format!("/v1/boot-config?mac={MAC}"))?;
        let config: serde_json::Value =
            serde_json::from_str(&config).map_err(|error| error.to_string())?;
        match config["hostname"].as_str() {
            Some("known") => Ok(()),
            _ => Err(format!("a boot config of another machine: {config}")),
        }
    }

    /// The script that iPXE is given for it.
    ///
    /// # Errors
    /// What came in its place.
    pub fn script(&self) -> Result<String, String> {
        self.get("/ipxe")
    }

    /// It leaves the wire.
    pub fn leaves(&self) {
        let own = format!("{}/24", self.address);
        let give_up = ["address", "del", &own, "dev", "eth0"];
        self.wire.ip(&give_up).unwrap();
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let mut curl = self.wire.command("curl");
        curl.args(["-sS", "--fail", "--max-time", "3", "--interface"]);
        curl.arg(self.address.to_string());
        curl.arg(format!("http://{}:8080{path}", self.server));
        output(curl).map_err(|error| format!("{path}: {}", error.chain()))
    }
}
