//! `cargo xtask bench boot`: how long from the kernel's start to the root's init
//! and to multi-user.target, and what it costs, for Debian live-boot, dracut's
//! livenet, LTSP, a busybox script as the floor, and Moonfarm.
//!
//! All boot the same kernel and the same squashfs, copied into RAM, in the same
//! virtual machine, and get address and file from the same boot-server; LTSP, which has
//! no other way, gets the file over NFS
//! from ganesha. QEMU loads kernel and initramfs, so
//! that firmware, PXE and TFTP are not in it.

mod lab;
mod marks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use boot_proto::ids::Digest;
use boot_proto::image::{ImageFile, ImageManifest, VERSION};
use clap::{Args, ValueEnum};

use self::lab::{Lab, Outcome, SERVER};
use super::programs::build_release;
use super::samples::{Samples, number, ratio};
use super::table::Table;
use crate::cache;
use crate::image::{Mirror, node_agent_program, root_checks};
use crate::packages::{self, Package};
use crate::run::{run, say};

const PACKAGES: &[Package] = &[
    Package {
        name: "mmdebstrap",
        program: "mmdebstrap",
    },
    Package {
        name: "squashfs-tools",
        program: "mksquashfs",
    },
    Package {
        name: "qemu-system-x86",
        program: "qemu-system-x86_64",
    },
    Package {
        name: "iproute2",
        program: "ip",
    },
    Package {
        name: "cpio",
        program: "cpio",
    },
    Package {
        name: "zstd",
        program: "zstd",
    },
    Package {
        name: "xz-utils",
        program: "xz",
    },
];

/// Makes the roots of the peers; changed with [`LAYOUT`].
const SCRIPT: &str = include_str!("peers.sh");
/// Changed by hand when the script makes something else.
const LAYOUT: &str = "bench-boot-3";

/// What boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// A busybox script without retries and checks.
    Floor,
    /// Moonfarm with the drivers of hypervisors.
    Moonfarm,
    /// Moonfarm with the drivers of common servers too.
    MoonfarmAll,
    /// Debian live-boot.
    LiveBoot,
    /// dracut's livenet.
    Dracut,
    /// LTSP, its image copied into RAM.
    Ltsp,
}

/// Measures boots against live-boot, dracut, LTSP and a busybox script
#[derive(Args)]
pub struct BootOptions {
    /// How often each is booted
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// What is booted
    #[arg(long, value_enum, value_delimiter = ',',
        default_values = ["floor", "moonfarm", "moonfarm-all", "live-boot", "dracut", "ltsp"])]
    peers: Vec<Peer>,
    /// Folder with boot-server, instead of a release build
    #[arg(long)]
    programs: Option<PathBuf>,
    /// node-agent as a static program, instead of a build
    #[arg(long)]
    node_agent: Option<PathBuf>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When something is missing or a machine does not come up.
pub fn run_bench(options: &BootOptions) -> Result<()> {
    if !packages::is_root()? {
        bail!("roots, namespaces and taps need root");
    }
    packages::need(PACKAGES)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build_release(&["boot-server"])?,
    };
    let agent = match &options.node_agent {
        Some(program) => program.clone(),
        None => node_agent_program()?,
    };
    let parts = provide()?;
    let scratch = tempfile::tempdir()?;
    let set = Set::make(&parts, &agent, scratch.path())?;
    let mut lab = Lab::start(
        &programs.join("boot-server"),
        &set.image,
        &parts.join("nfs"),
    )?;
    let mut outcomes: Vec<(Peer, Outcome)> = Vec::new();
    for round in 1..=options.runs.max(1) {
        // One after the other within each round: all meet the same machine.
        for peer in &options.peers {
            let outcome = lab
                .boot(
                    &parts.join("vmlinuz"),
                    &set.initramfs(*peer),
                    &set.arguments(*peer),
                )
                .with_context(|| format!("booting {}", peer.name()))?;
            let marks = &outcome.marks;
            say(&format!(
                "round {round}: {}: init after {} s, multi-user after {} s, {}",
                peer.name(),
                marks.init_secs,
                marks.multi_user_secs,
                marks.state
            ));
            outcomes.push((*peer, outcome));
        }
    }
    print!("{}", table(&options.peers, &outcomes, &set)?);
    Ok(())
}

/// The parts that peers.sh makes, kept.
fn provide() -> Result<PathBuf> {
    let folder = cache::folder()?.join(LAYOUT);
    cache::make_once(&folder, |partial| {
        say("installing the peers into roots of their own (takes minutes)");
        let sources = Mirror::choose(None).sources("trixie");
        run(Command::new("sh")
            .args(["-c", SCRIPT, "peers.sh"])
            .arg(partial)
            .args(sources))
    })?;
    Ok(folder)
}

/// What is booted in one run of the bench.
struct Set {
    parts: PathBuf,
    image: PathBuf,
    all: PathBuf,
    url: String,
}

impl Set {
    /// Has node-agent make its initramfs, and an image of the parts.
    fn make(parts: &Path, agent: &Path, scratch: &Path) -> Result<Self> {
        let release = fs::read_to_string(parts.join("release"))?.trim().to_owned();
        let image = scratch.join("image");
        fs::create_dir(&image)?;
        let all = scratch.join("all.img");
        for (drivers, output) in [("virtual", &image.join("initramfs.img")), ("all", &all)] {
            run(Command::new(agent)
                .args(["initramfs", "--kernel-release", &release])
                .args(["--drivers", drivers, "--root"])
                .arg(parts.join("root"))
                .arg("--output")
                .arg(output))?;
        }
        for name in ["vmlinuz", "root.squashfs"] {
            std::os::unix::fs::symlink(parts.join(name), image.join(name))?;
        }
        let root = describe(&image, "root.squashfs")?;
        let url = format!("http://{SERVER}:8080/blobs/sha256/{}", root.digest.hex());
        let manifest = ImageManifest {
            version: VERSION,
            name: "bench".to_owned(),
            architecture: "x86_64".to_owned(),
            kernel_release: release,
            kernel: describe(&image, "vmlinuz")?,
            initramfs: describe(&image, "initramfs.img")?,
            root,
            root_checks: root_checks(&image.join("root.squashfs"))?,
            kernel_arguments: Vec::new(),
            recipe: serde_json::Value::Null,
        };
        fs::write(image.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
        let parts = parts.to_owned();
        Ok(Self {
            parts,
            image,
            all,
            url,
        })
    }

    fn initramfs(&self, peer: Peer) -> PathBuf {
        match peer {
            Peer::Floor => self.parts.join("floor.img"),
            Peer::Moonfarm => self.image.join("initramfs.img"),
            Peer::MoonfarmAll => self.all.clone(),
            Peer::LiveBoot => self.parts.join("live-boot.img"),
            Peer::Dracut => self.parts.join("dracut.img"),
            Peer::Ltsp => self.parts.join("ltsp-initrd.img"),
        }
    }

    fn arguments(&self, peer: Peer) -> String {
        let url = &self.url;
        match peer {
            Peer::Floor => format!("floor={url}"),
            Peer::Moonfarm | Peer::MoonfarmAll => format!("moonfarm.server=http://{SERVER}:8080"),
            // It goes by the end of the URL.
            Peer::LiveBoot => format!("boot=live ip=dhcp fetch={url}?root.squashfs"),
            Peer::Dracut => format!(
                "root=live:{url}?root.squashfs ip=dhcp rd.neednet=1 rd.live.ram=1 \
                 rd.live.overlay.overlayfs=1"
            ),
            Peer::Ltsp => format!(
                "root=/dev/nfs ip=dhcp ltsp.image=images/bench.img ltsp.image_to_ram=1 \
                 nfsroot={SERVER}:/srv/ltsp,vers=3,tcp"
            ),
        }
    }
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor (busybox)",
            Self::Moonfarm => "Moonfarm, virtual",
            Self::MoonfarmAll => "Moonfarm, all drivers",
            Self::LiveBoot => "live-boot",
            Self::Dracut => "dracut livenet",
            Self::Ltsp => "LTSP, NFS",
        }
    }
}

fn describe(folder: &Path, name: &str) -> Result<ImageFile> {
    let bytes = fs::read(folder.join(name)).with_context(|| format!("reading {name}"))?;
    Ok(ImageFile {
        file: name.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
    })
}

fn table(peers: &[Peer], outcomes: &[(Peer, Outcome)], set: &Set) -> Result<Table> {
    let mut table = Table::new(&[
        "peer",
        "initramfs MiB",
        "kernel to init s",
        "kernel to multi-user s",
        "of the first: init",
        "used MiB",
        "received MiB",
        "QEMU CPU s",
        "QEMU peak MiB",
    ]);
    let mut first = None;
    for peer in peers {
        let sample = |value: &dyn Fn(&Outcome) -> f64| {
            let of_peer = outcomes.iter().filter(|(other, _)| other == peer);
            Samples::new(of_peer.map(|(_, outcome)| value(outcome)).collect())
                .context("no boot was measured")
        };
        let size = fs::metadata(set.initramfs(*peer))?.len();
        let init = sample(&|outcome| outcome.marks.init_secs)?;
        let reference = *first.get_or_insert(init.median());
        table.row([
            peer.name().to_owned(),
            number(mib(size)),
            init.to_string(),
            sample(&|outcome| outcome.marks.multi_user_secs)?.to_string(),
            ratio(init.median(), reference),
            sample(&|outcome| outcome.marks.used_mib)?.to_string(),
            sample(&|outcome| outcome.marks.received_mib)?.to_string(),
            sample(&|outcome| outcome.qemu.cpu_secs)?.to_string(),
            sample(&|outcome| outcome.qemu.peak_rss_mib)?.to_string(),
        ]);
    }
    Ok(table)
}

/// Bytes in MiB, to the KiB.
fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}
