//! Initramfs of the node image's kernel, built again elsewhere.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use moonfarm_tests::lab::process::{output, run};
use moonfarm_tests::needs;
use node_agent::initramfs::decompress::decompress;
use node_agent::modules::module_name;

use crate::images;

/// Modules that [`with_other_packings`] packs otherwise than the distribution.
const REPACKED: [&str; 8] = [
    "virtio_net",
    "e1000e",
    "bonding",
    "8021q",
    "squashfs",
    "overlay",
    "virtio_blk",
    "ext4",
];

/// The modules' folder with some of them packed by zstd, some by gzip and some not
/// at all; the rest are links.
pub fn with_other_packings(modules: &Path, release: &str, folder: &Path) -> PathBuf {
    let root = folder.join("other-packings");
    let own = root.join("usr/lib/modules").join(release);
    fs::create_dir_all(own.parent().expect("a parent")).expect("a folder");
    let from = modules.join("usr/lib/modules").join(release);
    let words = ["-rs".as_ref(), from.as_os_str(), own.as_os_str()];
    run("cp", words).unwrap_or_else(|error| panic!("{}", error.chain()));
    let found = run(
        "find",
        [own.as_os_str(), "-name".as_ref(), "*.ko*".as_ref()],
    );
    let found = found.unwrap_or_else(|error| panic!("{}", error.chain()));
    let mut left: Vec<&str> = REPACKED.to_vec();
    for file in found.lines() {
        let Some(at) = left.iter().position(|name| *name == module_name(file)) else {
            continue;
        };
        let name = left.remove(at);
        let content = fs::read(file).expect("a module");
        let plain = decompress(content).expect("unpacked");
        let stem = file.split_once(".ko").expect("a module").0;
        let (suffix, bytes) = packed(REPACKED.iter().position(|own| *own == name), &plain);
        fs::remove_file(file).expect("the link is removed");
        fs::write(format!("{stem}.ko{suffix}"), bytes).expect("written");
    }
    assert!(left.is_empty(), "no modules {left:?}");
    symlink("usr/lib", root.join("lib")).expect("a link");
    root
}

fn packed(turn: Option<usize>, plain: &[u8]) -> (&'static str, Vec<u8>) {
    match turn.unwrap_or_default() % 3 {
        0 => (".zst", zstd::encode_all(plain, 3).expect("packed")),
        1 => {
            let fast = flate2::Compression::fast();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
            gzip.write_all(plain).expect("packed");
            (".gz", gzip.finish().expect("packed"))
        }
        _ => ("", plain.to_vec()),
    }
}

/// Another day's work in another place gives the same file, bit for bit: what is
/// trusted can be built by whoever doubts it.
#[test]
fn the_same_parts_make_the_same_initramfs() {
    let folders = ["MOONFARM_IMAGE", "MOONFARM_NODE_AGENT", "MOONFARM_MODULES"];
    let [Some(image), Some(agent), Some(modules)] = folders.map(needs::folder) else {
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let manifest = images::manifest(&image);
    let release = &manifest.kernel_release;
    let elsewhere = scratch.path().join("elsewhere");
    symlink(&modules, &elsewhere).expect("a link");
    let file = scratch.path().join("again.img");
    // Another umask, time zone, language, folder and name of the program.
    let own = scratch.path().join("agent-of-another-name");
    fs::copy(&agent, &own).expect("copied");
    let script = "umask 077; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&own);
    command.arg("initramfs").arg("--root").arg(&elsewhere);
    command.args(["--storage", "--kernel-release", release]);
    command.arg("--output").arg(&file);
    command.current_dir(scratch.path());
    command.envs([("TZ", "Pacific/Chatham"), ("LANG", "tr_TR.UTF-8")]);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    let again = fs::read(file).expect("an initramfs");
    let first = fs::read(image.join(&manifest.initramfs.file)).expect("an initramfs");
    assert_eq!(again.len(), first.len());
    assert!(again == first, "as long, and not the same");
}
