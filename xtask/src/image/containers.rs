//! `cargo xtask image containers`: images of the programs, by
//! `deploy/images/containers/build.sh`, which needs buildah and no daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use super::node_agent;
use crate::kube_binaries::tools;
use crate::packages::{self, Package};
use crate::run::run;
use crate::{cache, kube_binaries};

/// What the script needs.
const PACKAGES: &[Package] = &[
    Package {
        name: "buildah",
        program: "buildah",
    },
    Package {
        name: "ipxe",
        program: "/usr/lib/ipxe/undionly.kpxe",
    },
    Package {
        name: "libcap2-bin",
        program: "setcap",
    },
];

/// Options of `image containers`.
#[derive(Args, Clone, Debug)]
pub struct ContainerOptions {
    /// Folder for the images, an OCI archive each. [default: target/containers]
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Tag of the images.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    pub tag: String,
    /// Build the tools of hosted control planes as well: kubeadm, kubectl and
    /// etcd's, with the shell of busybox-static.
    #[arg(long)]
    pub tools: bool,
}

/// Builds the images and returns their folder.
///
/// # Errors
/// When a program cannot be built, or buildah fails.
pub fn build(options: &ContainerOptions) -> Result<PathBuf> {
    packages::need(PACKAGES)?;
    let work = tempfile::tempdir().context("creating a folder for the programs")?;
    let programs = work.path().join("programs");
    fs::create_dir(&programs).context("creating a folder for the programs")?;
    for program in ["boot-server", "chassis-agent", "node-agent"] {
        let built = node_agent::build_static(program)?;
        fs::copy(&built, programs.join(program))
            .with_context(|| format!("copying {}", built.display()))?;
    }
    let checkout = cache::checkout();
    let default = || checkout.join("target/containers");
    let output = options.output.clone().unwrap_or_else(default);
    let mut command = Command::new(checkout.join("deploy/images/containers/build.sh"));
    command.arg(&output).arg(&options.tag).arg(&programs);
    if options.tools {
        let folder = work.path().join("tools");
        fs::create_dir(&folder).context("creating a folder for the tools")?;
        let kube = kube_binaries::provide()?.folder;
        let others = tools::provide()?;
        for (from, tool) in [
            (&kube, "kubeadm"),
            (&kube, "kubectl"),
            (&others, "etcdctl"),
            (&others, "etcdutl"),
        ] {
            fs::copy(from.join(tool), folder.join(tool))
                .with_context(|| format!("copying {tool}"))?;
        }
        command.arg(folder);
        command.env("BUSYBOX", static_busybox(work.path())?);
    }
    run(&mut command)?;
    Ok(output)
}

/// Debian's static busybox, out of its package: installing that would take the place
/// of the ordinary one.
fn static_busybox(work: &Path) -> Result<PathBuf> {
    let folder = work.join("busybox");
    fs::create_dir(&folder).context("creating a folder for busybox")?;
    run(Command::new("apt-get")
        .args(["download", "--quiet", "busybox-static"])
        // apt's own user, which it would download as, may not write there.
        .args(["--option", "APT::Sandbox::User=root"])
        .current_dir(&folder))
    .context("fetching the package busybox-static")?;
    let mut packages = fs::read_dir(&folder)
        .context("looking for the package")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "deb"));
    let package = packages.next().context("apt-get left no package")?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&package)
        .arg(&folder))?;
    let program = ["bin/busybox", "usr/bin/busybox"].map(|path| folder.join(path));
    let found = program.into_iter().find(|path| path.is_file());
    found.context("the package busybox-static has no busybox")
}
