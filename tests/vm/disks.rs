//! The image kept on a local disk, and the overlay there and on zram.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use moonfarm_tests::lab::farm::layout;
use moonfarm_tests::lab::farm::manifests::{self, Manifest, Pool};
use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{DiskDrive, Firmware, MachineSpec, QemuMachine, console};

use crate::damaged_image::largest_file;
use crate::support::{TO_READY, TestFarm, artefacts};

const PROFILE: &str = "profile-disk.yaml";

fn profile(overlay: &str) -> Manifest {
    let text = format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata: {{name: disk}}\nspec:\n  \
         keepImage: {{label: images}}\n  overlay: {overlay}\n"
    );
    (PROFILE.into(), text)
}

/// A disk of the size of a small SSD's partition, as an earlier boot formatted it.
fn disk(folder: &Path) -> PathBuf {
    let file = folder.join("disk.img");
    let sparse = OpenOptions::new().write(true).create_new(true).open(&file);
    sparse
        .and_then(|file| file.set_len(768 << 20))
        .expect("a sparse disk");
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-L", "images"]).arg(&file);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    file
}

#[test]
fn a_kept_image_boots_without_the_image_server() {
    let Some(artefacts) = artefacts() else {
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let file = disk(scratch.path());
    let mut test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let pool = Pool {
            name: "strays",
            profiles: &["disk"],
            ..Pool::default()
        };
        vec![
            profile("{place: disk, label: images}"),
            manifests::pool(facts, &pool),
        ]
    });
    let serial = "KEEP".into();
    let spec = MachineSpec {
        disks: vec![DiskDrive { file, serial }],
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));
    see(
        &mut test,
        &mut machine,
        &[
            "is right, kept on the disk images",
            "overlay on the disk images over the image",
            "Welcome to Debian",
        ],
    );

    // No server has the image any more, but zeros in its place; what is written goes
    // to compressed RAM.
    make_zeros(&largest_file(&test.farm.layout().state()));
    let (name, text) = profile("{place: zram}");
    fs::write(test.farm.layout().manifests().join(name), text).expect("written");
    std::thread::sleep(std::time::Duration::from_secs(5));
    fs::write(machine.console_log(), "").expect("emptied");
    let reset = machine.reset();
    reset.unwrap_or_else(|error| panic!("{}", error.chain()));
    see(
        &mut test,
        &mut machine,
        &[
            "not downloaded",
            "overlay on zram over the image",
            "Welcome to Debian",
        ],
    );
}

/// Replaces a file, which the store may share with the folder it was added from.
fn make_zeros(path: &Path) {
    let size = fs::metadata(path).expect("a file").len();
    fs::remove_file(path).expect("removed");
    let zeros = fs::File::create(path).and_then(|file| file.set_len(size));
    zeros.expect("zeros");
}

fn see(test: &mut TestFarm, machine: &mut QemuMachine, lines: &[&str]) {
    for words in lines {
        let seen = machine.wait_for_console(words, TO_READY);
        let console = machine.console_log();
        seen.unwrap_or_else(|error| {
            panic!("{}\n{}", error.chain(), console::last_lines(&console, 40))
        });
        test.say(words);
    }
}
