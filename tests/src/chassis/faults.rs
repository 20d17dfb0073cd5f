//! How a virtual chassis can be told to misbehave.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One way of misbehaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refuses every login.
    RefuseLogin,
    /// Takes commands that begin so and never answers.
    Hang(String),
    /// Answers commands that begin so with bytes that mean nothing.
    Garble(String),
    /// Answers commands that begin so with this text.
    Answer(String, String),
    /// Takes power orders and does nothing.
    IgnorePower,
    /// Takes one-time boot orders, does not confirm and forgets them.
    IgnoreBootOnce,
    /// Breaks the connection after this many bytes of an answer.
    BreakAfter(usize),
    /// Waits this long before every answer, as a busy one does.
    Wait(Duration),
    /// Waits this long after every byte.
    Drip(Duration),
    /// Puts a line of this many bytes into every answer.
    LongLine(usize),
    /// Never stops answering.
    EndlessOutput,
    /// Refuses exec channels, as devices do that have a shell only.
    NoExec,
    /// Takes exec channels and closes them without a byte.
    EmptyExec,
    /// Prints the prompt of its shell twice.
    DoublePrompt,
    /// Prints the prompt of its shell behind the last row of an answer.
    GluedPrompt,
    /// Waits for a key after so many lines of an answer.
    Pager(usize),
    /// Says "too many connections" to every connection after the login.
    TooManyConnections,
    /// Closes the connection after every command.
    OneCommandPerConnection,
}

/// The faults that are switched on; shared by all who hold it.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    active: Arc<Mutex<Vec<Fault>>>,
}

impl Faults {
    /// Switches exactly these faults on.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.locked() = faults.into_iter().collect();
    }

    /// Behaves again.
    pub fn clear(&self) {
        self.locked().clear();
    }

    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.locked().contains(fault)
    }

    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.locked().iter().find_map(pick)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
