//! The log in a folder: restarts, cut-off ends, merging, full disks.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use super::super::LeaseKind;
use super::*;

fn lease(address: u32, end: u64) -> Lease {
    let [.., a, b, c, d] = u64::from(address).to_be_bytes();
    Lease {
        address: Ipv4Addr::from(0x0a00_0000 + address),
        mac: MacAddr::new([2, 0, a, b, c, d]),
        machine: address
            .is_multiple_of(2)
            .then(|| format!("m1-c{address}n1")),
        subnet: "lan".into(),
        kind: LeaseKind::Dynamic,
        since: WallClock(7),
        expires: Some(WallClock(end)),
    }
}

fn put(lease: Lease) -> Change {
    Change {
        address: lease.address,
        before: None,
        after: Some(lease),
    }
}

#[test]
fn what_was_committed_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leases");
    let log = LeaseLog::open(&path).unwrap();
    assert!(log.is_new().unwrap());
    let never = Lease {
        expires: None,
        kind: LeaseKind::Reserved,
        ..lease(3, 0)
    };
    log.commit(&[put(lease(1, 10)), put(lease(2, 10)), put(never.clone())])
        .unwrap();
    let gone = Change {
        after: None,
        ..put(lease(1, 0))
    };
    log.commit(&[put(lease(2, 20)), gone]).unwrap();
    drop(log);
    let log = LeaseLog::open(&path).unwrap();
    assert!(!log.is_new().unwrap());
    assert_eq!(log.load().unwrap(), [lease(2, 20), never]);
    for entry in std::fs::read_dir(&path).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_commit_is_kept_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let log = LeaseLog::open(dir.path()).unwrap();
    log.commit(&[put(lease(1, 10))]).unwrap();
    let file = log.folder.file(1);
    let first = std::fs::metadata(&file).unwrap().len();
    log.commit(&[put(lease(1, 20)), put(lease(2, 20))]).unwrap();
    drop(log);
    let bytes = std::fs::read(&file).unwrap();
    for end in first..bytes.len() as u64 {
        std::fs::write(&file, &bytes[..end as usize]).unwrap();
        let log = LeaseLog::open(dir.path()).unwrap();
        assert_eq!(log.load().unwrap(), [lease(1, 10)], "{end}");
    }
    // What follows a cut-off end is written behind it, not over it.
    let log = LeaseLog::open(dir.path()).unwrap();
    log.commit(&[put(lease(3, 30))]).unwrap();
    drop(log);
    let log = LeaseLog::open(dir.path()).unwrap();
    assert_eq!(log.load().unwrap(), [lease(1, 10), lease(3, 30)]);
}

#[test]
fn closed_files_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let log = LeaseLog::with_segments_of(dir.path(), 2000).unwrap();
    for round in 0..200_u64 {
        let changes: Vec<Change> = (0..10).map(|at| put(lease(at, round))).collect();
        log.commit(&changes).unwrap();
    }
    drop(log);
    let log = LeaseLog::with_segments_of(dir.path(), 2000).unwrap();
    let files = log.folder.numbers().unwrap().len();
    assert!(files < 100, "{files} files");
    let expected: Vec<Lease> = (0..10).map(|at| lease(at, 199)).collect();
    assert_eq!(log.load().unwrap(), expected);
    // A crash between the merged file's new name and the old files' end.
    merge::merge(&log.folder, &log.folder.numbers().unwrap()).unwrap();
    assert_eq!(log.folder.numbers().unwrap().len(), 1);
    let only = log.folder.numbers().unwrap()[0];
    std::fs::copy(log.folder.file(only), log.folder.file(only - 1)).unwrap();
    assert_eq!(log.load().unwrap(), expected);
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    // Writing to /dev/full fails as a full disk does.
    let dir = tempfile::tempdir().unwrap();
    let log = LeaseLog::open(dir.path()).unwrap();
    log.commit(&[put(lease(1, 10))]).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let usual = {
        let mut state = log.state.lock().unwrap();
        let active = state.active.as_mut().unwrap();
        std::mem::replace(&mut active.file, full)
    };
    let error = log.commit(&[put(lease(2, 10))]).unwrap_err();
    assert!(error.to_string().contains("has room"), "{error}");
    log.state.lock().unwrap().active.as_mut().unwrap().file = usual;
    log.commit(&[put(lease(3, 10))]).unwrap();
    drop(log);
    let log = LeaseLog::open(dir.path()).unwrap();
    assert_eq!(log.load().unwrap(), [lease(1, 10), lease(3, 10)]);
}

#[test]
fn a_later_release_is_not_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    let log = LeaseLog::open(dir.path()).unwrap();
    let mut bytes = Vec::new();
    frame::write_with(&mut bytes, |body| body.push(9));
    std::fs::write(log.folder.file(1), bytes).unwrap();
    let error = log.load().unwrap_err();
    assert!(
        matches!(error, LeaseStoreError::Unknown { kind: 9, .. }),
        "{error}"
    );
}
