//! What every driver of a chassis manager or BMC offers, and how it fails.
//!
//! A driver is transport, pure parser and data from a hardware profile. It
//! sends orders and shows states; waiting until an order has been obeyed is
//! `orders`, deciding what to order is `reconcile`.

pub mod moonshot;
mod open;
pub mod redfish;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::ids::SlotId;

pub use boot_proto::slot::Slot;
pub use open::{open, open_device};

/// What a driver's verb returns: the drivers are used as `dyn ChassisDriver`.
pub type DriverFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// A chassis manager or BMC that can be asked and told.
pub trait ChassisDriver: Send {
    /// Name of the hardware profile in use.
    fn profile(&self) -> &str;

    /// How patient to be with this device.
    fn patience(&self) -> Patience;

    /// Shows the machines.
    fn observe(&mut self, scope: Scope) -> DriverFuture<'_, Vec<ObservedMachine>>;

    /// Orders power and returns when the device has taken the order; whether it
    /// obeys is seen by observing.
    fn power<'a>(&'a mut self, slot: &'a Slot, order: PowerOrderKind) -> DriverFuture<'a, ()>;

    /// Orders what the machine boots from next time, once, and returns when the
    /// device has confirmed it.
    fn boot_once<'a>(&'a mut self, slot: &'a Slot, target: BootTarget) -> DriverFuture<'a, ()>;

    /// Says goodbye to the device.
    fn close(&mut self) -> DriverFuture<'_, ()>;

    /// The device's own restart, where it has one.
    fn restarts(&mut self) -> Option<&mut dyn Restarts> {
        None
    }

    /// The choice of the boot mode, where it has one.
    fn boot_modes(&mut self) -> Option<&mut dyn BootModes> {
        None
    }

    /// Requests and commands sent to the device so far.
    fn requests(&self) -> u64;

    /// The serial consoles of its machines, where it shows them.
    fn consoles(&mut self) -> Option<&mut dyn Consoles> {
        None
    }
}

/// A device that connects with the serial console of a machine.
pub trait Consoles: Send {
    /// Connects; with `acquire` it is taken away from who uses it.
    fn console<'a>(
        &'a mut self,
        slot: &'a Slot,
        acquire: bool,
    ) -> DriverFuture<'a, Box<dyn Console>>;
}

/// A serial console.
pub trait Console: Send {
    /// The keys that lead back to the device's command line, as bytes and in
    /// words.
    fn leave_keys(&self) -> (&[u8], &str);

    /// What the machine prints next; `None` when the device has ended the
    /// connection. May be dropped half way without losing anything.
    fn read(&mut self) -> DriverFuture<'_, Option<Vec<u8>>>;

    /// Types.
    fn write<'a>(&'a mut self, typed: &'a [u8]) -> DriverFuture<'a, ()>;

    /// Frees the console for others. `typed` says whether the keys for that
    /// were typed already.
    fn leave(&mut self, typed: bool) -> DriverFuture<'_, ()>;
}

/// A device that can restart a machine by one order.
pub trait Restarts: Send {
    /// Orders a restart and returns when the device has taken the order;
    /// `false` when it offers none for this machine or the machine is not on.
    fn restart<'a>(&'a mut self, slot: &'a Slot, kind: RestartKind) -> DriverFuture<'a, bool>;
}

/// A device that can be told in which mode a machine boots, by BIOS or UEFI.
pub trait BootModes: Send {
    /// Orders PXE for the next boot in the mode that the machine is not in, and
    /// returns when the device has confirmed it.
    fn pxe_in_other_mode<'a>(&'a mut self, slot: &'a Slot) -> DriverFuture<'a, ()>;
}

/// A way to have a machine boot from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkWay {
    /// By PXE, once.
    Pxe,
    /// By UEFI HTTP boot, once.
    Http,
    /// By PXE in the other boot mode, once.
    OtherMode,
}

impl NetworkWay {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::Http => "http",
            Self::OtherMode => "pxe in the other boot mode",
        }
    }
}

/// How much to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All machines with MACs and facts.
    Full,
    /// Power of all machines.
    Power,
    /// Power of one machine.
    One(Slot),
}

/// What a device can be told to do with the power of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOrderKind {
    /// Power on.
    On,
    /// Ask the operating system to shut down.
    Off,
    /// Cut the power.
    ForceOff,
}

/// How a machine that is on can be restarted by one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKind {
    /// Its power is cut and comes back.
    Cycle,
    /// Its reset line is pulled.
    Reset,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PowerAction {
    /// Power on.
    On,
    /// Ask the operating system to shut down, and wait until it has.
    Off,
    /// Cut the power.
    ForceOff,
    /// Cut the power, wait until it is off, power on.
    Cycle,
    /// The same as cycle where the device has no reset of its own.
    Reset,
}

impl PowerAction {
    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::ForceOff => "force-off",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
        }
    }
}

/// What a machine can be told to boot from, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BootTarget {
    /// Network, by PXE.
    Pxe,
    /// Network, by UEFI HTTP boot.
    Http,
    /// Its own disk.
    Disk,
}

impl BootTarget {
    /// The word on the command line and in hardware profiles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::Http => "http",
            Self::Disk => "disk",
        }
    }
}

/// How long to wait for a device to obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a machine shows On, or Off after its power was cut.
    pub settle: Duration,
    /// Until a machine that was asked to shut down is off.
    pub shutdown: Duration,
    /// Longest time between two looks.
    pub poll: Duration,
}

/// Why a device did not do what was asked. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No connection, or it broke.
    #[error("{address} cannot be reached while {doing}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What was tried.
        doing: String,
        /// What went wrong.
        reason: String,
    },
    /// It took too long.
    #[error("{address} did not answer within {} s while {doing}", .after.as_secs())]
    TimedOut {
        /// Host and port.
        address: String,
        /// What was tried.
        doing: String,
        /// How long was waited.
        after: Duration,
    },
    /// The login was refused.
    #[error(
        "{address} refused the login of {user:?}: {reason}; check user name, password file and \
         private key file"
    )]
    LoginRefused {
        /// Host and port.
        address: String,
        /// User name.
        user: String,
        /// Which ways were tried.
        reason: String,
    },
    /// The host key is not the expected one.
    #[error(
        "the host key of {address} is {found}, but {expected} is expected ({by}); if the chassis \
         manager was replaced or reset, {remedy}, otherwise somebody may be listening in"
    )]
    HostKeyChanged {
        /// Host and port.
        address: String,
        /// Fingerprint of the key it showed.
        found: String,
        /// Fingerprint that was expected.
        expected: String,
        /// Who expects it.
        by: String,
        /// What to do when the change is meant.
        remedy: String,
    },
    /// The host key could not be recorded at first contact.
    #[error("the host key of {address} cannot be recorded: {reason}")]
    HostKeyStore {
        /// Host and port.
        address: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// Both sides know no common algorithm.
    #[error("no common SSH {kind} algorithm with {address}, which offers {theirs}{advice}")]
    Negotiation {
        /// Host and port.
        address: String,
        /// Key exchange, cipher and so on.
        kind: String,
        /// The device's algorithms.
        theirs: String,
        /// The switch that may help.
        advice: &'static str,
    },
    /// The device has too much to do, or too many sessions.
    #[error("{address} is busy: {answer:?}; try again later")]
    Busy {
        /// Host and port.
        address: String,
        /// What it said.
        answer: String,
    },
    /// The device refused an order or does not know it.
    #[error("the device refused {command:?}: {answer:?}")]
    Refused {
        /// What was ordered.
        command: String,
        /// What it said.
        answer: String,
    },
    /// The device took an order and said neither that it will do it nor that it
    /// will not.
    #[error("the device did not confirm {command:?} with {expected:?}; it answered {answer:?}")]
    Unconfirmed {
        /// What was ordered.
        command: String,
        /// What a confirmation holds.
        expected: String,
        /// What it said.
        answer: String,
    },
    /// The profile has no such order.
    #[error("{what} is not possible on {profile}; possible: {possible}")]
    Impossible {
        /// What was asked for.
        what: String,
        /// Hardware profile.
        profile: String,
        /// What can be asked for instead.
        possible: String,
    },
    /// The answer makes no sense.
    #[error("the answer to {command:?} is not understood ({problem}): {excerpt:?}")]
    Garbled {
        /// What was sent.
        command: String,
        /// What is wrong with the answer.
        problem: String,
        /// The beginning of the answer.
        excerpt: String,
    },
    /// The slot is not there.
    #[error("there is no machine in {slot}; there is {present}")]
    NoSuchMachine {
        /// Slot that was asked for.
        slot: String,
        /// Slots that are there.
        present: String,
    },
    /// The order was taken, the state did not follow.
    #[error(
        "{slot} did not obey {order}: it still shows {shows} after {} s{advice}", .after.as_secs()
    )]
    DidNotObey {
        /// Slot.
        slot: Slot,
        /// What was ordered.
        order: &'static str,
        /// State it shows.
        shows: String,
        /// How long was waited.
        after: Duration,
        /// What to try.
        advice: &'static str,
    },
    /// The hardware profile does not fit.
    #[error("{0}")]
    Profile(String),
}

impl DriverError {
    /// Whether the connection is of no more use after this error.
    #[must_use]
    pub const fn breaks_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Garbled { .. }
        )
    }

    /// One word for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed-out",
            Self::LoginRefused { .. } => "login-refused",
            Self::HostKeyChanged { .. } | Self::HostKeyStore { .. } => "host-key",
            Self::Negotiation { .. } => "negotiation",
            Self::Busy { .. } => "busy",
            Self::Refused { .. } => "refused",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Impossible { .. } => "impossible",
            Self::Garbled { .. } => "garbled",
            Self::NoSuchMachine { .. } => "no-such-machine",
            Self::DidNotObey { .. } => "did-not-obey",
            Self::Profile(_) => "profile",
        }
    }
}

/// The node of a Moonshot chassis that `slot` names.
///
/// # Errors
/// When the name has another form.
pub fn node_of(slot: &Slot) -> Result<SlotId, DriverError> {
    slot.node().ok_or_else(|| DriverError::NoSuchMachine {
        slot: slot.to_string(),
        present: "only nodes with names such as c11n1".into(),
    })
}

/// The beginning of what a device said, short enough for a log line.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    let text = text.trim();
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
