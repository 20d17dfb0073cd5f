//! Makes leases durable and then answers, on a thread of its own.
//!
//! While one commit is on its way to disk, the DHCP thread goes on deciding;
//! what it decided meanwhile is the next commit. So every lease is durable
//! before its ACK leaves, and the more clients ask at the same time, the more
//! of them share the cost of that.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::leases::{Change, Leases};
use super::responder::Why;
use super::sender::{Answer, Sender};
use crate::clock;

/// Answers that wait for a commit at most; beyond it the DHCP thread waits too,
/// and the kernel holds what arrives.
const MAX_PENDING: usize = 8192;

/// What waits for its commit.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something came, or the end.
    came: Condvar,
    /// What was there is taken.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<Answer>,
    is_closed: bool,
}

impl Queue {
    /// Adds an answer. To be called while the lease table is locked, so that
    /// the order here is the order of the decisions.
    pub fn push(&self, answer: Answer) {
        self.lock().pending.push(answer);
    }

    /// Says that something was pushed.
    pub fn wake(&self) {
        if !self.lock().pending.is_empty() {
            self.came.notify_one();
        }
    }

    /// Waits until there is room for more.
    pub fn wait_for_room(&self) {
        let state = self.lock();
        let is_full = |state: &mut State| state.pending.len() >= MAX_PENDING && !state.is_closed;
        drop(self.taken.wait_while(state, is_full));
    }

    /// No more comes; what is there is still committed.
    fn close(&self) {
        self.lock().is_closed = true;
        self.came.notify_all();
    }

    /// The next batch; `None` at the end.
    fn take(&self) -> Option<Vec<Answer>> {
        let state = self.lock();
        let is_idle = |state: &mut State| state.pending.is_empty() && !state.is_closed;
        let waited = self.came.wait_while(state, is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let batch = std::mem::take(&mut state.pending);
        drop(state);
        self.taken.notify_one();
        (!batch.is_empty()).then_some(batch)
    }

    /// What was decided since the last batch was taken, taken back.
    fn revoke(&self) -> Vec<Change> {
        let pending = std::mem::take(&mut self.lock().pending);
        self.taken.notify_one();
        changes_of(&pending)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; dropping it commits and answers what is left, and ends it.
#[derive(Debug)]
pub(super) struct Committer {
    pub queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub fn spawn(leases: Arc<Leases>, sender: Sender) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let taking = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("dhcp-commit".to_owned())
            .spawn(move || {
                while let Some(batch) = taking.take() {
                    commit(&leases, &sender, &taking, batch);
                }
            })?;
        Ok(Self {
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that stores leases had panicked");
        }
    }
}

/// Makes a batch durable and answers. Where that fails nothing of it is sent:
/// the clients ask again.
fn commit(leases: &Leases, sender: &Sender, queue: &Queue, batch: Vec<Answer>) {
    let changes = changes_of(&batch);
    let began = clock::monotonic();
    match leases.commit(&changes, || queue.revoke()) {
        Ok(lost) => {
            let took = clock::monotonic().since(began);
            sender.metrics.committed(changes.len(), took);
            for answer in batch {
                let mut changes = answer.outcome.changes.iter();
                let lost = changes.find(|change| lost.contains(&change.address));
                if let Some(address) = lost.map(|change| change.address) {
                    sender.metrics.failed("lost-to-other-server");
                    sender.withhold(answer, Why::NotClaimed(address));
                } else {
                    sender.conclude(answer);
                }
            }
        }
        Err(error) => {
            sender.metrics.failed("store");
            let error = crate::images::chain(&error);
            tracing::error!(
                leases = changes.len(),
                error,
                "leases cannot be stored; their clients get no answer"
            );
            for answer in batch {
                sender.withhold(answer, Why::NotStored);
            }
        }
    }
}

fn changes_of(answers: &[Answer]) -> Vec<Change> {
    let changes = answers.iter().flat_map(|answer| &answer.outcome.changes);
    changes.cloned().collect()
}
