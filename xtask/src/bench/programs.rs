//! The programs that are measured, built as they are shipped.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache;
use crate::run::{run, say};

/// Builds the programs of these crates with `--release` and returns the folder
/// they are in.
///
/// # Errors
/// When they do not compile.
pub fn build_release(crates: &[&str]) -> Result<PathBuf> {
    say("building what is measured, as a release");
    let checkout = cache::checkout();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .current_dir(&checkout)
        .args(["build", "--quiet", "--release", "--bins"]);
    for name in crates {
        build.args(["--package", name]);
    }
    run(&mut build)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    Ok(checkout.join(target).join("release"))
}
