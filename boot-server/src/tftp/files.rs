//! The files TFTP may send: those of one folder, by clean relative names.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Largest file; loaders have one or two MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Files kept in memory; a farm uses a handful.
const MAX_CACHED: usize = 16;

/// The folder of boot loaders that TFTP serves; nothing outside it is
/// reachable by a name, though links in it are followed (Debian's `ipxe`
/// package links to `/boot`).
#[derive(Clone, Debug)]
pub struct TftpFiles {
    /// Folder of loader files, such as `/usr/lib/ipxe`.
    pub dir: PathBuf,
}

/// Why a file is not sent.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A name that leaves the folder, or is none.
    #[error("{0:?} is no name of a file in here")]
    Name(String),
    /// No such file.
    #[error("there is no file {0}")]
    NotFound(String),
    /// A folder, a device, or too large a file.
    #[error("{0} is no file of at most {MAX_FILE_BYTES} bytes")]
    Unsuitable(String),
    /// It cannot be read.
    #[error("reading {name}")]
    Read {
        /// Name.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Files by their relative path.
type Cached = HashMap<PathBuf, (Version, Arc<[u8]>)>;

/// Files read once and shared by all transfers, read again when they change.
#[derive(Debug)]
pub(super) struct FileCache {
    dir: PathBuf,
    files: Mutex<Cached>,
}

impl FileCache {
    pub(super) fn new(files: TftpFiles) -> Self {
        Self {
            dir: files.dir,
            files: Mutex::default(),
        }
    }

    /// The content of a file. Blocks on the disk when it is not in memory.
    pub(super) fn read(&self, name: &str) -> Result<Arc<[u8]>, FileError> {
        let relative =
            clean(name).ok_or_else(|| FileError::Name(name.chars().take(80).collect()))?;
        let path = self.dir.join(&relative);
        let shown = relative.display().to_string();
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                FileError::NotFound(shown.clone())
            }
            _ => FileError::Read {
                name: shown.clone(),
                source,
            },
        };
        // Asked before it is opened: opening a FIFO would wait for ever.
        let metadata = std::fs::metadata(&path).map_err(failed)?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(FileError::Unsuitable(shown));
        }
        let version = Version {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        };
        let cached = self
            .lock()
            .get(&relative)
            .filter(|(known, _)| *known == version)
            .map(|(_, content)| content.clone());
        if let Some(content) = cached {
            return Ok(content);
        }
        let content = read_bounded(&path).map_err(failed)?;
        let mut files = self.lock();
        if files.len() >= MAX_CACHED {
            files.clear();
        }
        files.insert(relative, (version, content.clone()));
        Ok(content)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Arc<[u8]>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut content)?;
    Ok(content.into())
}

/// A requested name as a path below the folder. Leading slashes are dropped,
/// and backslashes, which some ROMs send, taken for slashes; whatever could
/// lead out of the folder is no name at all.
fn clean(name: &str) -> Option<PathBuf> {
    let name = name.replace('\\', "/");
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let is_bad = |part: &&str| *part == ".." || part.contains('\0') || part.len() > 255;
    if parts.is_empty() || parts.len() > 16 || parts.iter().any(is_bad) {
        return None;
    }
    Some(parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, path) in [
            ("undionly.kpxe", Some("undionly.kpxe")),
            ("/undionly.kpxe", Some("undionly.kpxe")),
            ("//a\\b//./c", Some("a/b/c")),
            ("..", None),
            ("a/../../etc/passwd", None),
            ("..\\etc\\passwd", None),
            ("/", None),
            ("", None),
            ("a\0b", None),
        ] {
            assert_eq!(clean(name), path.map(PathBuf::from), "{name:?}");
        }
    }

    #[test]
    fn files_are_read_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileCache::new(TftpFiles {
            dir: dir.path().to_owned(),
        });
        assert!(matches!(files.read("a"), Err(FileError::NotFound(_))));
        std::fs::write(dir.path().join("a"), "one").unwrap();
        assert_eq!(*files.read("/a").unwrap(), *b"one");
        std::fs::write(dir.path().join("a"), "longer").unwrap();
        assert_eq!(*files.read("a").unwrap(), *b"longer");
        assert!(matches!(files.read("a/b"), Err(FileError::NotFound(_))));
        std::fs::create_dir(dir.path().join("d")).unwrap();
        assert!(matches!(files.read("d"), Err(FileError::Unsuitable(_))));
        assert!(matches!(files.read("../a"), Err(FileError::Name(_))));
    }
}
