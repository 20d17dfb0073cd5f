//! CRI-O and its helper pinns, for node images whose container runtime it is. Debian
//! has neither; both are built from CRI-O's Go module.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::go;
use crate::cache;
use crate::packages::{self, Package};
use crate::run::{output, run, say};

/// Folder with go.mod, in the checkout.
const MODULE: &str = "deploy/kubernetes/crio";
const SOURCE: &str = "github.com/cri-o/cri-o";
/// With seccomp, whose profiles pods ask for. Image signatures are checked by Go's own
/// OpenPGP, and there are neither btrfs snapshots nor OSTree.
const TAGS: &str =
    "seccomp containers_image_openpgp containers_image_ostree_stub exclude_graphdriver_btrfs";
/// What it is compiled with.
const NEEDED: &[Package] = &[
    Package {
        name: "libseccomp-dev",
        program: "/usr/include/seccomp.h",
    },
    Package {
        name: "pkg-config",
        program: "pkg-config",
    },
];

/// The folder with `crio` and `pinns`, made if it is not there.
///
/// # Errors
/// When there is no Go or no C compiler, or they cannot be built.
pub fn provide() -> Result<PathBuf> {
    let recipe = cache::checkout().join(MODULE);
    let digest = go::recipe_digest(&recipe, &["go.mod", "go.sum"])?;
    let folder = cache::folder()?
        .join("tools")
        .join(format!("crio-seccomp-{digest}"));
    cache::make_once(&folder, |partial| {
        go::check_go("1.25.0")?;
        packages::need(NEEDED)?;
        build_crio(&recipe, partial)?;
        build_pinns(&recipe, partial)
    })?;
    Ok(folder)
}

fn go_in(recipe: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(recipe)
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off");
    command
}

fn build_crio(recipe: &Path, folder: &Path) -> Result<()> {
    say("building crio from Go modules (takes some minutes)");
    let mut command = go_in(recipe);
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-tags", TAGS])
        .args(["-ldflags", "-s -w", "-o"])
        .arg(folder.join("crio"))
        .arg(format!("{SOURCE}/cmd/crio"))
        // Its image cache is SQLite.
        .env("CGO_ENABLED", "1");
    run(&mut command).context("building crio")
}

/// Holds namespaces for pods; plain C, as its Makefile builds it.
fn build_pinns(recipe: &Path, folder: &Path) -> Result<()> {
    let module = output(go_in(recipe).args(["list", "-m", "-f", "{{.Dir}}", SOURCE]))?;
    let source = Path::new(module.trim()).join("pinns/src");
    if !source.is_dir() {
        bail!("{SOURCE} has no pinns/src");
    }
    let mut command = Command::new("cc");
    command
        .args(["-std=c99", "-Os", "-static", "-s", "-o"])
        .arg(folder.join("pinns"))
        .args(["pinns.c", "sysctl.c"])
        .current_dir(&source);
    run(&mut command).context("building pinns")
}
