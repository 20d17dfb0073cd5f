//! An image that rots on the server's disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::STRAY_MAC;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, console};
use moonfarm_tests::wait::until;

use crate::support::{TO_READY, TestFarm, artefacts, now};

#[test]
fn a_node_refuses_an_image_with_one_wrong_byte() {
    let Some(artefacts) = artefacts() else { return };
    let mut test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        vec![manifests::pool(
            facts,
            &Pool {
                name: "strays",
                ..Pool::default()
            },
        )]
    });
    flip_a_byte(&largest_file(&test.farm.layout().state()));
    let since = now();
    let mut machine = test.farm.stray(Firmware::Bios);
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));

    let name = STRAY_MAC.dashed();
    let reason = until(TO_READY, || {
        test.farm
            .check()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let boots = test.farm.boots().ok()?;
        latest_boot(&name, since, &boots)?.reason.clone()
    });
    let Some(reason) = reason else {
        test.explain(&name, since, &machine.console_log());
        panic!("nobody says that the image is damaged");
    };
    test.say(&format!("refused: {reason}"));
    let reason = reason.to_lowercase();
    assert!(
        reason.contains("sha-256") || reason.contains("sha256") || reason.contains("digest"),
        "{reason}"
    );
    let console = console::text(&machine.console_log());
    for trace in ["systemd[1]", "Welcome to Debian"] {
        assert!(
            !console.contains(trace),
            "something of the image was run: {trace:?}"
        );
    }
    let table = test.farm.get(&["boots"]).expect("a table");
    assert!(table.contains("image"), "{table}");
}

/// The squashfs is by far the largest file of the state.
pub fn largest_file(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    let mut largest = (0, PathBuf::new());
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder").map_while(Result::ok) {
            let kind = entry.metadata().expect("metadata");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.len() > largest.0 {
                largest = (kind.len(), entry.path());
            }
        }
    }
    largest.1
}

fn flip_a_byte(path: &Path) {
    // The store may share the file with the folder it was added from.
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).expect("copied");
    std::fs::rename(&copy, path).expect("renamed");
    let middle = SeekFrom::Start(
        File::open(path)
            .and_then(|file| file.metadata())
            .expect("a file")
            .len()
            / 2,
    );
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("opened");
    let mut byte = [0];
    file.seek(middle)
        .and_then(|_| file.read_exact(&mut byte))
        .expect("read");
    file.seek(middle)
        .and_then(|_| file.write_all(&[byte[0] ^ 1]))
        .expect("written");
}
