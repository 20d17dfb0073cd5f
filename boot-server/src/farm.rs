//! What is declared and what is learned, together, behind one handle.
//!
//! Readers take a snapshot; writers go through the store first and change
//! memory only when the write is on disk, so that a restart never knows less
//! than what was answered before.

mod chassis;
mod facts;
mod membership;
mod moves;
mod names;
mod observe;
mod reconcile;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use boot_proto::api::{ChassisInventory, ChassisView, MachineView, PowerOrders};
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::manifest::Mistake;
use boot_proto::report::MachineFacts;
use boot_proto::resources::{ChassisSpec, Object};
use boot_proto::time::WallClock;

use crate::inventory::{Assignment, Client, Inventory, LearnedMachine, MatchedBy, Unassigned};
use crate::manifests::{self, Declared, Fingerprint, ManifestErrors};
use crate::store::{Database, StoreError};

pub use chassis::LearnedChassis;
pub use membership::{MOVING, Words, moving, with};
pub use store::{Change, MachineStore, batch};
pub use watch::watch;

/// Machines that are remembered at most. Anything on the wire can make up MACs;
/// a farm this large has more than one boot-server.
const MAX_MACHINES: usize = 65_536;
/// How old `last_seen` may get before a machine that shows itself again costs a
/// write.
const SEEN_AGAIN: Duration = Duration::from_secs(300);
/// How long after a request for a boot the next one costs a write: firmware and
/// loader ask several times within one boot.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// Why the farm could not answer or remember something.
#[derive(Debug, thiserror::Error)]
pub enum FarmError {
    /// The manifests are wrong.
    #[error(transparent)]
    Manifests(#[from] ManifestErrors),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client is no machine of this farm.
    #[error(transparent)]
    Unassigned(#[from] Unassigned),
    /// No machine has this name.
    #[error("no machine is named {0}")]
    UnknownMachine(String),
    /// A chassis-agent told of a chassis that no manifest declares.
    #[error(
        "no Chassis {0} is declared here; chassis-agent and boot-server need the same manifests"
    )]
    UnknownChassis(String),
    /// A chassis-agent told what is written by others here.
    #[error(
        "this boot-server keeps its state in Kubernetes; run chassis-agent with --kubernetes as well, so that it writes there itself"
    )]
    Shared,
    /// Too many machines were made up.
    #[error("{MAX_MACHINES} machines are known already; {machine} is not remembered")]
    Full {
        /// The machine that found no room.
        machine: String,
    },
}

/// The farm. Share it as `Arc<Farm>`.
#[derive(Debug)]
pub struct Farm {
    store: Arc<dyn MachineStore>,
    folder: PathBuf,
    state: Mutex<State>,
    snapshot: RwLock<Arc<Inventory>>,
}

#[derive(Debug)]
struct State {
    declared: Arc<Declared>,
    learned: BTreeMap<String, LearnedMachine>,
    chassis: BTreeMap<String, LearnedChassis>,
    /// The folder as it was when it was last read, for good or bad.
    fingerprint: Option<Fingerprint>,
    mistakes: Vec<Mistake>,
    /// Why the last reload failed, as it was logged.
    complaint: Option<String>,
}

impl Farm {
    /// Reads the manifests in `folder` and what the store has learned.
    ///
    /// # Errors
    /// When the folder or the store cannot be read, or the manifests have
    /// mistakes; all of them are in the error.
    pub fn open(database: Database, folder: &Path) -> Result<Self, FarmError> {
        // Looked at first: what changes while it is read is then read again.
        let fingerprint = Fingerprint::of(folder).ok();
        let declared = Arc::new(manifests::read(folder)?);
        let learned: Vec<LearnedMachine> = database.read_all()?;
        let chassis: Vec<LearnedChassis> = database.read_all()?;
        let store: Arc<dyn MachineStore> = Arc::new(database);
        let state = State {
            declared: Arc::clone(&declared),
            learned: learned
                .into_iter()
                .map(|machine| (machine.name.clone(), machine))
                .collect(),
            chassis: chassis
                .into_iter()
                .map(|chassis| (chassis.name.clone(), chassis))
                .collect(),
            fingerprint,
            mistakes: Vec::new(),
            complaint: None,
        };
        let snapshot = RwLock::new(Arc::new(Inventory::new(declared, Vec::new())));
        let farm = Self {
            store,
            folder: folder.to_owned(),
            state: Mutex::new(state),
            snapshot,
        };
        let mut state = farm.lock();
        let changes = reconcile::adopt(&state.declared, &state.learned);
        farm.apply(&mut state, changes)?;
        farm.publish(&state);
        drop(state);
        Ok(farm)
    }

    /// The current snapshot.
    #[must_use]
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the manifests again. Says whether anything changed.
    ///
    /// # Errors
    /// When the folder cannot be read or has mistakes: what was declared before
    /// stays in force.
    pub fn reload(&self) -> Result<bool, FarmError> {
        let fingerprint = Fingerprint::of(&self.folder).ok();
        let read = manifests::read(&self.folder);
        let mut state = self.lock();
        state.fingerprint = fingerprint;
        let declared = match read {
            Ok(declared) => declared,
            Err(error) => {
                state.mistakes = error.mistakes().to_vec();
                return Err(error.into());
            }
        };
        state.mistakes.clear();
        state.complaint = None;
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

    /// What is wrong with the manifests as they are now; empty while those in
    /// force are those in the folder.
    #[must_use]
    pub fn manifest_mistakes(&self) -> Vec<Mistake> {
        self.lock().mistakes.clone()
    }

    /// A machine showed itself at the boot face. One that nobody declared is
    /// remembered from here on; a MAC newly seen with a known UUID is added.
    ///
    /// # Errors
    /// When it is no machine of this farm, or cannot be remembered.
    pub fn met(&self, client: &Client, now: WallClock) -> Result<Assignment, FarmError> {
        let mut state = self.lock();
        let assignment = self.inventory().assign(client)?;
        let known = state.learned.get(&assignment.machine);
        if known.is_none() {
            has_room(&state, &assignment.machine)?;
        }
        let mut machine = known
            .cloned()
            .unwrap_or_else(|| LearnedMachine::new(&assignment.machine, now));
        let is_stale = now.since(machine.last_seen) >= SEEN_AGAIN;
        let has_new_mac = machine.found.add_macs(&[client.mac]);
        let has_new_uuid = machine.found.uuid.is_none() && assignment.uuid.is_some();
        if known.is_some() && !has_new_mac && !has_new_uuid && !is_stale {
            return Ok(assignment);
        }
        if has_new_uuid {
            machine.found.uuid.clone_from(&assignment.uuid);
        }
        machine.last_seen = now;
        if assignment.matched == MatchedBy::CatchAll {
            tracing::info!(mac = %client.mac, machine = assignment.machine, "met a machine that nobody declared");
        }
        self.learn(&mut state, machine)?;
        Ok(assignment)
    }

    /// A machine that its relay port or its client identifier tells showed a
    /// MAC. It is remembered, so that the boot face knows the machine by it.
    ///
    /// # Errors
    /// When no such machine is known, or it cannot be remembered.
    pub fn met_as(&self, machine: &str, mac: MacAddr, now: WallClock) -> Result<(), FarmError> {
        let mut state = self.lock();
        let mut record = record_of(&state, &self.inventory(), machine, now)?;
        if !record.found.add_macs(&[mac]) {
            return Ok(());
        }
        record.last_seen = now;
        self.learn(&mut state, record)
    }

    /// Remembers what a machine found out about itself.
    ///
    /// # Errors
    /// When no such machine is known, or it cannot be remembered.
    pub fn learn_facts(
        &self,
        machine: &str,
        facts: &MachineFacts,
        now: WallClock,
    ) -> Result<(), FarmError> {
        let mut state = self.lock();
        let inventory = self.inventory();
        let mut record = record_of(&state, &inventory, machine, now)?;
        facts::learn(&mut record, facts, &inventory);
        record.last_seen = now;
        self.learn(&mut state, record)
    }

    /// Remembers when the machine with that NIC last asked for something to boot,
    /// where others read it in a store that is shared. By itself a server has it
    /// in its boot log.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub fn learn_request(&self, mac: MacAddr, asked: WallClock) -> Result<(), FarmError> {
        let inventory = self.inventory();
        let Some(machine) = inventory
            .machine_of_mac(mac)
            .filter(|_| self.store.is_shared())
        else {
            return Ok(());
        };
        let mut state = self.lock();
        let mut record = record_of(&state, &inventory, machine, asked)?;
        let before = record.status.asked_at;
        if before.is_some_and(|before| asked < before.after(ASKED_AGAIN)) {
            return Ok(());
        }
        record.status.asked_at = Some(asked);
        self.apply(&mut state, vec![Change::Put(Box::new(record))])
    }

    /// Remembers where the latest boot of a machine stands.
    ///
    /// # Errors
    /// When no such machine is known, or it cannot be remembered.
    pub fn learn_boot(
        &self,
        machine: &str,
        address: Option<Ipv4Addr>,
        phase: &str,
        image: Option<Digest>,
    ) -> Result<(), FarmError> {
        let mut state = self.lock();
        let mut record = record_of(&state, &self.inventory(), machine, WallClock::default())?;
        let before = record.status.clone();
        record.status.phase = Some(phase.to_owned());
        record.status.address = address.or(before.address);
        record.status.image = image.or(before.image);
        if record.status == before {
            return Ok(());
        }
        // Nothing of this identifies a machine: the snapshot stays as it is.
        self.apply(&mut state, vec![Change::Put(Box::new(record))])
    }

    /// Takes in one scan of a chassis and says which power its machines shall
    /// have.
    ///
    /// # Errors
    /// When the chassis is not declared, or what was seen cannot be remembered.
    pub fn observe(
        &self,
        chassis: &str,
        scan: ChassisInventory,
        now: WallClock,
    ) -> Result<PowerOrders, FarmError> {
        if self.store.is_shared() {
            return Err(FarmError::Shared);
        }
        let mut state = self.lock();
        if !state.declared.chassis.contains_key(chassis) {
            return Err(FarmError::UnknownChassis(chassis.to_owned()));
        }
        let changes = observe::take_in(&state.declared, &state.learned, chassis, &scan, now);
        let mut known = state.chassis.get(chassis).cloned().unwrap_or_default();
        chassis.clone_into(&mut known.name);
        chassis::learn(&mut known, &scan, now);
        let is_told_anew = chassis::is_told_anew(state.chassis.get(chassis), &mut known, now);
        // Most looks find what the one before has found; a farm has hundreds
        // of them a second, and each write waits for the disk.
        let lasting: Vec<Change> = changes
            .iter()
            .filter(|change| observe::is_lasting(&state.learned, change))
            .cloned()
            .collect();
        let identifies = changes
            .iter()
            .any(|change| observe::identifies(&state.learned, change));
        self.store
            .commit(&lasting, is_told_anew.then_some(&known))?;
        state.remember(changes);
        state.chassis.insert(known.name.clone(), known);
        if identifies {
            self.publish(&state);
        }
        Ok(observe::orders(&self.inventory(), &state.learned, chassis))
    }

    /// Every machine, declared or found, with what is known of it.
    #[must_use]
    pub fn machines(&self) -> Vec<MachineView> {
        let state = self.lock();
        let mut views = self.inventory().machines();
        for view in &mut views {
            if let Some(machine) = state.learned.get(&view.name) {
                view.status = machine.status.clone();
            }
        }
        views
    }

    /// Every declared chassis with what is known of it.
    #[must_use]
    pub fn chassis(&self) -> Vec<ChassisView> {
        let state = self.lock();
        let view = |object: &Object<ChassisSpec>| ChassisView {
            name: object.name().to_owned(),
            spec: object.spec.clone(),
            status: state
                .chassis
                .get(object.name())
                .map(|known| known.status.clone())
                .unwrap_or_default(),
        };
        state.declared.chassis.values().map(view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Memory changes only after the store did, one whole record at a time:
        // what a panic leaves behind is still right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes to the store, then to memory.
    fn apply(&self, state: &mut State, changes: Vec<Change>) -> Result<(), FarmError> {
        self.store.commit(&changes, None)?;
        state.remember(changes);
        Ok(())
    }

    /// Remembers one machine, and publishes what is new of it alone where that
    /// will do: a flood of new machines must not look at all the others each time.
    fn learn(&self, state: &mut State, machine: LearnedMachine) -> Result<(), FarmError> {
        let before = state.learned.get(&machine.name);
        let is_known = before.is_some_and(|known| known.found == machine.found);
        let next = if is_known {
            None
        } else {
            self.inventory().with(&machine)
        };
        self.apply(state, vec![Change::Put(Box::new(machine))])?;
        match next {
            _ if is_known => {}
            Some(inventory) => self.show(inventory),
            None => self.publish(state),
        }
        Ok(())
    }

    fn publish(&self, state: &State) {
        let learned = state.learned.values().cloned().collect();
        self.show(Inventory::new(Arc::clone(&state.declared), learned));
    }

    fn show(&self, inventory: Inventory) {
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(inventory);
    }
}

impl State {
    fn remember(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(machine) => drop(self.learned.insert(machine.name.clone(), *machine)),
                Change::Delete(name) => drop(self.learned.remove(&name)),
            }
        }
    }
}

fn has_room(state: &State, machine: &str) -> Result<(), FarmError> {
    if state.learned.len() < MAX_MACHINES {
        return Ok(());
    }
    Err(FarmError::Full {
        machine: machine.to_owned(),
    })
}

/// The record of a known machine, made anew for a declared one that was not met yet.
fn record_of(
    state: &State,
    inventory: &Inventory,
    machine: &str,
    now: WallClock,
) -> Result<LearnedMachine, FarmError> {
    if let Some(record) = state.learned.get(machine) {
        return Ok(record.clone());
    }
    if inventory.named(machine).is_none() {
        return Err(FarmError::UnknownMachine(machine.to_owned()));
    }
    has_room(state, machine)?;
    Ok(LearnedMachine::new(machine, now))
}
