//! What comes next when a machine is moved to another pool. Pure.
//!
//! Its node is drained, the machine is restarted, and what is left of the node
//! is removed from its cluster. Who restarts it is the chassis manager where
//! there is one, else a person; a restart that comes by itself does as well.

use boot_proto::resources::{DesiredPower, JoinedNode, Membership, ObservedPower};

use crate::farm::Words;
use crate::inventory::{Assignment, PoolRule};

/// Machines that are moved at once. The others wait: a farm shall not lose many
/// nodes over one change.
pub const AT_ONCE: usize = 8;

/// What a machine is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its pool.
    pub pool: Option<String>,
    /// The cluster to join.
    pub cluster: Option<String>,
    /// Its node name.
    pub node: String,
    /// Whether somebody said so of this very machine. What changes for a machine
    /// because its pool or chassis changes waits for its next boot.
    pub is_explicit: bool,
}

impl Target {
    /// What an assignment makes of a machine.
    #[must_use]
    pub fn of(assignment: &Assignment) -> Self {
        let is_explicit = assignment.pool_rule.is_some_and(|rule| {
            matches!(
                rule,
                PoolRule::Machine | PoolRule::Name | PoolRule::Mac | PoolRule::Slot
            )
        });
        Self {
            pool: assignment.pool.clone(),
            cluster: assignment
                .cluster
                .as_ref()
                .map(|cluster| cluster.name().to_owned()),
            node: assignment.hostname.clone(),
            is_explicit,
        }
    }

    fn is_same_node(&self, joined: &JoinedNode) -> bool {
        self.cluster.as_deref() == Some(&*joined.cluster) && self.node == joined.node
    }

    fn is_same_pool(&self, joined: &JoinedNode) -> bool {
        self.pool.as_deref() == Some(&*joined.pool)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.cluster, &self.pool) {
            (Some(cluster), Some(pool)) => {
                write!(f, "node {} of cluster {cluster}, in pool {pool}", self.node)
            }
            (None, Some(pool)) => {
                write!(f, "{}, in pool {pool}, which joins no cluster", self.node)
            }
            (_, None) => write!(f, "{}, in no pool", self.node),
        }
    }
}

/// All that decides.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What it is.
    pub membership: &'a Membership,
    /// What it is to be.
    pub target: &'a Target,
    /// Whether something is told of a move of it.
    pub is_told: bool,
    /// Whether that move has begun.
    pub is_moving: bool,
    /// Whether another move may begin.
    pub has_room: bool,
    /// Whether chassis-agent can switch its power.
    pub is_managed: bool,
    /// Its power as its chassis shows it.
    pub power: ObservedPower,
    /// Power that is desired of it in its new pool.
    pub desired: Option<DesiredPower>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Tell why it waits.
    Tell(Words),
    /// Let pods onto its node again, and say no more of a move.
    Settle(JoinedNode),
    /// Empty its node.
    Drain(JoinedNode),
    /// Remember this, and tell what comes next; without words the move is over.
    Become(Membership, Option<Words>),
    /// Remove what is left of a node.
    Clean(JoinedNode),
}

/// The next step.
#[must_use]
pub fn next(now: &Situation<'_>) -> Step {
    let membership = now.membership;
    if let Some(left) = membership.left.first() {
        return Step::Clean(left.clone());
    }
    let Some(joined) = &membership.joined else {
        return restarting(now);
    };
    let target = now.target;
    if target.is_same_pool(joined) || !target.is_explicit {
        return if now.is_told {
            Step::Settle(joined.clone())
        } else {
            Step::Rest
        };
    }
    if !now.is_moving && !now.has_room {
        return Step::Tell(words(
            QUEUED,
            format!("{AT_ONCE} machines are being moved; this one follows and becomes {target}"),
        ));
    }
    if !now.is_managed {
        return Step::Drain(joined.clone());
    }
    match (membership.ordered_power, now.power) {
        // What is off runs no pods.
        (_, ObservedPower::Off) => {
            let (membership, words) = leave(now);
            Step::Become(membership, Some(words))
        }
        (Some(DesiredPower::Off), _) => Step::Tell(words(
            "PoweringOff",
            format!(
                "it is drained and ordered off; its chassis shows its power as {}",
                now.power
            ),
        )),
        _ => Step::Drain(joined.clone()),
    }
}

/// Reason of a move that has not begun.
pub const QUEUED: &str = "Queued";

/// It is no node at the moment.
fn restarting(now: &Situation<'_>) -> Step {
    if !now.is_moving {
        return Step::Rest;
    }
    let target = now.target;
    let is_done = now.membership.ordered_power.is_none() && target.cluster.is_none();
    let stays_off = now.desired == Some(DesiredPower::Off);
    if is_done || stays_off {
        let membership = Membership {
            ordered_power: None,
            ..now.membership.clone()
        };
        return Step::Become(membership, None);
    }
    Step::Tell(words(
        "Restarting",
        format!("it restarts and becomes {target}"),
    ))
}

/// What follows when the node is empty.
#[must_use]
pub fn drained(now: &Situation<'_>) -> (Membership, Words) {
    let membership = now.membership.clone();
    let node = membership
        .joined
        .as_ref()
        .map(|joined| joined.node.clone())
        .unwrap_or_default();
    if now.is_managed && now.power == ObservedPower::Off {
        return leave(now);
    }
    if now.is_managed {
        let ordered = Membership {
            ordered_power: Some(DesiredPower::Off),
            ..membership
        };
        let told = format!("node {node} is drained; the machine is ordered off and on again");
        return (ordered, words("PoweringOff", told));
    }
    let told = format!(
        "node {node} is drained, and nothing here switches its power: restart the machine \
         (`ssh {node} reboot`), and it becomes {}",
        now.target
    );
    (membership, words("RestartByHand", told))
}

/// It is off: it is that node no more.
fn leave(now: &Situation<'_>) -> (Membership, Words) {
    let mut membership = now.membership.clone();
    membership.left.extend(membership.joined.take());
    membership.ordered_power = (now.desired != Some(DesiredPower::Off)).then_some(DesiredPower::On);
    let told = format!("it is off; it is powered on and becomes {}", now.target);
    (membership, words("Restarting", told))
}

/// A machine asked for its boot config: whatever node it was, it is no more.
#[must_use]
pub fn restarted(membership: &Membership, target: &Target) -> Membership {
    let mut after = membership.clone();
    after.ordered_power = None;
    match after.joined.take() {
        // The Node goes when it asks for its token.
        Some(joined) if target.is_same_node(&joined) => {
            let stays = target.is_same_pool(&joined) && membership.ordered_power.is_none();
            after.joined = stays.then_some(joined);
        }
        Some(joined) => after.left.push(joined),
        None => {}
    }
    after
        .left
        .drain(..after.left.len().saturating_sub(MOST_LEFT));
    after
}

/// Former nodes that are remembered.
const MOST_LEFT: usize = 8;

/// A machine has joined as `node`.
#[must_use]
pub fn joined(membership: &Membership, node: &JoinedNode) -> Membership {
    let mut after = membership.clone();
    let is_it = |other: &JoinedNode| other.cluster == node.cluster && other.node == node.node;
    if let Some(before) = after.joined.take().filter(|before| !is_it(before)) {
        after.left.push(before);
    }
    after.left.retain(|left| !is_it(left));
    after.joined = Some(node.clone());
    after.ordered_power = None;
    after
}

/// What is told of something that keeps a node from being emptied.
#[must_use]
pub fn words(reason: &'static str, message: String) -> Words {
    Words { reason, message }
}
