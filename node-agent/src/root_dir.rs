//! Reads and writes below one directory, the root-to-be, and nowhere else.
//!
//! An image's symbolic links are written for a system whose root it is: an
//! absolute one would lead out into the initramfs. The kernel resolves every
//! path as if the directory were the root already (openat2(2), RESOLVE_IN_ROOT).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

/// Bytes of a file that is read at most.
const READ_LIMIT: u64 = 4 << 20;

/// A look into a root file system; paths are absolute within it.
pub trait RootView {
    /// The text of a file, links followed; `None` when there is none.
    fn read(&self, path: &str) -> Option<String>;
    /// Whether there is something, links followed.
    fn exists(&self, path: &str) -> bool;
    /// Where a symbolic link leads.
    fn link_target(&self, path: &str) -> Option<String>;
}

/// A root without any file.
#[derive(Clone, Copy, Debug)]
pub struct EmptyRoot;

impl RootView for EmptyRoot {
    fn read(&self, _path: &str) -> Option<String> {
        None
    }
    fn exists(&self, _path: &str) -> bool {
        false
    }
    fn link_target(&self, _path: &str) -> Option<String> {
        None
    }
}

/// A directory that paths cannot lead out of.
#[derive(Debug)]
pub struct RootDir {
    root: OwnedFd,
}

/// Owner by number: user and group.
pub type Owner = (u32, u32);

impl RootDir {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = nix::fcntl::open(path, DIRECTORY, Mode::empty())?;
        Ok(Self { root })
    }

    /// Makes a directory and those above it. One that exists gets the mode, where
    /// one is given.
    ///
    /// # Errors
    /// When something else is in the way.
    pub fn make_directory(&self, path: &str, mode: Option<u32>) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        match mkdirat(&above, name.as_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let directory = self.resolve(path, DIRECTORY)?;
        if let Some(mode) = mode {
            // A path descriptor cannot be changed itself, "." in it can.
            let flag = FchmodatFlags::FollowSymlink;
            fchmodat(&directory, ".", Mode::from_bits_truncate(mode), flag)?;
        }
        Ok(())
    }

    /// Gives a directory to a user and group.
    ///
    /// # Errors
    /// When it is not there or the file system refuses.
    pub fn give(&self, path: &str, (user, group): Owner) -> io::Result<()> {
        let directory = self.resolve(path, DIRECTORY)?;
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        fchownat(&directory, ".", Some(user), Some(group), AtFlags::empty())?;
        Ok(())
    }

    /// Writes a file, all or nothing. What was there is replaced; a symbolic link
    /// is replaced too, and not followed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
        let (above, name) = self.above(path)?;
        let partial = format!(".{name}.moonfarm");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let _ = unlinkat(&above, partial.as_str(), UnlinkatFlags::NoRemoveDir);
        let file = nix::fcntl::openat(&above, partial.as_str(), flags, PRIVATE)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        if owner != (0, 0) {
            fchown(
                &file,
                Some(Uid::from_raw(owner.0)),
                Some(Gid::from_raw(owner.1)),
            )?;
        }
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(renameat(&above, partial.as_str(), &above, name.as_str())?)
    }

    /// Makes a symbolic link; a file or link in its place is replaced.
    ///
    /// # Errors
    /// When a directory is in the way.
    pub fn symlink(&self, path: &str, target: &str) -> io::Result<()> {
        self.remove(path)?;
        let (above, name) = self.above(path)?;
        Ok(symlinkat(target, &above, name.as_str())?)
    }

    /// Removes a file or link; that there is none is as good.
    ///
    /// # Errors
    /// When it is a directory.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let Ok((above, name)) = self.existing_above(path) else {
            return Ok(());
        };
        match unlinkat(&above, name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether there is a file that can be run, links followed.
    #[must_use]
    pub fn is_program(&self, path: &str) -> bool {
        let found = self.resolve(path, OFlag::O_PATH | OFlag::O_CLOEXEC);
        let metadata = found.and_then(|file| File::from(file).metadata());
        metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    }

    /// The directory that `path` lies in, made when it is missing, and the name.
    fn above(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        if let Ok(found) = self.existing_above(path) {
            return Ok(found);
        }
        let (above, _) = split(path)?;
        self.make_directory(&above, None)?;
        self.existing_above(path)
    }

    fn existing_above(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        let (above, name) = split(path)?;
        Ok((self.resolve(&above, DIRECTORY)?, name))
    }

    fn resolve(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(&self.root, path, how)?)
    }
}

impl RootView for RootDir {
    fn read(&self, path: &str) -> Option<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(self.resolve(path, flags).ok()?);
        let mut bytes = Vec::new();
        file.take(READ_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn exists(&self, path: &str) -> bool {
        self.resolve(path, OFlag::O_PATH | OFlag::O_CLOEXEC).is_ok()
    }

    fn link_target(&self, path: &str) -> Option<String> {
        let (above, name) = self.existing_above(path).ok()?;
        let target = readlinkat(&above, name.as_str()).ok()?;
        Some(target.to_string_lossy().into_owned())
    }
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Parts a path into what it lies in and its name. `.` and `..` have no place
/// in a path that is written to.
fn split(path: &str) -> io::Result<(String, String)> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{path:?} is no path to write to"),
        )
    };
    let mut clean = PathBuf::from("/");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") || part.contains('\0') {
            return Err(wrong());
        }
        clean.push(part);
    }
    let above = clean.parent().and_then(Path::to_str).ok_or_else(wrong)?;
    let name = clean
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(wrong)?;
    Ok((above.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_the_image_do_not_lead_out() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        let root = base.path().join("root");
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("real")).unwrap();
        symlink(&outside, root.join("etc/absolute")).unwrap();
        symlink("../../../outside", root.join("etc/relative")).unwrap();
        symlink("/real", root.join("etc/inside")).unwrap();
        symlink(outside.join("file"), root.join("etc/file")).unwrap();
        let dir = RootDir::open(&root).unwrap();
        assert!(dir.write("/etc/absolute/x", b"x", 0o644, (0, 0)).is_err());
        assert!(dir.write("/etc/relative/x", b"x", 0o644, (0, 0)).is_err());
        assert!(dir.write("/../outside/x", b"x", 0o644, (0, 0)).is_err());
        dir.write("/etc/inside/x", b"x", 0o600, (0, 0)).unwrap();
        dir.write("/etc/file", b"new", 0o644, (0, 0)).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(fs::read(root.join("real/x")).unwrap(), b"x");
        assert!(
            !fs::symlink_metadata(root.join("etc/file"))
                .unwrap()
                .is_symlink()
        );
        fs::write(outside.join("secret"), "s").unwrap();
        assert_eq!(dir.read("/etc/absolute/secret"), None);
    }

    #[test]
    fn writes_make_what_is_above_and_replace_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = RootDir::open(root.path()).unwrap();
        dir.write("/a/b/c", b"1", 0o755, (0, 0)).unwrap();
        dir.write("/a/b/c", b"2", 0o640, (0, 0)).unwrap();
        let metadata = fs::metadata(root.path().join("a/b/c")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        assert_eq!(dir.read("/a/b/c").as_deref(), Some("2"));
        dir.symlink("/a/l", "b/c").unwrap();
        dir.symlink("/a/l", "b/other").unwrap();
        assert_eq!(dir.link_target("/a/l").as_deref(), Some("b/other"));
        assert!(!dir.exists("/a/l") && dir.exists("/a/b"));
        dir.make_directory("/a/b", Some(0o700)).unwrap();
        let metadata = fs::metadata(root.path().join("a/b")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o700);
        dir.remove("/a/l").unwrap();
        dir.remove("/no/such").unwrap();
        for path in ["", "/", ".", "/a/..", "/a/./b"] {
            assert!(dir.write(path, b"", 0o644, (0, 0)).is_err(), "{path}");
        }
    }
}
