//! The HTTP servers that are compared, with the same two files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use boot_proto::ids::Digest;
use boot_proto::image::{ImageFile, ImageManifest, VERSION};
use tempfile::TempDir;

use crate::bench::wire::{SERVER, Server, Wire};
use crate::packages::Package;
use crate::run::run;

/// What the other server and the load come from.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "nginx",
        program: "nginx",
    },
    Package {
        name: "wrk",
        program: "wrk",
    },
];

/// Which file is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Of 2 KiB.
    Small,
    /// Of 200 MiB.
    Large,
}

impl Target {
    /// For the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "2 KiB",
            Self::Large => "200 MiB",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Small => 2 << 10,
            Self::Large => 200 << 20,
        }
    }
}

/// A server that can be started.
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    program: String,
    arguments: Vec<String>,
    urls: [String; 2],
}

impl Peer {
    /// Where it has the file.
    pub fn url(&self, target: Target) -> String {
        let [small, large] = &self.urls;
        match target {
            Target::Small => small.clone(),
            Target::Large => large.clone(),
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&self, wire: &Wire) -> Result<Server> {
        wire.serve(self.name, &self.program, &self.arguments, || {
            wire.client("curl")
                .args(["--silent", "--fail", "--output", "/dev/null"])
                .arg(self.url(Target::Small))
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    }
}

/// The two files, for both servers.
pub struct Site {
    _folder: TempDir,
    servers: Vec<Peer>,
}

impl Site {
    /// Writes the files and adds them to an image store.
    ///
    /// # Errors
    /// When boot-server does not take the image.
    pub fn prepare(programs: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for sub in ["files", "manifests", "state"] {
            fs::create_dir(path(sub))?;
        }
        run(Command::new("chmod").arg("0755").arg(folder.path()))?;
        let files = path("files");
        let small = write(&files, "kernel", Target::Small.bytes())?;
        let large = write(&files, "root", Target::Large.bytes())?;
        let initramfs = write(&files, "initramfs", 10)?;
        let digests = [small.digest, large.digest];
        let manifest = ImageManifest {
            version: VERSION,
            name: "bench".into(),
            architecture: "x86_64".into(),
            kernel_release: "1".into(),
            kernel: small,
            initramfs,
            root: large,
            root_checks: Default::default(),
            kernel_arguments: Vec::new(),
            recipe: serde_json::Value::Null,
        };
        fs::write(files.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
        let program = programs.join("boot-server");
        run(Command::new(&program)
            .args(["image", "add"])
            .arg(&files)
            .arg("--state")
            .arg(path("state")))
        .context("adding the image")?;
        let conf = path("nginx.conf");
        fs::write(&conf, nginx_conf(folder.path()))?;
        let text = |path: &Path| path.display().to_string();
        let blob = |digest: Digest| format!("http://{SERVER}:8080/blobs/sha256/{}", digest.hex());
        let servers = vec![
            Peer {
                name: "boot-server",
                program: text(&program),
                arguments: vec![
                    "serve".into(),
                    "--no-dhcp".into(),
                    "--no-tftp".into(),
                    "--manifests".into(),
                    text(&path("manifests")),
                    "--state".into(),
                    text(&path("state")),
                ],
                urls: digests.map(blob),
            },
            Peer {
                name: "nginx",
                program: "nginx".into(),
                arguments: vec!["-c".into(), text(&conf)],
                urls: ["kernel", "root"].map(|name| format!("http://{SERVER}/{name}")),
            },
        ];
        Ok(Self {
            _folder: folder,
            servers,
        })
    }

    /// The servers.
    pub fn servers(&self) -> &[Peer] {
        &self.servers
    }
}

fn write(folder: &Path, name: &str, bytes: usize) -> Result<ImageFile> {
    let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    fs::write(folder.join(name), &content)?;
    Ok(ImageFile {
        file: name.into(),
        size: content.len() as u64,
        digest: Digest::of(&content),
    })
}

/// As for the reference figures: sendfile, no access log, keep-alive without
/// end; a worker for each processor, as boot-server has a thread for each.
fn nginx_conf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "user root;\nworker_processes auto;\ndaemon off;\npid {folder}/nginx.pid;\n\
         error_log {folder}/nginx.log;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
         keepalive_requests 1000000000;\n  default_type application/octet-stream;\n  \
         server {{ listen 80 reuseport; root {folder}/files; }}\n}}\n"
    )
}
