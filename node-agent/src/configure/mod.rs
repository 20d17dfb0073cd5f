//! What the new root is told about the machine it runs on: boot config and facts
//! in, a list of changes out. Carrying them out is the last few lines.

mod accounts;
mod identity;
mod mount_order;
mod network;
pub(crate) mod scripts;
mod storage;
mod system;
mod units;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use boot_proto::boot_config::BootConfig;
use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;

use crate::net::Address;
use crate::net::nics::Nic;
use crate::root_dir::{Owner, RootDir, RootView};

pub use self::system::default_tmpfs;

/// One change of the new root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A directory with its mode.
    Directory {
        /// Absolute path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// A directory of a user's.
    OwnedDirectory {
        /// Absolute path.
        path: String,
        /// Its mode.
        mode: u32,
        /// User and group by number.
        owner: Owner,
    },
    /// A file.
    File {
        /// Absolute path.
        path: String,
        /// Its content.
        content: String,
        /// Its mode.
        mode: u32,
        /// User and group by number.
        owner: Owner,
    },
    /// A symbolic link.
    Link {
        /// Absolute path.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A file or link that is taken away.
    Remove {
        /// Absolute path.
        path: String,
    },
}

impl Change {
    /// A file of root's with the usual mode.
    pub(crate) fn file(path: impl Into<String>, content: impl Into<String>) -> Self {
        let (path, content) = (path.into(), content.into());
        Self::File {
            path,
            content,
            mode: 0o644,
            owner: (0, 0),
        }
    }

    /// A file that only root may read.
    pub(crate) fn private_file(path: impl Into<String>, content: impl Into<String>) -> Self {
        let (path, content) = (path.into(), content.into());
        Self::File {
            path,
            content,
            mode: 0o600,
            owner: (0, 0),
        }
    }

    /// A symbolic link.
    pub(crate) fn link(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::Link {
            path: path.into(),
            target: target.into(),
        }
    }

    /// Carries the change out.
    ///
    /// # Errors
    /// When the root does not take it.
    pub fn apply(&self, root: &RootDir) -> io::Result<()> {
        match self {
            Self::Directory { path, mode } => root.make_directory(path, Some(*mode)),
            Self::OwnedDirectory { path, mode, owner } => {
                root.make_directory(path, Some(*mode))?;
                root.give(path, *owner)
            }
            Self::File {
                path,
                content,
                mode,
                owner,
            } => root.write(path, content.as_bytes(), *mode, *owner),
            Self::Link { path, target } => root.symlink(path, target),
            Self::Remove { path } => root.remove(path),
        }
    }
}

impl fmt::Display for Change {
    /// Never the content: it can be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, mode } => write!(f, "directory {path} {mode:04o}"),
            Self::OwnedDirectory {
                path,
                mode,
                owner: (user, group),
            } => write!(f, "directory {path} {mode:04o} {user}:{group}"),
            Self::File {
                path,
                content,
                mode,
                owner: (user, group),
            } => {
                write!(
                    f,
                    "file {path} {mode:04o} {user}:{group}, {} bytes",
                    content.len()
                )
            }
            Self::Link { path, target } => write!(f, "link {path} -> {target}"),
            Self::Remove { path } => write!(f, "remove {path}"),
        }
    }
}

/// The machine, as far as the new root has to know it.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Its boot config.
    pub config: &'a BootConfig,
    /// MAC of the link it booted over.
    pub mac: MacAddr,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// That address with what came along with it, where it is known.
    pub own: Option<&'a Address>,
    /// Kernel name of the link that has that address.
    pub device: Option<&'a str>,
    /// Its NICs.
    pub nics: &'a [Nic],
    /// What it found out about itself.
    pub facts: &'a MachineFacts,
}

/// The changes, and what seems wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order they are to be made.
    pub list: Vec<Change>,
    /// Warnings for the log.
    pub warnings: Vec<String>,
}

impl Changes {
    fn add(&mut self, change: Change) {
        self.list.push(change);
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// All changes that make `root` the root of `machine`. What the operator's
/// profiles write comes last, and so wins.
#[must_use]
pub fn changes(machine: &Machine<'_>, root: &dyn RootView) -> Changes {
    let mut changes = Changes::default();
    identity::add(machine, root, &mut changes);
    network::add(machine, root, &mut changes);
    storage::add(machine, root, &mut changes);
    accounts::add(machine, root, &mut changes);
    scripts::add(machine, &mut changes);
    system::add(machine, root, &mut changes);
    units::add(machine, root, &mut changes);
    changes
}

/// The octal mode of a file or mount, or `default` and a warning when it is none.
fn mode_of(text: Option<&str>, default: u32, what: &str, changes: &mut Changes) -> u32 {
    let Some(text) = text else { return default };
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o7777 => mode,
        _ => {
            changes.warn(format!(
                "{what}: {text:?} is no octal mode, {default:04o} is used"
            ));
            default
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
