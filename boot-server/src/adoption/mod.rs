//! Moving machines from pool to pool: the node that a machine is gets drained,
//! the machine restarts, and what is left of the node is removed.
//!
//! [`plan`] decides; this walks. Each step is kept before the next is taken, so
//! that a server that is killed, or another one, goes on where it stopped; and
//! each may be taken twice.

mod keeper;
pub mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot_proto::resources::{ClusterSpec, JoinedNode, Membership, Object, ObservedPower};
use boot_proto::time::{Monotonic, WallClock};
use tokio::sync::Notify;

use crate::clock;
use crate::farm::{Farm, Words, moving, with};
use crate::images::chain;
use crate::inventory::{Assignment, Inventory, LearnedMachine};
use crate::tokens::{Drained, Tokens};

pub use keeper::Keeper;
use plan::{Situation, Step, Target, words};

/// How often machines on the move are looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often a node that is being drained, or waits for a person, is looked at.
const DRAIN_INTERVAL: Duration = Duration::from_secs(5);
/// How often after the time-out, and while a cluster does not answer.
const SLOW_INTERVAL: Duration = Duration::from_secs(30);
/// How long a node may take to be emptied until that counts as a fault.
const DRAIN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What a machine did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// It asked for its boot config, to become this.
    Restarted(Target),
    /// It joined.
    Joined(JoinedNode),
}

/// Moves machines. Share it as `Arc<Adoption>`.
pub struct Adoption {
    farm: Arc<Farm>,
    tokens: Arc<Tokens>,
    keeper: Arc<dyn Keeper>,
    deeds: Mutex<Vec<(String, Deed)>>,
    woken: Notify,
    /// When a machine is looked at again.
    later: Mutex<BTreeMap<String, Monotonic>>,
}

impl Adoption {
    /// Of the machines of `farm`; `keeper` keeps how far they are.
    #[must_use]
    pub fn new(farm: Arc<Farm>, tokens: Arc<Tokens>, keeper: Arc<dyn Keeper>) -> Arc<Self> {
        Arc::new(Self {
            farm,
            tokens,
            keeper,
            deeds: Mutex::default(),
            woken: Notify::new(),
            later: Mutex::default(),
        })
    }

    /// Of a farm that keeps what it learns itself.
    #[must_use]
    pub fn of(farm: &Arc<Farm>, tokens: &Arc<Tokens>) -> Arc<Self> {
        let keeper: Arc<dyn Keeper> = farm.clone();
        Self::new(Arc::clone(farm), Arc::clone(tokens), keeper)
    }

    /// A machine asked for its boot config: it runs nothing any more.
    pub fn restarted(&self, assignment: &Assignment) {
        let deed = Deed::Restarted(Target::of(assignment));
        self.note(&assignment.machine, deed);
    }

    /// A machine has joined the cluster of its pool.
    pub fn joined(&self, assignment: &Assignment) {
        let Some(cluster) = &assignment.cluster else {
            return;
        };
        let node = JoinedNode {
            cluster: cluster.name().to_owned(),
            node: assignment.hostname.clone(),
            pool: assignment.pool.clone().unwrap_or_default(),
            machine: assignment.machine.clone(),
        };
        self.note(&assignment.machine, Deed::Joined(node));
    }

    fn note(&self, machine: &str, deed: Deed) {
        let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
        // A machine that asks again and again says nothing new.
        let has_it = deeds.iter().any(|one| one.0 == machine && one.1 == deed);
        if !has_it {
            deeds.push((machine.to_owned(), deed));
        }
        drop(deeds);
        self.woken.notify_one();
    }

    /// Moves machines, until cancelled.
    pub async fn run(self: Arc<Self>) {
        let mut seen: Option<Arc<Inventory>> = None;
        let mut looked: Option<Monotonic> = None;
        let mut is_busy = true;
        loop {
            let waited = tokio::time::timeout(INTERVAL, self.woken.notified()).await;
            self.take_in_deeds().await;
            let inventory = self.farm.inventory();
            let is_same = seen
                .as_ref()
                .is_some_and(|seen| Arc::ptr_eq(seen, &inventory));
            let now = clock::monotonic();
            let is_due = looked.is_none_or(|looked| now.since(looked) > SLOW_INTERVAL);
            if waited.is_ok() || is_busy || !is_same || is_due {
                (seen, looked) = (Some(inventory), Some(now));
                is_busy = self.round().await;
            }
        }
    }

    async fn take_in_deeds(&self) {
        let deeds = std::mem::take(&mut *self.deeds.lock().unwrap_or_else(PoisonError::into_inner));
        for (machine, deed) in deeds {
            // Declared since under another name.
            let Some(record) = self.record(&machine) else {
                continue;
            };
            let before = &record.status.membership;
            let after = match &deed {
                Deed::Restarted(target) => plan::restarted(before, target),
                Deed::Joined(node) => plan::joined(before, node),
            };
            self.wake(&machine);
            if after != *before && !self.keep_membership(&record, &after).await {
                let mut deeds = self.deeds.lock().unwrap_or_else(PoisonError::into_inner);
                deeds.push((machine, deed));
            }
        }
    }

    /// Looks at every machine that is or was a node. Says whether one is moved.
    async fn round(&self) -> bool {
        let members = self.farm.members();
        let inventory = self.farm.inventory();
        let is_begun = |record: &&LearnedMachine| told(record).is_some_and(|it| it != plan::QUEUED);
        let mut begun = members.iter().filter(is_begun).count();
        let mut is_busy = begun > 0;
        for record in &members {
            if self.is_for_later(&record.name) {
                continue;
            }
            let Some(assignment) = inventory.assignment_of(&record.name) else {
                continue;
            };
            let target = Target::of(&assignment);
            let situation = situation(record, &assignment, &target, &inventory, begun);
            let step = plan::next(&situation);
            if step == Step::Rest {
                continue;
            }
            is_busy = true;
            if !situation.is_moving && matches!(step, Step::Drain(_) | Step::Become(..)) {
                begun += 1;
            }
            self.walk(record, &assignment, &situation, step).await;
        }
        is_busy
    }

    async fn walk(
        &self,
        record: &LearnedMachine,
        assignment: &Assignment,
        situation: &Situation<'_>,
        step: Step,
    ) {
        let membership = situation.membership;
        match step {
            Step::Rest => {}
            Step::Tell(words) => drop(self.keep(record, membership, Some(&words)).await),
            Step::Become(after, words) => {
                if words.is_none() {
                    tracing::info!(machine = record.name, "moved: {}", situation.target);
                }
                self.keep(record, &after, words.as_ref()).await;
            }
            Step::Drain(joined) => self.drain(record, assignment, situation, &joined).await,
            Step::Settle(joined) => {
                if let Some(cluster) = self.cluster(&joined)
                    && let Err(error) = self.tokens.uncordon(&cluster, &joined).await
                {
                    self.postpone(&record.name, SLOW_INTERVAL);
                    tracing::warn!(machine = record.name, node = joined.node, error = %chain(&error), "the node is not uncordoned yet");
                    return;
                }
                if self.keep(record, membership, None).await {
                    tracing::info!(
                        machine = record.name,
                        node = joined.node,
                        cluster = joined.cluster,
                        pool = joined.pool,
                        "is and stays this node"
                    );
                }
            }
            Step::Clean(left) => self.clean(record, assignment, &left).await,
        }
    }

    async fn drain(
        &self,
        record: &LearnedMachine,
        assignment: &Assignment,
        situation: &Situation<'_>,
        joined: &JoinedNode,
    ) {
        let drained = match self.cluster(joined) {
            Some(cluster) => {
                let uuid = assignment.uuid.as_deref();
                self.tokens.drain(&cluster, joined, uuid).await
            }
            // Nobody can be asked about its pods.
            None => Ok(Drained::Empty),
        };
        let since = begun_at(record).unwrap_or_else(clock::wall);
        let is_late = clock::wall().since(since) > DRAIN_LIMIT;
        let (after, words) = match drained {
            Ok(Drained::Empty) => {
                let (after, words) = plan::drained(situation);
                if after == *situation.membership {
                    // Somebody has to do something.
                    self.postpone(&record.name, SLOW_INTERVAL);
                }
                (after, words)
            }
            Ok(Drained::Left(left)) => {
                self.postpone(
                    &record.name,
                    if is_late {
                        SLOW_INTERVAL
                    } else {
                        DRAIN_INTERVAL
                    },
                );
                (
                    situation.membership.clone(),
                    draining(joined, &left, is_late),
                )
            }
            Err(error) => {
                self.postpone(&record.name, SLOW_INTERVAL);
                let told = format!("cluster {}: {}", joined.cluster, chain(&error));
                (situation.membership.clone(), words("ClusterRefuses", told))
            }
        };
        let is_new = told(record) != Some(words.reason);
        if self.keep(record, &after, Some(&words)).await && is_new {
            let reason = words.reason;
            if matches!(reason, "DrainTimedOut" | "ClusterRefuses" | "RestartByHand") {
                tracing::warn!(machine = record.name, reason, "{}", words.message);
            } else {
                tracing::info!(machine = record.name, reason, "{}", words.message);
            }
        }
    }

    /// Removes what is left of a former node.
    async fn clean(&self, record: &LearnedMachine, assignment: &Assignment, left: &JoinedNode) {
        let uuid = assignment.uuid.as_deref();
        let removed = match self.cluster(left) {
            Some(cluster) => self.tokens.remove_node(&cluster, left, uuid).await,
            None => {
                tracing::warn!(
                    machine = record.name,
                    node = left.node,
                    cluster = left.cluster,
                    "the cluster is not declared any more: a Node that is left there has to be deleted by hand"
                );
                Ok(())
            }
        };
        let revoked = if left.machine == record.name {
            // Its token of today is for today's join; the one before went when
            // it was minted.
            Ok(())
        } else {
            self.tokens.revoke(&left.machine).await
        };
        if let Err(error) = removed.and(revoked) {
            self.postpone(&record.name, SLOW_INTERVAL);
            let told = format!(
                "node {} of cluster {} is not removed yet: {}",
                left.node,
                left.cluster,
                chain(&error)
            );
            tracing::warn!(machine = record.name, "{told}");
            let words = words("Removing", told);
            self.keep(record, &record.status.membership, Some(&words))
                .await;
            return;
        }
        let mut after = record.status.membership.clone();
        after.left.retain(|one| one != left);
        self.keep_membership(record, &after).await;
    }

    fn cluster(&self, joined: &JoinedNode) -> Option<Object<ClusterSpec>> {
        let inventory = self.farm.inventory();
        inventory.declared().clusters.get(&joined.cluster).cloned()
    }

    /// Keeps a new membership; what is told of a move stays.
    async fn keep_membership(&self, record: &LearnedMachine, after: &Membership) -> bool {
        let mut changed = record.clone();
        changed.status.membership = after.clone();
        self.put(record, changed).await
    }

    /// Keeps a membership and what is told. Says whether that is kept now.
    async fn keep(
        &self,
        record: &LearnedMachine,
        after: &Membership,
        words: Option<&Words>,
    ) -> bool {
        self.put(record, with(record, after, words, clock::wall()))
            .await
    }

    async fn put(&self, before: &LearnedMachine, after: LearnedMachine) -> bool {
        if after == *before {
            return true;
        }
        match self.keeper.keep(before, &after).await {
            Ok(is_kept) => is_kept,
            Err(error) => {
                tracing::warn!(
                    machine = before.name,
                    error,
                    "how far a move is cannot be kept"
                );
                self.postpone(&before.name, DRAIN_INTERVAL);
                false
            }
        }
    }

    fn record(&self, machine: &str) -> Option<LearnedMachine> {
        if let Some(record) = self.farm.learned(machine) {
            return Some(record);
        }
        let inventory = self.farm.inventory();
        inventory
            .assignment_of(machine)
            .map(|_| LearnedMachine::new(machine, clock::wall()))
    }

    fn is_for_later(&self, machine: &str) -> bool {
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let at = later.get(machine);
        at.is_some_and(|at| *at > clock::monotonic())
    }

    fn postpone(&self, machine: &str, wait: Duration) {
        let at = clock::monotonic().after(wait);
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.retain(|_, at| *at > clock::monotonic());
        later.insert(machine.to_owned(), at);
    }

    fn wake(&self, machine: &str) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.remove(machine);
    }
}

/// What is told of the move of a machine, as a word.
fn told(record: &LearnedMachine) -> Option<&str> {
    moving(&record.status.conditions).map(|one| one.reason.as_str())
}

fn begun_at(record: &LearnedMachine) -> Option<WallClock> {
    moving(&record.status.conditions).map(|one| one.last_transition_time)
}

fn situation<'a>(
    record: &'a LearnedMachine,
    assignment: &Assignment,
    target: &'a Target,
    inventory: &Inventory,
    begun: usize,
) -> Situation<'a> {
    let told = told(record);
    let status = &record.status;
    let is_placed = inventory.named(&record.name).is_some_and(|known| {
        let spec = &known.spec;
        spec.chassis.is_some() && spec.slot.is_some()
    });
    Situation {
        membership: &status.membership,
        target,
        is_told: told.is_some(),
        is_moving: told.is_some_and(|reason| reason != plan::QUEUED),
        has_room: begun < plan::AT_ONCE,
        is_managed: is_placed && status.power != ObservedPower::Unknown,
        power: status.power,
        desired: assignment.power,
    }
}

fn draining(joined: &JoinedNode, left: &[String], is_late: bool) -> Words {
    let named = Drained::words(left);
    let JoinedNode { node, cluster, .. } = joined;
    if !is_late {
        return words(
            "Draining",
            format!("node {node} of cluster {cluster}: {named}"),
        );
    }
    let minutes = DRAIN_LIMIT.as_secs() / 60;
    words(
        "DrainTimedOut",
        format!(
            "node {node} of cluster {cluster} is not empty after {minutes} minutes: {named}; make \
             room for these pods elsewhere, delete them, restart the machine by hand, or undo the \
             change of its pool"
        ),
    )
}
