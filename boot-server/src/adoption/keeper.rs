//! Where it is kept how far a machine is with a move.

use futures_util::future::BoxFuture;

use crate::farm::Farm;
use crate::inventory::LearnedMachine;

/// Keeps the membership of a machine and the condition that tells of its move.
pub trait Keeper: Send + Sync {
    /// Keeps what of this `after` says, where `before` is still how it stands. Says
    /// whether it was; where not, another was faster, and it is to be decided anew.
    /// A failure is told in words.
    fn keep<'a>(
        &'a self,
        before: &'a LearnedMachine,
        after: &'a LearnedMachine,
    ) -> BoxFuture<'a, Result<bool, String>>;
}

impl Keeper for Farm {
    fn keep<'a>(
        &'a self,
        before: &'a LearnedMachine,
        after: &'a LearnedMachine,
    ) -> BoxFuture<'a, Result<bool, String>> {
        // One write to the disk, a few times in a move.
        Box::pin(async move {
            self.keep_membership(before, after)
                .map_err(|error| crate::images::chain(&error))
        })
    }
}
