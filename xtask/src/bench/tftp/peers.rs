//! The TFTP servers that are compared, each with its own options for the same
//! folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{FILE, FILE_BYTES};
use crate::bench::wire::{SERVER, Server, Wire};
use crate::packages::Package;
use crate::run::{output, run};

/// What the others come from. tftpd-hpa and atftpd exclude each other as
/// packages; so the one is unpacked beside the other.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "dnsmasq-base",
        program: "dnsmasq",
    },
    Package {
        name: "atftpd",
        program: "atftpd",
    },
];

/// A server that can be started.
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    program: String,
    arguments: Vec<String>,
}

impl Peer {
    /// Starts it and waits until it sends the file.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&self, wire: &Wire) -> Result<Server> {
        wire.serve(self.name, &self.program, &self.arguments, || {
            wire.client("curl")
                .args(["--silent", "--max-time", "3", "--range", "0-0"])
                .args(["--output", "/dev/null", "--tftp-blksize", "1468"])
                .arg(format!("tftp://{SERVER}/{FILE}"))
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
    }
}

/// Writes the file, and tells how each server is started.
///
/// # Errors
/// When tftpd-hpa cannot be had.
pub fn prepare(folder: &Path, programs: &Path, _wire: &Wire) -> Result<Vec<Peer>> {
    let files = folder.join("files");
    for sub in ["files", "manifests", "state"] {
        fs::create_dir(folder.join(sub))?;
    }
    // Servers that give up root must get there.
    for open in [folder, &files] {
        run(Command::new("chmod").arg("0755").arg(open))?;
    }
    let content: Vec<u8> = (0..FILE_BYTES).map(|at| (at % 251) as u8).collect();
    fs::write(files.join(FILE), content)?;
    let text = |path: &Path| path.display().to_string();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let files = text(&files);
    let boot_server = |single: bool| {
        let mut arguments: Vec<String> = words(&["serve", "--no-dhcp", "--loaders", &files]);
        arguments.extend(["--manifests".into(), text(&folder.join("manifests"))]);
        arguments.extend(["--state".into(), text(&folder.join("state"))]);
        if single {
            arguments.push("--tftp-single-port".into());
        }
        arguments
    };
    let program = text(&programs.join("boot-server"));
    Ok(vec![
        Peer {
            name: "boot-server",
            program: program.clone(),
            arguments: boot_server(false),
        },
        Peer {
            name: "boot-server, single port",
            program,
            arguments: boot_server(true),
        },
        Peer {
            name: "dnsmasq",
            program: "dnsmasq".into(),
            arguments: words(&[
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--enable-tftp",
                "--tftp-max=1000",
                "--user=root",
                "--pid-file=",
                &format!("--tftp-root={files}"),
            ]),
        },
        Peer {
            name: "tftpd-hpa",
            program: text(&tftpd_hpa(folder)?),
            arguments: words(&[
                "--foreground",
                "--listen",
                "--address",
                "0.0.0.0:69",
                "--user",
                "root",
                "--secure",
                &files,
            ]),
        },
        Peer {
            name: "atftpd",
            program: "atftpd".into(),
            arguments: words(&[
                "--daemon",
                "--no-fork",
                "--maxthread",
                "1000",
                "--logfile",
                "/dev/null",
                "--user",
                "root",
                "--group",
                "root",
                &files,
            ]),
        },
    ])
}

/// Unpacks Debian's tftpd-hpa.
fn tftpd_hpa(folder: &Path) -> Result<PathBuf> {
    let package = folder.join("tftpd-hpa");
    fs::create_dir(&package)?;
    // As root, apt warns that it does not do this as another user.
    run(Command::new("apt-get")
        .current_dir(&package)
        .args(["--quiet", "download", "tftpd-hpa"]))
    .context("fetching Debian's package tftpd-hpa")?;
    let files = output(Command::new("ls").arg(&package))?;
    let file = files.lines().next().context("apt-get fetched no package")?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(package.join(file))
        .arg(&package))?;
    Ok(package.join("usr/sbin/in.tftpd"))
}
