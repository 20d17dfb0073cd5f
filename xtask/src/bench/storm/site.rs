//! What is served: manifests with all nodes declared, files, and the way to the
//! racks' network, which lies behind the client's end of the wire.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::image::{ImageFile, ImageManifest, VERSION};
use tempfile::TempDir;

use super::crowd::Outcome;
use crate::bench::wire::{CLIENT, SERVER, Server, Wire};
use crate::run::run;

/// The file that UEFI firmware of x86-64 is told to load.
pub const LOADER: &str = "snponly.efi";
/// About what iPXE has.
pub const LOADER_BYTES: usize = 1 << 20;
/// Small ones, as 2,000 of them share one machine's memory bandwidth.
pub const KERNEL_BYTES: usize = 1 << 20;
/// See [`KERNEL_BYTES`].
pub const INITRAMFS_BYTES: usize = 2 << 20;

/// The racks' network.
const NETWORK: &str = "10.98.0.0/16";
/// Nodes behind one relay, as in a chassis of 45.
const NODES_PER_RELAY: u32 = 45;

/// The address of a node's relay.
pub fn relay_of(node: u32) -> Ipv4Addr {
    let rack = u32::from(Ipv4Addr::new(10, 98, 0, 1)) + node / NODES_PER_RELAY;
    rack.into()
}

/// The NIC of a node.
pub fn mac_of(node: u32) -> MacAddr {
    let [a, b, c, d] = node.to_be_bytes();
    MacAddr::new([0x94, 0x57, a, b, c, d])
}

/// What every file holds at an offset.
pub fn octet_at(offset: u64) -> u8 {
    (offset % 251) as u8
}

/// Folders and files of one crowd.
pub struct Site {
    folder: TempDir,
    program: String,
}

impl Site {
    /// Writes everything, and routes the racks' network.
    ///
    /// # Errors
    /// When a file cannot be written, or boot-server does not take the image.
    pub fn prepare(programs: &Path, wire: &Wire, nodes: u32, image_mib: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let site = Self {
            program: programs.join("boot-server").display().to_string(),
            folder,
        };
        for sub in ["files", "loaders", "manifests", "state"] {
            fs::create_dir(site.path(sub))?;
        }
        fs::write(site.path("manifests/farm.yaml"), manifests(nodes))?;
        fs::write(site.path("loaders").join(LOADER), content(LOADER_BYTES))?;
        site.add_image(image_mib << 20)?;
        // All addresses of the network are the client's own, and it does not
        // answer when they are probed: nobody has them yet.
        run(wire
            .client("ip")
            .args(["route", "add", "local", NETWORK, "dev", "lo"]))?;
        run(wire
            .client("sysctl")
            .args(["-q", "-w", "net.ipv4.icmp_echo_ignore_all=1"]))?;
        run(wire
            .server("ip")
            .args(["route", "add", NETWORK, "via", CLIENT]))?;
        Ok(site)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn add_image(&self, root_bytes: usize) -> Result<()> {
        let files = self.path("files");
        let file = |name: &str, bytes: usize| -> Result<ImageFile> {
            let content = content(bytes);
            fs::write(files.join(name), &content)?;
            Ok(ImageFile {
                file: name.into(),
                size: content.len() as u64,
                digest: Digest::of(&content),
            })
        };
        let manifest = ImageManifest {
            version: VERSION,
            name: "storm".into(),
            architecture: "x86_64".into(),
            kernel_release: "1".into(),
            kernel: file("kernel", KERNEL_BYTES)?,
            initramfs: file("initramfs", INITRAMFS_BYTES)?,
            root: file("root", root_bytes)?,
            root_checks: Default::default(),
            kernel_arguments: Vec::new(),
            recipe: serde_json::Value::Null,
        };
        fs::write(files.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
        run(Command::new(&self.program)
            .args(["image", "add"])
            .arg(&files)
            .arg("--state")
            .arg(self.path("state")))
        .context("adding the image")
    }

    /// Starts boot-server with everything on, and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&self, wire: &Wire, image_transfers: u32) -> Result<Server> {
        let text = |name: &str| self.path(name).display().to_string();
        let arguments = [
            "serve".into(),
            "--manifests".into(),
            text("manifests"),
            "--state".into(),
            text("state"),
            "--loaders".into(),
            text("loaders"),
            "--image-transfers".into(),
            image_transfers.to_string(),
        ];
        wire.serve("boot-server", &self.program, &arguments, || {
            wire.client("curl")
                .args(["--silent", "--fail", "--output", "/dev/null"])
                .arg(format!("http://{SERVER}:8080/healthz"))
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    }

    /// Lets the nodes boot.
    ///
    /// # Errors
    /// When their process fails; a node that fails is in the outcome.
    pub fn storm(&self, wire: &Wire, nodes: u32, within: u32) -> Result<Outcome> {
        let output = wire
            .client(std::env::current_exe()?)
            .args(["bench", "storm-nodes", &nodes.to_string()])
            .args(["--within", &within.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("the process of the nodes ended with {}", output.status);
        }
        super::parse(&String::from_utf8_lossy(&output.stdout))
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(octet_at).collect()
}

fn manifests(nodes: u32) -> String {
    let mut text = format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {{name: racks}}\nspec:\n  \
         cidr: {NETWORK}\n  gateway: 10.98.0.1\n  \
         ranges: [{{from: 10.98.8.0, to: 10.98.71.255}}]\n---\n\
         apiVersion: moonfarm.dev/v1alpha1\nkind: NodePool\nmetadata: {{name: all}}\n\
         spec: {{catchAll: true, image: storm}}\n"
    );
    for node in 0..nodes {
        let mac = mac_of(node);
        let _ = write!(
            text,
            "---\napiVersion: moonfarm.dev/v1alpha1\nkind: Machine\n\
             metadata: {{name: node-{node}}}\nspec: {{macs: ['{mac}']}}\n"
        );
    }
    text
}
