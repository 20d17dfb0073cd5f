//! The archive format of an initramfs: cpio "newc" (kernel document
//! driver-api/early-userspace/buffer-format).
//!
//! The same entries give the same bytes: sorted, owned by root, without times.

use std::collections::BTreeMap;

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

/// An archive in the making.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a file and the folders above it. `path` has no leading slash.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.folders_above(path);
        let entry = Entry {
            mode: FILE | permissions,
            device: (0, 0),
            content,
        };
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        self.folders_above(path);
        let entry = Entry {
            mode: FOLDER | 0o755,
            device: (0, 0),
            content: Vec::new(),
        };
        self.entries.entry(path.to_owned()).or_insert(entry);
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.folders_above(path);
        let mode = CHARACTER_DEVICE | permissions;
        let entry = Entry {
            mode,
            device: (major, minor),
            content: Vec::new(),
        };
        self.entries.insert(path.to_owned(), entry);
    }

    /// The archive's bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let size: usize = self
            .entries
            .iter()
            .map(|(path, e)| 120 + path.len() + e.content.len())
            .sum();
        let mut bytes = Vec::with_capacity(size + 124);
        // A folder's path is a prefix of what is in it, so it sorts before.
        for (number, (path, entry)) in (1_u32..).zip(&self.entries) {
            write_entry(&mut bytes, number, path, entry);
        }
        let end = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        write_entry(&mut bytes, 0, "TRAILER!!!", &end);
        bytes
    }

    fn folders_above(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
    }
}

fn write_entry(bytes: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let links = if entry.mode & FOLDER == FOLDER { 2 } else { 1 };
    let fields = [
        number,
        entry.mode,
        0, // owner
        0, // group
        links,
        0, // time
        u32::try_from(entry.content.len()).unwrap_or(u32::MAX),
        0, // device the file was on
        0,
        entry.device.0,
        entry.device.1,
        u32::try_from(path.len() + 1).unwrap_or(u32::MAX),
        0, // checksum, unused in this variant
    ];
    bytes.extend_from_slice(b"070701");
    for field in fields {
        bytes.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(&entry.content);
    pad(bytes);
}

/// Names and contents begin at multiples of four.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_adding_does_not_matter_and_folders_come_first() {
        let mut one = Archive::default();
        one.file("lib/modules/x.ko", 0o644, b"x".to_vec());
        one.file("init", 0o755, b"init".to_vec());
        one.character_device("dev/console", 0o600, 5, 1);
        let mut other = Archive::default();
        other.character_device("dev/console", 0o600, 5, 1);
        other.folder("lib");
        other.file("init", 0o755, b"init".to_vec());
        other.file("lib/modules/x.ko", 0o644, b"x".to_vec());
        let bytes = one.into_bytes();
        assert_eq!(bytes, other.into_bytes());
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap();
        assert!(at("dev\0") < at("dev/console\0"));
        assert!(at("lib/modules\0") < at("lib/modules/x.ko\0"));
        assert!(
            text.starts_with("07070100000001000041ed"),
            "{}",
            &text[..30]
        );
        assert!(text.contains("TRAILER!!!"));
    }
}
