//! What the boot asks of the kernel, in our words.
//!
//! The plan is walked over this trait, so that a test can walk the whole of it
//! without being PID 1. Sockets, netlink and plain files are elsewhere.

mod device_mapper;
#[cfg(test)]
pub mod fake;
pub mod linux;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use boot_proto::ids::Checksum;
use boot_proto::resources::OnCorruption;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device, directory or, for file systems without either, any word.
    pub source: String,
    /// Mount point; made when it is missing.
    pub target: PathBuf,
    /// File system type.
    pub kind: &'static str,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// Whether device nodes and set-user-id programs in it are without effect,
    /// as is right for everything that is not a root file system.
    pub plain_files: bool,
    /// The file system's own options, such as `size=64m`.
    pub options: String,
}

impl Mount {
    /// A mount of a file system that holds no programs.
    #[must_use]
    pub fn new(kind: &'static str, source: &str, target: &Path) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            kind,
            read_only: false,
            plain_files: true,
            options: String::new(),
        }
    }

    /// The same with options of the file system.
    #[must_use]
    pub fn with_options(mut self, options: String) -> Self {
        self.options = options;
        self
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.target.display())?;
        if self.read_only {
            f.write_str(", read-only")?;
        }
        if !self.options.is_empty() {
            write!(f, " ({})", self.options)?;
        }
        Ok(())
    }
}

/// A program that is run to its end.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its root.
    pub root: PathBuf,
    /// The program, as seen from there.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All of its environment, beside a PATH.
    pub environment: Vec<(String, String)>,
    /// File that takes what it prints.
    pub output: PathBuf,
    /// It is killed after that.
    pub timeout: Duration,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// Its name.
    pub name: String,
    /// Its file, compressed or not.
    pub file: PathBuf,
    /// Its options, as the kernel reads them.
    pub parameters: String,
}

/// A device whose blocks are checked when they are read (dm-verity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Device with the data.
    pub data: PathBuf,
    /// Device with the tree of hashes, as [`boot_proto::verity::Tree`] has it.
    pub tree: PathBuf,
    /// Blocks of the data.
    pub blocks: u64,
    /// What the tree must lead to.
    pub root: Checksum,
    /// What a wrong block does.
    pub on_corruption: OnCorruption,
}

/// How loading a module ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in the kernel now.
    Now,
    /// The same; its file is packed, and the kernel could not unpack it.
    Unpacked,
    /// It was there already, or is built in.
    Before,
}

/// A request the kernel did not fulfil.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct KernelError {
    /// What was asked, such as `mounting squashfs on /run/moonfarm/rootfs`.
    pub what: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl KernelError {
    /// An error of `what`, for the given reason.
    pub fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Answer of the kernel.
pub type Result<T> = std::result::Result<T, KernelError>;

/// What the boot asks of the kernel.
pub trait Kernel {
    /// Mounts a file system; makes the mount point when it is missing.
    ///
    /// # Errors
    /// What mount(2) says.
    fn mount(&mut self, mount: &Mount) -> Result<()>;

    /// Unmounts what is mounted at `target`, at once from the tree and for good
    /// when its last user is gone.
    ///
    /// # Errors
    /// What umount(2) says.
    fn unmount(&mut self, target: &Path) -> Result<()>;

    /// Moves a mount, with all that is mounted below it.
    ///
    /// # Errors
    /// What mount(2) says.
    fn move_mount(&mut self, from: &Path, to: &Path) -> Result<()>;

    /// Makes a read-only loop device of a file and returns the device's path.
    ///
    /// # Errors
    /// When there is no loop driver, no free device or no such file.
    fn attach_loop(&mut self, file: &Path) -> Result<PathBuf>;

    /// Gives up a loop device that nothing uses.
    ///
    /// # Errors
    /// When it is none.
    fn detach_loop(&mut self, device: &Path) -> Result<()>;

    /// Makes a read-only device that checks what is read, and returns its path.
    ///
    /// # Errors
    /// When there is no driver, or it does not take the tree.
    fn open_verity(&mut self, verity: &Verity) -> Result<PathBuf>;

    /// Loads a module and waits until it has initialised itself. A file that is
    /// packed is unpacked by the kernel where it can, and else by us.
    ///
    /// # Errors
    /// What finit_module(2) says, except that it is there already, and what is wrong
    /// with a packed file.
    fn load_module(&mut self, file: &Path, parameters: &str) -> Result<Loaded>;

    /// Loads modules one after the other while the boot goes on; what comes of each
    /// is sent in their order.
    fn load_modules_behind(&mut self, modules: Vec<ModuleFile>) -> Receiver<Result<Loaded>>;

    /// Deletes what the initramfs unpacked, which is RAM. Mounts are left alone.
    ///
    /// # Errors
    /// When `/` is not an initramfs: then nothing is deleted.
    fn empty_initramfs(&mut self) -> Result<()>;

    /// Makes the mount at `root` the root of the tree and of this process.
    ///
    /// # Errors
    /// What mount(2) and chroot(2) say.
    fn enter_root(&mut self, root: &Path) -> Result<()>;

    /// Runs a program in a root of its own and waits for it.
    ///
    /// # Errors
    /// When it cannot be started, says that it failed, or takes too long.
    fn run(&mut self, run: &Run) -> Result<()>;

    /// Becomes another program. Returns only when that failed.
    fn exec(&mut self, program: &Path, arguments: &[&str]) -> KernelError;

    /// Restarts the machine. Returns only when that failed.
    fn reboot(&mut self) -> KernelError;

    /// Sets the wall clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the kernel forbids it.
    fn set_clock(&mut self, unix_ms: u64) -> Result<()>;
}
