//! A farm whose store is shared: what is declared and what others learned comes
//! in from there, not from a folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use super::{Change, Farm, FarmError, MachineStore, State, reconcile};
use crate::inventory::{Inventory, LearnedMachine};
use crate::manifests::Declared;

impl Farm {
    /// A farm on a shared store, with what was declared when it was last seen.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_shared(
        store: Arc<dyn MachineStore>,
        declared: Declared,
    ) -> Result<Self, FarmError> {
        let learned = store.load()?;
        let declared = Arc::new(declared);
        let state = State {
            declared: Arc::clone(&declared),
            learned: learned
                .into_iter()
                .map(|machine| (machine.name.clone(), machine))
                .collect(),
            chassis: std::collections::BTreeMap::new(),
            fingerprint: None,
            mistakes: Vec::new(),
            complaint: None,
        };
        let farm = Self {
            store,
            folder: PathBuf::new(),
            state: Mutex::new(state),
            snapshot: RwLock::new(Arc::new(Inventory::new(declared, Vec::new()))),
        };
        let state = farm.lock();
        farm.publish(&state);
        drop(state);
        Ok(farm)
    }

    /// Takes over what is declared now. Says whether that is anything new.
    ///
    /// # Errors
    /// When what follows from it cannot be remembered; then what was declared
    /// before stays in force.
    pub fn declare(&self, declared: Declared) -> Result<bool, FarmError> {
        let mut state = self.lock();
        if declared == *state.declared {
            return Ok(false);
        }
        let declared = Arc::new(declared);
        let changes = reconcile::adopt(&declared, &state.learned);
        self.apply(&mut state, changes)?;
        state.declared = declared;
        self.publish(&state);
        Ok(true)
    }

    /// Takes in what the store has by the hand of others; it is not written
    /// back. Says how many records that changed.
    pub fn take_in(&self, changes: Vec<Change>) -> usize {
        let mut state = self.lock();
        let mut changed = 0;
        let mut identity = false;
        for change in changes {
            match change {
                Change::Put(machine) => {
                    let known = state.learned.get(&machine.name);
                    if known == Some(machine.as_ref()) {
                        continue;
                    }
                    identity |= known.is_none_or(|known| known.found != machine.found);
                    state.learned.insert(machine.name.clone(), *machine);
                }
                Change::Delete(name) => {
                    if state.learned.remove(&name).is_none() {
                        continue;
                    }
                    identity = true;
                }
            }
            changed += 1;
        }
        // A status alone identifies no machine: the snapshot stays as it is.
        if identity {
            self.publish(&state);
        }
        changed
    }

    /// What is known of a machine of that name.
    #[must_use]
    pub fn learned(&self, name: &str) -> Option<LearnedMachine> {
        self.lock().learned.get(name).cloned()
    }
}
