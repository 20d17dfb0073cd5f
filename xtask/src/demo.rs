//! `cargo xtask demo`: provides the parts and becomes the demo, which is a
//! program of the tests crate.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{farm, packages};

/// `cargo xtask demo`: a farm of virtual machines on this one, from power-on to
/// Ready.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Cartridges in the virtual chassis.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=45))]
    nodes: u8,
    /// Their firmware.
    #[arg(long, value_enum, default_value_t = Firmware::Bios)]
    firmware: Firmware,
    /// Seconds that all nodes together may take from power-on to Ready.
    #[arg(long, default_value_t = 600)]
    timeout: u32,
    /// Have the API server as the store, and two boot-servers that share it; one
    /// is killed, and a node that is restarted comes up by the other.
    #[arg(long)]
    kubernetes: bool,
    /// Keep the work folder with consoles, logs and manifests.
    #[arg(long)]
    keep: bool,
    /// Stop everything after the closing table; the default without a terminal.
    #[arg(long)]
    exit: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Firmware {
    /// SeaBIOS and iPXE.
    Bios,
    /// OVMF's own PXE client, then iPXE.
    Uefi,
}

impl DemoOptions {
    fn arguments(&self) -> Vec<String> {
        let firmware = match self.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        };
        let mut words = vec!["--nodes".to_owned(), self.nodes.to_string()];
        words.extend(["--firmware".to_owned(), firmware.to_owned()]);
        words.extend(["--timeout".to_owned(), self.timeout.to_string()]);
        let flags = [
            (self.kubernetes, "--kubernetes"),
            (self.keep, "--keep"),
            (self.exit, "--exit"),
        ];
        words.extend(
            flags
                .into_iter()
                .filter(|(is_set, _)| *is_set)
                .map(|(_, flag)| flag.to_owned()),
        );
        words
    }
}

/// Runs the demo. Does not return where it could be started: the demo takes our
/// place, so that Ctrl-C and its exit code are its own.
///
/// # Errors
/// When we are not root, or a part can be neither found nor made.
pub fn run(options: &DemoOptions) -> Result<()> {
    if !packages::is_root()? {
        bail!("the demo makes network namespaces: run it as root");
    }
    let artefacts = farm::provide()?;
    let mut demo = Command::new(artefacts.programs.join("moonfarm-demo"));
    demo.args(options.arguments());
    artefacts.set(&mut demo);
    Err(demo.exec()).context("starting the demo")
}
