//! Which node a machine is: kept with what else is learned of it, changed by
//! [`crate::adoption`] alone.

use boot_proto::resources::{Condition, Membership};
use boot_proto::time::WallClock;

use super::{Change, Farm, FarmError, facts};
use crate::adoption::plan::QUEUED;
use crate::inventory::LearnedMachine;

/// Type of the condition that a machine has while it is moved to another pool.
pub const MOVING: &str = "Moving";

/// What is told of a move: a word for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Such as `Draining`.
    pub reason: &'static str,
    /// What happens, and what a person can do about it.
    pub message: String,
}

/// The condition that tells of a move, where the machine is moved.
#[must_use]
pub fn moving(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|one| one.r#type == MOVING)
}

/// The record with a new membership, telling `words`; without them it is not
/// moved any more.
#[must_use]
pub fn with(
    record: &LearnedMachine,
    membership: &Membership,
    words: Option<&Words>,
    now: WallClock,
) -> LearnedMachine {
    let mut record = record.clone();
    record.status.membership.clone_from(membership);
    let conditions = &mut record.status.conditions;
    match words {
        Some(words) => {
            let status = if words.reason == QUEUED {
                "False"
            } else {
                "True"
            };
            let told = (MOVING, status, words.reason, words.message.as_str());
            facts::set_condition(conditions, told, now);
        }
        None => conditions.retain(|one| one.r#type != MOVING),
    }
    record
}

impl Farm {
    /// Remembers the membership and the [`MOVING`] condition of `after`, where
    /// the membership is still that of `before`. Says whether it was.
    ///
    /// # Errors
    /// When it cannot be remembered.
    pub fn keep_membership(
        &self,
        before: &LearnedMachine,
        after: &LearnedMachine,
    ) -> Result<bool, FarmError> {
        let mut state = self.lock();
        let known = state.learned.get(&before.name).unwrap_or(before);
        if known.status.membership != before.status.membership {
            return Ok(false);
        }
        let mut record = known.clone();
        record
            .status
            .membership
            .clone_from(&after.status.membership);
        record.status.conditions.retain(|one| one.r#type != MOVING);
        let told = moving(&after.status.conditions).cloned();
        record.status.conditions.extend(told);
        if record == *known && state.learned.contains_key(&before.name) {
            return Ok(true);
        }
        self.apply(&mut state, vec![Change::Put(Box::new(record))])?;
        Ok(true)
    }

    /// Every machine that is or was a node, or restarts to become one.
    #[must_use]
    pub fn members(&self) -> Vec<LearnedMachine> {
        let state = self.lock();
        let is_member = |machine: &&LearnedMachine| {
            let status = &machine.status;
            !status.membership.is_empty() || moving(&status.conditions).is_some()
        };
        state.learned.values().filter(is_member).cloned().collect()
    }

    /// Whether what is learned is kept where other servers write to it, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}
