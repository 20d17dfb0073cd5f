//! The squashfs of a root.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use crate::run::run;

/// What is mounted over at boot, or travels beside the squashfs.
const LEFT_OUT: [&str; 9] = [
    "boot/vmlinuz*",
    "boot/initrd*",
    "boot/System.map*",
    "dev/*",
    "proc/*",
    "run/*",
    "sys/*",
    "tmp/*",
    "var/cache/apt/*",
];

/// Packs a root. Level 9 of zstd takes seconds where the default of 15 takes a
/// minute, for 5 % more; 256 KiB blocks cost little memory on a node.
pub fn write(root: &Path, file: &Path, epoch: u64) -> Result<()> {
    run(Command::new("mksquashfs")
        .arg(root)
        .arg(file)
        .args(["-comp", "zstd", "-Xcompression-level", "9", "-b", "256K"])
        .args([
            "-noappend",
            "-no-recovery",
            "-no-progress",
            "-quiet",
            "-xattrs",
        ])
        .args(["-wildcards", "-e"])
        .args(LEFT_OUT)
        // Stamps the file system and clamps newer files.
        .env("SOURCE_DATE_EPOCH", epoch.to_string()))
}

/// `$SOURCE_DATE_EPOCH`, which makes builds repeatable, else now.
pub fn source_date_epoch() -> u64 {
    let given = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}
