//! What a whole farm on this machine is made of: packages, programs, Kubernetes
//! and a node image. Demo and tests both start from here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Parser;

use crate::image::{self, BuildOptions};
use crate::packages::Package;
use crate::run::{run, say};
use crate::{cache, kube_binaries, packages};

/// The packages that virtual machines, namespaces and their firmware need.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        program: "qemu-system-x86_64",
    },
    // Packages without a program are known by a file.
    Package {
        name: "ipxe-qemu",
        program: "/usr/lib/ipxe/qemu/pxe-virtio.rom",
    },
    Package {
        name: "ipxe",
        program: "/usr/lib/ipxe/undionly.kpxe",
    },
    Package {
        name: "ovmf",
        program: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    },
    Package {
        name: "shim-signed",
        program: "/usr/lib/shim/shimx64.efi.signed",
    },
    Package {
        name: "grub-efi-amd64-signed",
        program: "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
    },
    Package {
        name: "iproute2",
        program: "ip",
    },
    Package {
        name: "openssh-client",
        program: "ssh",
    },
    Package {
        name: "util-linux",
        program: "setpriv",
    },
];

/// Clients that others wrote, for tests against them.
pub const PEERS: &[Package] = &[
    Package {
        name: "udhcpc",
        program: "udhcpc",
    },
    Package {
        name: "kea-admin",
        program: "perfdhcp",
    },
    Package {
        name: "minisign",
        program: "minisign",
    },
    Package {
        name: "curl",
        program: "curl",
    },
    Package {
        name: "atftp",
        program: "atftp",
    },
    Package {
        name: "tftp-hpa",
        program: "tftp",
    },
    Package {
        name: "busybox",
        program: "busybox",
    },
    Package {
        name: "isc-dhcp-client",
        program: "dhclient",
    },
    Package {
        name: "dhcpcd-base",
        program: "dhcpcd",
    },
    Package {
        name: "dnsmasq-base",
        program: "dnsmasq",
    },
    // A managed switch whose partners and trunks machines are cabled to: LACP, VLANs.
    Package {
        name: "openvswitch-switch",
        program: "ovs-vswitchd",
    },
    Package {
        name: "ethtool",
        program: "ethtool",
    },
    // What a container runtime does with capabilities.
    Package {
        name: "libcap2-bin",
        program: "capsh",
    },
    // A clock that the tests may set, for one process.
    Package {
        name: "faketime",
        program: "faketime",
    },
];

/// Where the parts of a farm are.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// Folder with boot-server, chassis-agent and the virtual chassis.
    pub programs: PathBuf,
    /// Folder with the Kubernetes programs.
    pub kube: PathBuf,
    /// Folder of the node image.
    pub image: PathBuf,
    /// The static node-agent that is in it.
    pub node_agent: PathBuf,
    /// The root with the modules that its initramfs was made of.
    pub modules: PathBuf,
}

impl Artefacts {
    /// Tells a program where they are.
    pub fn set(&self, command: &mut Command) {
        command
            .env("MOONFARM_PROGRAMS", &self.programs)
            .env("MOONFARM_KUBE_BIN", &self.kube)
            .env("MOONFARM_IMAGE", &self.image)
            .env("MOONFARM_NODE_AGENT", &self.node_agent)
            .env("MOONFARM_MODULES", &self.modules);
    }
}

/// `cargo xtask image build` as it is without options.
#[derive(Parser)]
struct ImageBuild {
    #[command(flatten)]
    options: BuildOptions,
}

/// Installs, builds or finds all of it; what is there already is not made again.
///
/// # Errors
/// When a part can be neither found nor made.
pub fn provide() -> Result<Artefacts> {
    packages::need(PACKAGES)?;
    let programs = build_programs()?;
    let kube = kube_binaries::provide()?.folder;
    let made = image::made_of(&ImageBuild::parse_from(["image"]).options)?;
    Ok(Artefacts {
        programs,
        kube,
        image: made.image,
        node_agent: made.node_agent,
        modules: made.modules,
    })
}

/// Makes or finds the image of the Debian release before, for the tests that take
/// minutes.
///
/// # Errors
/// When it can be neither found nor made.
pub fn older_image() -> Result<PathBuf> {
    let output = cache::checkout().join("target/image-bookworm");
    let output = output.display().to_string();
    let words = ["image", "--suite", "bookworm", "--name", "debian-12"];
    let words = words.into_iter().chain(["--output", &output]);
    image::build(&ImageBuild::parse_from(words).options)
}

/// Makes or finds the image whose container runtime is CRI-O, for a test that takes
/// minutes.
///
/// # Errors
/// When it can be neither found nor made.
pub fn crio_image() -> Result<PathBuf> {
    let output = cache::checkout().join("target/image-crio");
    let output = output.display().to_string();
    let words = ["image", "--runtime", "crio", "--name", "crio"];
    let words = words.into_iter().chain(["--output", &output]);
    image::build(&ImageBuild::parse_from(words).options)
}

/// Builds the programs and returns the folder they are in.
///
/// # Errors
/// When they do not compile.
pub fn build_programs() -> Result<PathBuf> {
    say("building the programs");
    let checkout = cache::checkout();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(&checkout)
        .args(["build", "--quiet", "--bins"]);
    for package in ["boot-server", "chassis-agent", "moonfarm-tests"] {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    Ok(checkout.join(target).join("debug"))
}
