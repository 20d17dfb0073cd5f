//! Which pool a machine belongs to.

use boot_proto::resources::{NodePoolSpec, Object};
use boot_proto::slot::Slot;

use super::{Inventory, Known};

/// What decided for a pool, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolRule {
    /// The Machine names the pool.
    Machine,
    /// The pool names the Machine.
    Name,
    /// The pool names one of its MACs.
    Mac,
    /// The pool names its slot.
    Slot,
    /// The pool's label selector matches the Machine's labels.
    Labels,
    /// The pool names its whole chassis, `m1/*`.
    WholeChassis,
    /// The Chassis names the pool.
    Chassis,
    /// The pool takes what no other takes.
    CatchAll,
}

impl PoolRule {
    /// The rule in words, such as `the pool names its slot`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Machine => "the Machine names the pool",
            Self::Name => "the pool names the Machine",
            Self::Mac => "the pool names one of its MACs",
            Self::Slot => "the pool names its slot",
            Self::Labels => "the pool's matchLabels match the Machine's labels",
            Self::WholeChassis => "the pool names its whole chassis",
            Self::Chassis => "its Chassis names the pool",
            Self::CatchAll => "the pool is the catch-all pool",
        }
    }
}

impl Inventory {
    /// The machine's pool: the one it names itself; else the one whose selector
    /// matches most narrowly, by name of the pool where two match alike; else
    /// its chassis' pool; else the catch-all pool.
    pub(crate) fn pool_of(&self, known: &Known) -> Option<(&Object<NodePoolSpec>, PoolRule)> {
        let named = |name: &String, rule| Some((self.declared.pools.get(name)?, rule));
        if let Some(pool) = &known.spec.pool {
            return named(pool, PoolRule::Machine);
        }
        let selected = self
            .declared
            .pools
            .values()
            .filter_map(|pool| Some((pool, selects(&pool.spec, known)?)))
            .min_by(|(a, by_a), (b, by_b)| by_a.cmp(by_b).then_with(|| a.name().cmp(b.name())));
        if selected.is_some() {
            return selected;
        }
        let chassis = known
            .spec
            .chassis
            .as_ref()
            .and_then(|name| self.declared.chassis.get(name));
        if let Some(pool) = chassis.and_then(|chassis| chassis.spec.pool.as_ref()) {
            return named(pool, PoolRule::Chassis);
        }
        named(self.catch_all.as_ref()?, PoolRule::CatchAll)
    }
}

/// By which part of its selector the pool takes this machine.
fn selects(pool: &NodePoolSpec, known: &Known) -> Option<PoolRule> {
    let selector = &pool.machines;
    if selector.names.contains(&known.name) {
        return Some(PoolRule::Name);
    }
    if selector
        .macs
        .iter()
        .any(|mac| known.spec.macs.contains(mac))
    {
        return Some(PoolRule::Mac);
    }
    let chassis = known.spec.chassis.as_deref();
    let in_slot = |text: &String| match text.split_once('/') {
        Some((place, slot)) => {
            Some(place) == chassis
                && slot
                    .parse::<Slot>()
                    .is_ok_and(|slot| known.spec.slot == Some(slot))
        }
        None => false,
    };
    if selector.slots.iter().any(in_slot) {
        return Some(PoolRule::Slot);
    }
    let labels = &selector.match_labels;
    if !labels.is_empty()
        && labels
            .iter()
            .all(|(key, value)| known.labels.get(key) == Some(value))
    {
        return Some(PoolRule::Labels);
    }
    let whole = |text: &String| {
        text.split_once('/')
            .is_some_and(|(place, slot)| slot == "*" && Some(place) == chassis)
    };
    selector
        .slots
        .iter()
        .any(whole)
        .then_some(PoolRule::WholeChassis)
}
