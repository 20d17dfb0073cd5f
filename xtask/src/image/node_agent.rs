//! node-agent as one static program: it runs as /init, where there is no
//! library to load.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cache;
use crate::run::{is_installed, output, run, say};

/// Builds node-agent and returns the program.
pub fn build() -> Result<PathBuf> {
    build_by_profile("node-agent", "node-agent")
}

/// Builds a program of ours that needs no library, and returns it.
pub fn build_static(program: &str) -> Result<PathBuf> {
    build_by_profile(program, "release")
}

/// It has a target folder of its own: with other flags, the ordinary one would
/// be rebuilt back and forth.
fn build_by_profile(program: &str, profile: &str) -> Result<PathBuf> {
    let checkout = cache::checkout();
    let folder = checkout.join("target/static");
    let target = target(&checkout)?;
    say(&format!("building {program} for {target}"));
    let flags_variable = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    run(Command::new(cargo)
        .current_dir(&checkout)
        .args([
            "build",
            "--profile",
            profile,
            "--quiet",
            "--package",
            program,
            "--bin",
            program,
        ])
        .args(["--target", target, "--target-dir"])
        .arg(&folder)
        // With --target, the flags do not reach build scripts and macros, which
        // glibc's dynamic loader has to load.
        .env(flags_variable, "-C target-feature=+crt-static")
        .env_remove("RUSTFLAGS"))?;
    Ok(folder.join(target).join(profile).join(program))
}

/// musl makes the smaller program, but needs its target and its C compiler;
/// glibc is always there.
fn target(checkout: &Path) -> Result<&'static str> {
    const MUSL: &str = "x86_64-unknown-linux-musl";
    const GLIBC: &str = "x86_64-unknown-linux-gnu";
    let sysroot = output(
        Command::new("rustc")
            .current_dir(checkout)
            .args(["--print", "sysroot"]),
    )?;
    let has_musl = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(MUSL)
        .is_dir();
    Ok(if has_musl && is_installed("musl-gcc") {
        MUSL
    } else {
        GLIBC
    })
}
