//! The node image's initramfs, built again elsewhere.

use std::fs;
use std::process::Command;

use moonfarm_tests::lab::process::output;
use moonfarm_tests::needs;

use crate::images;

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
    let file = scratch.path().join("again.img");
    // Another umask, time zone, language, folder and name of the program.
    let own = scratch.path().join("agent-of-another-name");
    fs::copy(&agent, &own).expect("copied");
    let script = "umask 077; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&own);
    command.arg("initramfs").arg("--root").arg(&modules);
    command.args(["--storage", "--kernel-release", &manifest.kernel_release]);
    command.arg("--output").arg(&file);
    command.current_dir(scratch.path());
    command.envs([("TZ", "Pacific/Chatham"), ("LANG", "tr_TR.UTF-8")]);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    let again = fs::read(file).expect("an initramfs");
    let first = fs::read(image.join(&manifest.initramfs.file)).expect("an initramfs");
    assert_eq!(again.len(), first.len());
    assert!(again == first, "as long, and not the same");
}
