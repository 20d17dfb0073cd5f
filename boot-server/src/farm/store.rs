//! Where learned machines are kept: a small seam, so that a server of its own
//! keeps them in its state file and several servers keep them where all of them
//! look.

use std::fmt::Debug;

use super::chassis::LearnedChassis;
use crate::inventory::LearnedMachine;
use crate::store::{Batch, Database, StoreError};

/// One thing to remember or forget.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Remember this, in place of what was known.
    Put(Box<LearnedMachine>),
    /// Forget the machine of this name.
    Delete(String),
}

/// Keeps learned machines.
pub trait MachineStore: Send + Sync + Debug {
    /// All machines, in any order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self) -> Result<Vec<LearnedMachine>, StoreError>;

    /// Remembers changes, in this order, and with them what was learned of a
    /// chassis; this process knows them after a restart
    /// when this returns.
    ///
    /// # Errors
    /// When they cannot be written; then none of them is.
    fn commit(
        &self,
        changes: &[Change],
        chassis: Option<&LearnedChassis>,
    ) -> Result<(), StoreError>;

    /// Whether other servers write to it, too. Then what a chassis shows comes
    /// from there and not through the management API.
    fn is_shared(&self) -> bool {
        false
    }
}

impl MachineStore for Database {
    fn load(&self) -> Result<Vec<LearnedMachine>, StoreError> {
        self.read_all()
    }

    fn commit(
        &self,
        changes: &[Change],
        chassis: Option<&LearnedChassis>,
    ) -> Result<(), StoreError> {
        Self::commit(self, batch(changes, chassis)?)
    }
}

/// The writes that remember changes in a state file.
///
/// # Errors
/// When a record cannot be put into JSON.
pub fn batch(changes: &[Change], chassis: Option<&LearnedChassis>) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    for change in changes {
        match change {
            Change::Put(machine) => batch.put(machine.as_ref())?,
            Change::Delete(name) => batch.delete::<LearnedMachine>(name),
        }
    }
    if let Some(chassis) = chassis {
        batch.put(chassis)?;
    }
    Ok(batch)
}
