//! What sits in a slot: a node whose power can be switched.
//!
//! A virtual machine implements [`NodePower`] to be a node of a virtual
//! chassis; [`InertNode`] is a node of which only the power state exists.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

/// A node whose power the chassis manager can switch.
///
/// The calls may block for a moment (starting a process); the chassis makes
/// them on a thread of their own. They must be idempotent: powering on what is
/// on changes nothing.
pub trait NodePower: Send + Sync {
    /// Whether it has power now. A machine that shut itself down is `Off`.
    fn power(&self) -> PowerState;

    /// Switches it on. `boot_once` is what it must boot from this one time.
    ///
    /// # Errors
    /// When it cannot be started; the chassis shows it as off then.
    fn power_on(&self, boot_once: Option<BootOnce>) -> io::Result<()>;

    /// Switches it off: at once with `force`, else by asking its operating
    /// system, without waiting for it.
    ///
    /// # Errors
    /// When it cannot be told.
    fn power_off(&self, force: bool) -> io::Result<()>;

    /// Its serial console, if it has one.
    fn console(&self) -> Option<Console>;
}

/// Power of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Off.
    Off,
    /// Switched on a moment ago.
    PoweringOn,
    /// Running.
    On,
    /// Does not answer; the chassis manager's word for a node it cannot ask.
    Unavailable,
}

impl PowerState {
    /// The chassis manager's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::PoweringOn => "PoweringOn",
            Self::On => "On",
            Self::Unavailable => "Unavailable",
        }
    }
}

/// What a node can be told to boot from, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootOnce {
    /// The network.
    Pxe,
    /// Its own disk.
    Disk,
}

/// Where a node's serial console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// A listening UNIX stream socket that gives and takes console bytes.
    UnixSocket(PathBuf),
    /// A file the console is written to; shown from its beginning and
    /// followed; what is typed goes nowhere.
    Log(PathBuf),
}

/// A node without a machine: it remembers its power state and what it was
/// ordered, and that is all.
#[derive(Debug, Default)]
pub struct InertNode {
    state: Mutex<Inert>,
}

#[derive(Debug, Default)]
struct Inert {
    is_on: bool,
    ignores_shutdown: bool,
    boots: Vec<Option<BootOnce>>,
    console: Option<Console>,
}

impl InertNode {
    /// A node that is on or off.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        Self {
            state: Mutex::new(Inert {
                is_on,
                ..Inert::default()
            }),
        }
    }

    /// The same, with a console.
    #[must_use]
    pub fn with_console(self, console: Console) -> Self {
        self.locked().console = Some(console);
        self
    }

    /// Makes its operating system deaf to the power button, or not.
    pub fn ignore_shutdown(&self, is_deaf: bool) {
        self.locked().ignores_shutdown = is_deaf;
    }

    /// What it booted from at each time it was powered on.
    #[must_use]
    pub fn boots(&self) -> Vec<Option<BootOnce>> {
        self.locked().boots.clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Inert> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl NodePower for InertNode {
    fn power(&self) -> PowerState {
        if self.locked().is_on {
            PowerState::On
        } else {
            PowerState::Off
        }
    }

    fn power_on(&self, boot_once: Option<BootOnce>) -> io::Result<()> {
        let mut state = self.locked();
        if !state.is_on {
            state.is_on = true;
            state.boots.push(boot_once);
        }
        Ok(())
    }

    fn power_off(&self, force: bool) -> io::Result<()> {
        let mut state = self.locked();
        if force || !state.ignores_shutdown {
            state.is_on = false;
        }
        Ok(())
    }

    fn console(&self) -> Option<Console> {
        self.locked().console.clone()
    }
}
