//! The image kept on a local disk, and the overlay there and on zram.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moonfarm_tests::lab::farm::manifests::{self, Manifest, Pool};
use moonfarm_tests::lab::farm::{Artefacts, layout};
use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{DiskDrive, Firmware, MachineSpec, QemuMachine, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::damaged_image::largest_file;
use crate::support::{TO_READY, TestFarm, artefacts};

/// How often the power button is pressed, and how long after that is waited.
const PRESSES: u32 = 8;
const TO_SHUT_DOWN: Duration = Duration::from_secs(20);
const PROFILE: &str = "profile-disk.yaml";

fn profile(spec: &str) -> Manifest {
    let text = format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata: {{name: disk}}\nspec:\n{spec}"
    );
    (PROFILE.into(), text)
}

fn overlay(overlay: &str) -> Manifest {
    profile(&format!(
        "  keepImage: {{label: images}}\n  overlay: {overlay}\n"
    ))
}

/// A farm whose strays have this Profile, and one of them with the disk, switched on.
fn start(
    artefacts: Artefacts,
    profile: &dyn Fn() -> Manifest,
    file: &Path,
) -> (TestFarm, QemuMachine) {
    let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let pool = Pool {
            name: "strays",
            profiles: &["disk"],
            ..Pool::default()
        };
        vec![profile(), manifests::pool(facts, &pool)]
    });
    let disk = DiskDrive {
        file: file.to_owned(),
        serial: "KEEP".into(),
    };
    let spec = MachineSpec {
        disks: vec![disk],
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));
    (test, machine)
}

/// A disk of the size of a small SSD's partition, as an earlier boot formatted it.
pub fn disk(folder: &Path) -> PathBuf {
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
    let on_disk = || overlay("{place: disk, label: images}");
    let (mut test, mut machine) = start(artefacts, &on_disk, &file);
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
    let (name, text) = overlay("{place: zram}");
    fs::write(test.farm.layout().manifests().join(name), text).expect("written");
    std::thread::sleep(Duration::from_secs(5));
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

/// What the profile of the next test prints, on the console, of the booted system.
const VERITY: &str = "  keepImage: {label: images, verity: true}
  units:
    - name: shows-verity.service
      enabled: true
      content: |
        [Service]
        Type=oneshot
        StandardOutput=journal+console
        ExecStart=/bin/sh -c 'echo the root is on $(cat /sys/block/dm-0/dm/name)'
        [Install]
        WantedBy=multi-user.target
";

#[test]
fn blocks_of_a_kept_image_are_checked_when_they_are_read() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else {
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let file = disk(scratch.path());
    let (mut test, mut machine) = start(artefacts, &|| profile(VERITY), &file);
    let checked = "kept on the disk images, each block checked when it is read";
    let up = [checked, "the root is on moonfarm-image"];
    see(&mut test, &mut machine, &up);

    // Down in order, and up again without reading the image.
    shut_down(&mut machine);
    switch_on_anew(&mut machine);
    see(&mut test, &mut machine, &["not downloaded", up[0], up[1]]);

    // Down in order, but now the disk has lost blocks: the machine restarts where one
    // is read, checks all of the image, and gets it again.
    shut_down(&mut machine);
    damage(&file);
    switch_on_anew(&mut machine);
    let lines = [
        "not downloaded",
        "did not end in order",
        "the image on the disk is not used",
        "is right, kept on the disk images, each block checked when it is read",
        up[1],
    ];
    see(&mut test, &mut machine, &lines);

    // The same, but now the profile wants a panic in the restart's place.
    let panics = VERITY.replace("verity: true", "verity: true, onCorruption: panic");
    let (name, text) = profile(&panics);
    fs::write(test.farm.layout().manifests().join(name), text).expect("written");
    shut_down(&mut machine);
    damage(&file);
    switch_on_anew(&mut machine);
    let lines = [
        "not downloaded",
        "Kernel panic - not syncing: dm-verity device corrupted",
        "did not end in order",
        "the image on the disk is not used",
    ];
    see(&mut test, &mut machine, &lines);
}

/// In order. The button does nothing until the booted system has its driver.
fn shut_down(machine: &mut QemuMachine) {
    let is_off = (0..PRESSES).any(|_| {
        let pressed = machine.press_power_button();
        pressed.unwrap_or_else(|error| panic!("{}", error.chain()));
        until(TO_SHUT_DOWN, || (!machine.is_on()).then_some(())).is_some()
    });
    assert!(is_off, "it does not shut down");
}

fn switch_on_anew(machine: &mut QemuMachine) {
    fs::write(machine.console_log(), "").expect("emptied");
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));
}

/// Changes a byte in each 64 KiB behind the beginning of each squashfs on a disk: what
/// was deleted lies there, too.
fn damage(disk: &Path) {
    const STEP: usize = 64 << 10;
    let mut octets = fs::read(disk).expect("the disk");
    let blocks = octets.chunks(4096).enumerate();
    let begins = blocks.filter(|(_, block)| block.starts_with(b"hsqs"));
    let places = begins.flat_map(|(block, _)| {
        let begin = block * 4096;
        (begin + STEP..begin + (96 << 20)).step_by(STEP)
    });
    let places: BTreeSet<usize> = places.collect();
    assert!(!places.is_empty(), "there is no squashfs on the disk");
    for place in places {
        if let Some(octet) = octets.get_mut(place) {
            *octet ^= 0x55;
        }
    }
    fs::write(disk, octets).expect("written");
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
