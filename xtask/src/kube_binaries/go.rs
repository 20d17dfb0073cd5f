//! The programs built from Go modules, as `deploy/kubernetes` describes them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::run::{is_installed, output, run, say};

/// Identifies what would be made of these files: sources, versions and flags.
pub fn recipe_digest(recipe: &Path, files: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    for name in files {
        let file = recipe.join(name);
        hash.update(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(hex::encode(&hash.finalize()[..6]))
}

/// Builds programs into `folder` with a Go of at least the given version.
pub fn build(recipe: &Path, go: &str, programs: &[&str], folder: &Path) -> Result<()> {
    check_go(go)?;
    for (at, program) in programs.iter().enumerate() {
        say(&format!(
            "building {program} ({} of {})",
            at + 1,
            programs.len()
        ));
        run(Command::new(recipe.join("build.sh"))
            .arg(folder)
            .arg(program))
        .with_context(|| format!("building {program}"))?;
    }
    Ok(())
}

/// Whether there is a Go of at least this version, or one that fetches it.
pub fn check_go(wanted: &str) -> Result<()> {
    const CURE: &str = "install a newer one from https://go.dev/dl (Debian: golang-go of trixie-backports), \
                        or set MOONFARM_KUBE_BIN to a folder with the programs";
    if !is_installed("go") {
        bail!(
            "building Kubernetes needs Go {wanted} or newer and there is none on the PATH: {CURE}"
        );
    }
    let found = output(
        Command::new("go")
            .args(["env", "GOVERSION"])
            .stderr(Stdio::null()),
    )?;
    let found = found.trim().trim_start_matches("go");
    if release(found) >= release(wanted) {
        return Ok(());
    }
    // Go 1.21 and later fetch the toolchain that go.mod asks for, where the
    // module proxy is in reach.
    if release(found) < release("1.21") {
        bail!("building Kubernetes needs Go {wanted} or newer, this is {found}: {CURE}");
    }
    say(&format!(
        "Go is {found}, {wanted} is needed: go fetches that toolchain itself"
    ));
    Ok(())
}

/// `1.26.8` as numbers; what is no number, such as `rc1` in `1.27rc1`, is left out.
fn release(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..digits].parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_releases_compare_as_numbers() {
        for (older, newer) in [
            ("1.9", "1.25.0"),
            ("1.25", "1.25.1"),
            ("1.26rc1", "1.27"),
            ("", "1.1"),
        ] {
            assert!(release(older) < release(newer), "{older} < {newer}");
        }
        assert_eq!(release("1.27rc1"), [1, 27]);
    }
}
