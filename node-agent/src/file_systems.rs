//! File systems on local disks, found by their labels. There is no udev and no
//! blkid in the initramfs: the two kinds that Moonfarm makes are read here.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::disks::NO_DISKS;

/// Octets at the beginning that hold the superblocks of both kinds.
const BEGINNING: u64 = 2048;

/// A file system that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its device.
    pub device: PathBuf,
    /// Its type, as mount(2) takes it.
    pub kind: &'static str,
}

/// Type and label of the file system that begins so.
#[must_use]
pub fn identify(beginning: &[u8]) -> Option<(&'static str, String)> {
    // linux/fs/ext4/ext4.h: the superblock is at 1024, s_magic at 56, s_volume_name
    // at 120, 16 octets.
    if beginning.get(1080..1082) == Some(&[0x53, 0xef]) {
        return Some(("ext4", text(beginning.get(1144..1160)?)));
    }
    // linux/fs/xfs/libxfs/xfs_format.h: sb_magicnum at 0, sb_fname at 108, 12 octets.
    if beginning.get(..4) == Some(b"XFSB") {
        return Some(("xfs", text(beginning.get(108..120)?)));
    }
    None
}

fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0);
    let octets = octets
        .get(..end.unwrap_or(octets.len()))
        .unwrap_or_default();
    String::from_utf8_lossy(octets).into_owned()
}

/// The file system with this label among the block devices of `sys`.
///
/// # Errors
/// When several have it: which is meant is then not for a program to say.
pub fn find(sys: &Path, dev: &Path, label: &str) -> Result<Option<Found>, String> {
    let mut found: Vec<Found> = Vec::new();
    for entry in fs::read_dir(sys.join("class/block"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let device = dev.join(&name);
        let Ok(beginning) = beginning(&device) else {
            continue;
        };
        if let Some((kind, own)) = identify(&beginning)
            && own == label
        {
            found.push(Found { device, kind });
        }
    }
    found.sort_by(|a, b| a.device.cmp(&b.device));
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names = several.iter().map(|one| one.device.display().to_string());
            let names: Vec<String> = names.collect();
            Err(format!("{} all have the label {label}", names.join(", ")))
        }
    }
}

fn beginning(device: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(device)?
        .take(BEGINNING)
        .read_to_end(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a file system, as mkfs.ext4 and mkfs.xfs lay it out.
    fn superblock(kind: &str, label: &str) -> Vec<u8> {
        let mut octets = vec![0; 4096];
        let at = match kind {
            "ext4" => {
                octets[1080..1082].copy_from_slice(&[0x53, 0xef]);
                1144
            }
            _ => {
                octets[..4].copy_from_slice(b"XFSB");
                108
            }
        };
        octets[at..at + label.len()].copy_from_slice(label.as_bytes());
        octets
    }

    #[test]
    fn labels_of_both_kinds() {
        for (kind, label) in [("ext4", "images"), ("xfs", "twelve-chars"), ("ext4", "")] {
            let octets = superblock(kind, label);
            let (found, own) = identify(&octets).unwrap();
            assert_eq!((found, own.as_str()), (kind, label));
        }
        for octets in [&b""[..], b"XFSB", &[0; 4096]] {
            assert_eq!(identify(octets), None);
        }
    }

    #[test]
    fn the_one_with_the_label_and_no_other() {
        let base = tempfile::tempdir().unwrap();
        let (sys, dev) = (base.path().join("sys"), base.path().join("dev"));
        fs::create_dir_all(&dev).unwrap();
        let disk = |name: &str, label: &str| {
            fs::create_dir_all(sys.join("class/block").join(name)).unwrap();
            fs::write(dev.join(name), superblock("ext4", label)).unwrap();
        };
        disk("vda1", "images");
        disk("vdb", "other");
        // What a container left behind in RAM is no disk.
        disk("loop0", "images");
        fs::create_dir_all(sys.join("class/block/sr0")).unwrap();
        let found = find(&sys, &dev, "images").unwrap().unwrap();
        assert_eq!(found.device, dev.join("vda1"));
        assert_eq!(find(&sys, &dev, "nothing"), Ok(None));
        disk("vdc", "images");
        let error = find(&sys, &dev, "images").unwrap_err();
        assert!(error.contains("vda1") && error.contains("vdc"), "{error}");
    }
}
