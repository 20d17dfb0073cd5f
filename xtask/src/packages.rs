//! Debian packages that our commands need on the machine they run on.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run::{is_installed, output, run, say};

/// A Debian package, and a program by which one sees that it is installed.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The package's name.
    pub name: &'static str,
    /// A program it brings.
    pub program: &'static str,
}

/// Installs those packages whose program is missing.
///
/// What was installed by other means counts as well, hence the look at programs
/// and not at dpkg's list.
///
/// # Errors
/// When something is missing and this is not Debian, or we may not install, or
/// apt fails.
pub fn need(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|p| !is_installed(p.program))
        .map(|p| p.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_installed("apt-get") {
        bail!(
            "missing on this machine: {list}; apt-get is missing too, so please install them by hand"
        );
    }
    let sudo: &[&str] = match (is_root()?, is_installed("sudo")) {
        (true, _) => &[],
        (false, true) => &["sudo"],
        (false, false) => bail!("missing on this machine: {list}; as root: apt-get install {list}"),
    };
    say(&format!("installing {list}"));
    let install = || {
        run(apt(sudo)
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing))
    };
    // A fresh machine has no package lists, an old one stale ones; both show
    // here, so the slow update is only made when it is needed.
    if knows_all(&missing) && install().is_ok() {
        return Ok(());
    }
    run(apt(sudo).arg("update"))?;
    install()
}

fn apt(sudo: &[&str]) -> Command {
    let words: Vec<&str> = sudo
        .iter()
        .copied()
        .chain([
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "--quiet",
        ])
        .collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn knows_all(packages: &[&str]) -> bool {
    Command::new("apt-get")
        .args(["--simulate", "--quiet", "install"])
        .args(packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether we run as root.
pub fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}
