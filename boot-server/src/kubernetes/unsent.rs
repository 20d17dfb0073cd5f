//! Machines of which something was learned that the API server does not have yet.
//! A mark is written together with what was learned, and goes once the API server
//! has it: a kill in between forgets nothing, and what others write meanwhile
//! does not take its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::machines::is_foreign;
use crate::farm::Change;
use crate::inventory::LearnedMachine;
use crate::store::{Batch, Database, Record, StoreError};

/// A mark on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    machine: String,
}

impl Record for Mark {
    const TABLE: &'static str = "kubernetes_unsent";
    fn key(&self) -> String {
        self.machine.clone()
    }
}

#[derive(Debug, Default)]
struct Marks {
    /// Number of the latest mark; a machine that is marked again has a later one.
    last: u64,
    of: BTreeMap<String, u64>,
    /// Marks that are gone here and not on disk yet.
    gone: BTreeSet<String>,
}

/// The marks; clones share them.
#[derive(Clone, Debug)]
pub struct Unsent {
    cache: Database,
    marks: Arc<Mutex<Marks>>,
}

impl Unsent {
    /// The marks that a former run of this server left.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn open(cache: Database) -> Result<Self, StoreError> {
        let left: Vec<Mark> = cache.read_all()?;
        let marks = Marks {
            of: left.into_iter().map(|mark| (mark.machine, 0)).collect(),
            ..Marks::default()
        };
        Ok(Self {
            cache,
            marks: Arc::new(Mutex::new(marks)),
        })
    }

    /// Marks a machine, on disk by the batch that holds what was learned of it.
    ///
    /// # Errors
    /// Never in practice: when the mark cannot be put into JSON.
    pub fn mark(&self, machine: &str, batch: &mut Batch) -> Result<(), StoreError> {
        batch.put(&Mark {
            machine: machine.to_owned(),
        })?;
        let mut marks = self.lock();
        marks.last += 1;
        let number = marks.last;
        marks.of.insert(machine.to_owned(), number);
        marks.gone.remove(machine);
        Ok(())
    }

    /// The number of a machine's mark; look before what is known is read.
    #[must_use]
    pub fn mark_of(&self, machine: &str) -> Option<u64> {
        self.lock().of.get(machine).copied()
    }

    /// The marked machines.
    #[must_use]
    pub fn machines(&self) -> Vec<String> {
        self.lock().of.keys().cloned().collect()
    }

    /// The API server has what a machine was marked for with this number.
    pub fn sent(&self, machine: &str, mark: Option<u64>) {
        let mut marks = self.lock();
        if mark.is_some() && marks.of.get(machine).copied() == mark {
            marks.of.remove(machine);
            marks.gone.insert(machine.to_owned());
        }
    }

    /// Takes marks that are gone off the disk. One that stays there costs a look
    /// at the next start and nothing else.
    pub fn write(&self) {
        // Held while it is written: a machine that is marked again waits, so that
        // its new mark comes after.
        let mut marks = self.lock();
        let mut batch = Batch::new();
        for machine in std::mem::take(&mut marks.gone) {
            batch.delete::<Mark>(&machine);
        }
        if let Err(error) = self.cache.commit(batch) {
            tracing::debug!(error = %crate::images::chain(&error), "marks stay in the cache");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others wrote of a machine, with what was learned here and is not written
/// yet. Where another server heard of a later boot, that boot is the latest.
#[must_use]
pub fn with_unsent(theirs: Change, ours: &LearnedMachine) -> Option<Change> {
    let Change::Put(mut machine) = theirs else {
        // Whoever was learned of anew is not gone.
        return None;
    };
    machine.found.add_macs(&ours.found.macs);
    if machine.found.uuid.is_none() {
        machine.found.uuid.clone_from(&ours.found.uuid);
    }
    machine.first_seen = machine.first_seen.min(ours.first_seen);
    machine.last_seen = machine.last_seen.max(ours.last_seen);
    let (status, known) = (&mut machine.status, &ours.status);
    if known.asked_at >= status.asked_at {
        status.asked_at = known.asked_at;
        status.phase.clone_from(&known.phase);
        status.address = known.address;
        status.image = known.image;
        status.facts.clone_from(&known.facts);
        let own = known.conditions.iter().filter(|it| !is_foreign(&it.r#type));
        status.conditions.retain(|it| is_foreign(&it.r#type));
        status.conditions.extend(own.cloned());
    }
    Some(Change::Put(machine))
}

#[cfg(test)]
mod tests {
    use boot_proto::ids::MacAddr;
    use boot_proto::resources::ObservedPower;
    use boot_proto::time::WallClock;

    use super::*;

    fn open(folder: &tempfile::TempDir) -> Unsent {
        let cache = Database::open(&folder.path().join("state.redb")).unwrap();
        Unsent::open(cache).unwrap()
    }

    fn mark(unsent: &Unsent, machine: &str) {
        let mut batch = Batch::new();
        unsent.mark(machine, &mut batch).unwrap();
        unsent.cache.commit(batch).unwrap();
    }

    #[test]
    fn a_mark_outlives_a_kill_until_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let unsent = open(&folder);
        mark(&unsent, "a");
        mark(&unsent, "b");
        let first = unsent.mark_of("a");
        mark(&unsent, "a");
        unsent.sent("a", first);
        assert!(unsent.mark_of("a").is_some(), "marked again meanwhile");
        unsent.sent("b", unsent.mark_of("b"));
        unsent.write();
        drop(unsent);
        let unsent = open(&folder);
        assert_eq!(unsent.machines(), ["a"]);
        unsent.sent("a", unsent.mark_of("a"));
        unsent.write();
        drop(unsent);
        assert!(open(&folder).machines().is_empty());
    }

    fn machine(mac: u8, phase: &str, asked: Option<u64>) -> LearnedMachine {
        let mut machine = LearnedMachine::new("a", WallClock(5_000));
        machine
            .found
            .add_macs(&[MacAddr::new([2, 0, 0, 0, 0, mac])]);
        machine.status.phase = Some(phase.into());
        machine.status.asked_at = asked.map(WallClock);
        machine
    }

    #[test]
    fn what_others_wrote_and_what_was_learned_here_both_stand() {
        let ours = machine(1, "root", Some(50));
        for (asked, phase) in [(None, "root"), (Some(50), "root"), (Some(60), "image")] {
            let mut theirs = machine(2, "image", asked);
            theirs.status.power = ObservedPower::On;
            let Some(Change::Put(both)) = with_unsent(Change::Put(Box::new(theirs)), &ours) else {
                panic!("it is not gone");
            };
            assert_eq!(both.found.macs.len(), 2);
            assert_eq!(both.status.power, ObservedPower::On);
            assert_eq!(both.status.phase.as_deref(), Some(phase), "{asked:?}");
        }
        assert_eq!(with_unsent(Change::Delete("a".into()), &ours), None);
    }
}
