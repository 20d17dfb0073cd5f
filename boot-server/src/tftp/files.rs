//! The files TFTP may send: those of one folder, by clean relative names.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Larger files are read from the disk's cache block by block; loaders, of one
/// or two MiB, are kept in memory and shared by all transfers.
const MAX_CACHED_BYTES: u64 = 4 << 20;
/// How much of a larger one is read at a time for one transfer.
const PIECE_BYTES: usize = 32 << 10;
/// Files kept in memory; a farm uses a handful.
const MAX_CACHED: usize = 16;
/// Where a link that leaves the folder may lead: to what packages of boot
/// loaders and kernels bring. Debian's `ipxe` links to `/boot`.
const LINKED: [&str; 3] = ["/boot", "/usr/lib", "/usr/share"];

/// The folder of boot loaders that TFTP serves. No name leads out of it, and
/// links only to the system's own folders of boot files.
#[derive(Clone, Debug)]
pub struct TftpFiles {
    /// Folder of loader files, such as `/usr/lib/ipxe`.
    pub dir: PathBuf,
    /// What else there is; a file of that name in the folder comes first.
    pub source: Option<Arc<dyn Source>>,
}

/// Files that are made for the client that asks, or that are elsewhere.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The file of this clean name for the client at `peer`, which asked our
    /// address `local`. May wait for the disk.
    fn find(&self, peer: Ipv4Addr, local: Ipv4Addr, name: &Path) -> Option<Found>;
}

/// A file of a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its text.
    Text(String),
    /// Where it is on this host.
    File(PathBuf),
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
    /// A folder, a device, a link out of the folder, or not for everybody.
    #[error("{name} is not sent: {reason}")]
    Unsuitable {
        /// Name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
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

/// What is in a file, for any number of transfers at once.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In memory.
    Kept(Arc<[u8]>),
    /// In an open file of that many bytes.
    OnDisk(Arc<File>, u64),
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Kept(bytes) => bytes.len() as u64,
            Self::OnDisk(_, size) => *size,
        }
    }

    /// Appends `count` bytes from `at` on, all of which are inside the file.
    pub(super) fn append(
        &self,
        at: u64,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        match self {
            Self::Kept(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let part = bytes.get(at..at.saturating_add(count));
                buffer.extend_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Self::OnDisk(file, _) => {
                let start = buffer.len();
                buffer.resize(start.saturating_add(count), 0);
                let space = buffer.get_mut(start..).unwrap_or_default();
                file.read_exact_at(space, at)
            }
        }
    }
}

/// The piece of a file on disk that was read last: a call for each block would
/// cost as much as to send it.
#[derive(Default)]
pub(super) struct Piece {
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// As [`Content::append`], for one file only.
    pub(super) fn append(
        &mut self,
        content: &Content,
        at: u64,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let Content::OnDisk(file, size) = content else {
            return content.append(at, count, buffer);
        };
        if self.find(at, count).is_none() {
            let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes.resize(PIECE_BYTES.max(count).min(left), 0);
            self.start = at;
            if let Err(error) = file.read_exact_at(&mut self.bytes, at) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let found = self.find(at, count);
        buffer.extend_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn find(&self, at: u64, count: usize) -> Option<&[u8]> {
        let at = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..at.checked_add(count)?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Files by their relative path.
type Cached = HashMap<PathBuf, (Version, Content)>;

/// Files opened once and shared by all transfers, opened again when they change.
#[derive(Debug)]
pub(super) struct FileCache {
    dir: PathBuf,
    source: Option<Arc<dyn Source>>,
    files: Mutex<Cached>,
}

impl FileCache {
    pub(super) fn new(files: TftpFiles) -> Self {
        Self {
            dir: files.dir,
            source: files.source,
            files: Mutex::default(),
        }
    }

    /// The content of a file for the client at `peer`, from the folder, else from
    /// elsewhere. Blocks on the disk when it is not in memory.
    pub(super) fn read_for(
        &self,
        peer: Ipv4Addr,
        local: Ipv4Addr,
        name: &str,
    ) -> Result<Content, FileError> {
        let missing = match self.read(name) {
            Err(error @ FileError::NotFound(_)) => error,
            other => return other,
        };
        let found = clean(name)
            .zip(self.source.as_ref())
            .and_then(|(name, source)| source.find(peer, local, &name));
        match found {
            None => Err(missing),
            Some(Found::Text(text)) => Ok(Content::Kept(text.into_bytes().into())),
            Some(Found::File(path)) => elsewhere(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => missing,
                _ => FileError::Read {
                    name: name.to_owned(),
                    source,
                },
            }),
        }
    }

    /// The content of a file. Blocks on the disk when it is not in memory.
    pub(super) fn read(&self, name: &str) -> Result<Content, FileError> {
        let relative =
            clean(name).ok_or_else(|| FileError::Name(name.chars().take(80).collect()))?;
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
        let unsuitable = |reason| FileError::Unsuitable {
            name: shown.clone(),
            reason,
        };
        let (file, metadata) = self.open(&relative).map_err(failed)?.ok_or_else(|| {
            unsuitable("it is a link to a place outside of the folder of loaders")
        })?;
        if !metadata.is_file() {
            return Err(unsuitable("it is not a regular file"));
        }
        // Whoever is on the network may have it, so everybody here must too.
        if metadata.permissions().mode() & 0o004 == 0 {
            return Err(unsuitable("not everybody on this host may read it"));
        }
        let version = Version {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        };
        let known = self.lock().get(&relative).cloned();
        if let Some((_, content)) = known.filter(|(known, _)| *known == version) {
            return Ok(content);
        }
        let content = content(file, version.bytes).map_err(failed)?;
        let mut files = self.lock();
        if files.len() >= MAX_CACHED {
            files.clear();
        }
        files.insert(relative, (version, content.clone()));
        Ok(content)
    }

    /// Opens a file where its links may lead; `None` where they may not.
    fn open(&self, relative: &Path) -> std::io::Result<Option<(File, Metadata)>> {
        let folder = self.dir.canonicalize()?;
        let path = folder.join(relative).canonicalize()?;
        let is_allowed =
            path.starts_with(&folder) || LINKED.iter().any(|allowed| path.starts_with(allowed));
        if !is_allowed {
            return Ok(None);
        }
        // Opening a FIFO would wait for ever otherwise, and the links are
        // followed already.
        let file = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(&path)?;
        let metadata = file.metadata()?;
        Ok(Some((file, metadata)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elsewhere(path: &Path) -> std::io::Result<Content> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok(Content::OnDisk(Arc::new(file), size))
}

fn content(file: File, size: u64) -> std::io::Result<Content> {
    if size > MAX_CACHED_BYTES {
        return Ok(Content::OnDisk(Arc::new(file), size));
    }
    let mut bytes = Vec::new();
    file.take(MAX_CACHED_BYTES).read_to_end(&mut bytes)?;
    Ok(Content::Kept(bytes.into()))
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
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

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

    fn bytes(content: &Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        let size = usize::try_from(content.size()).unwrap();
        content.append(0, size, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn files_are_read_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileCache::new(TftpFiles {
            dir: dir.path().to_owned(),
            source: None,
        });
        assert!(matches!(files.read("a"), Err(FileError::NotFound(_))));
        std::fs::write(dir.path().join("a"), "one").unwrap();
        assert_eq!(bytes(&files.read("/a").unwrap()), b"one");
        std::fs::write(dir.path().join("a"), "longer").unwrap();
        assert_eq!(bytes(&files.read("a").unwrap()), b"longer");
        assert!(matches!(files.read("a/b"), Err(FileError::NotFound(_))));
        std::fs::create_dir(dir.path().join("d")).unwrap();
        assert!(matches!(files.read("d"), Err(FileError::Unsuitable { .. })));
        assert!(matches!(files.read("../a"), Err(FileError::Name(_))));
        let large = vec![7; usize::try_from(MAX_CACHED_BYTES).unwrap() + 1];
        std::fs::write(dir.path().join("large"), &large).unwrap();
        let content = files.read("large").unwrap();
        assert!(matches!(content, Content::OnDisk(..)));
        assert!(bytes(&content) == large);
        // Piece by piece, forwards, across their ends, back, and not past the end.
        std::fs::write(
            dir.path().join("large"),
            (0..=255).cycle().take(large.len()).collect::<Vec<u8>>(),
        )
        .unwrap();
        let content = files.read("large").unwrap();
        let mut piece = Piece::default();
        let end = large.len() as u64;
        for at in [0, 1468, 32_000, 33_468, 3, end - 100, end, 1 << 20] {
            let count = usize::try_from(end - at).unwrap().min(1468);
            let mut buffer = vec![9];
            piece.append(&content, at, count, &mut buffer).unwrap();
            let expected: Vec<u8> = (at..).take(count).map(|at| (at % 256) as u8).collect();
            assert_eq!((buffer[0], &buffer[1..]), (9, &*expected), "{at}");
        }
        assert!(piece.append(&content, end, 1, &mut Vec::new()).is_err());
    }

    #[test]
    fn links_and_modes_let_nothing_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let files = FileCache::new(TftpFiles {
            dir: dir.path().to_owned(),
            source: None,
        });
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("real"), "r").unwrap();
        std::fs::write(path("private"), "p").unwrap();
        std::fs::set_permissions(path("private"), Permissions::from_mode(0o600)).unwrap();
        symlink("real", path("inside")).unwrap();
        symlink(outside.path().join("secret"), path("file")).unwrap();
        symlink(outside.path(), path("folder")).unwrap();
        symlink("loop", path("loop")).unwrap();
        nix::unistd::mkfifo(
            &path("fifo"),
            nix::sys::stat::Mode::from_bits_truncate(0o644),
        )
        .unwrap();
        assert_eq!(bytes(&files.read("inside").unwrap()), b"r");
        for name in ["file", "folder/secret", "private", "fifo"] {
            assert!(
                matches!(files.read(name), Err(FileError::Unsuitable { .. })),
                "{name}"
            );
        }
        assert!(files.read("loop").is_err());
    }
}
