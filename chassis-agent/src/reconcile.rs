//! What to order: wanted power + observed power + what was ordered before ->
//! actions. Pure; time comes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use boot_proto::api::{PowerOrder, ReportedCondition};
use boot_proto::resources::{DesiredPower, ObservedPower};
use boot_proto::slot::Slot;
use boot_proto::time::Monotonic;

use crate::drivers::NetworkWay;
use crate::netboot::NetworkBoot;

/// Something to do to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Power it on, from the network if wanted.
    PowerOn {
        /// Where.
        slot: Slot,
        /// How it must boot from the network, if it must.
        network_boot: Option<NetworkWay>,
    },
    /// Ask its operating system to shut down.
    ShutDown {
        /// Where.
        slot: Slot,
    },
    /// Cut its power: it was asked and did not listen.
    CutPower {
        /// Where.
        slot: Slot,
    },
    /// Cut its power: it came up from somewhere else than the network. It is
    /// powered on again by the next way.
    StartOver {
        /// Where.
        slot: Slot,
    },
}

impl Action {
    /// One word for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerOn { .. } => "power-on",
            Self::ShutDown { .. } => "shut-down",
            Self::CutPower { .. } => "cut-power",
            Self::StartOver { .. } => "start-over",
        }
    }
}

/// What bounds the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An older observation is not acted on.
    pub stale_after: Duration,
    /// How many machines may be powered on within `interval`.
    pub power_ons: usize,
    /// How many more machines of all chassis together may be powered on now.
    pub room: usize,
    /// The time that the limit of this chassis is for.
    pub interval: Duration,
    /// How long a machine may take to shut down before its power is cut.
    pub shutdown: Duration,
    /// How long a machine may take from power-on to its first request for a
    /// network boot.
    pub network_boot: Duration,
}

/// One look at the machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Monotonic,
    /// What they showed.
    pub power: BTreeMap<Slot, ObservedPower>,
}

/// A machine that stays on so long has come up; its next failure is a new one.
const STEADY: Duration = Duration::from_secs(600);

/// Pause after the first power-on of a machine that does not stay on; it
/// doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// What was ordered before.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    machines: BTreeMap<Slot, Past>,
    power_ons: VecDeque<Monotonic>,
}

#[derive(Clone, Debug, Default)]
struct Past {
    /// Orders of one kind in a row, and the last of them.
    attempts: u32,
    last: Option<Monotonic>,
    on_since: Option<Monotonic>,
    asked_to_shut_down: Option<Monotonic>,
    network: NetworkBoot,
}

impl Past {
    /// Notes what the machine shows.
    fn see(&mut self, now: Monotonic, power: ObservedPower) {
        match power {
            ObservedPower::On => {
                let since = *self.on_since.get_or_insert(now);
                if now.since(since) >= STEADY {
                    self.attempts = 0;
                }
            }
            ObservedPower::Off => {
                self.on_since = None;
                self.asked_to_shut_down = None;
            }
            ObservedPower::Unknown => {}
        }
    }

    /// Whether the pause after the last attempt is over.
    fn may_try(&self, now: Monotonic) -> bool {
        let Some(last) = self.last.filter(|_| self.attempts > 0) else {
            return true;
        };
        let doublings = (self.attempts - 1).min(16);
        now.since(last)
            >= FIRST_PAUSE
                .saturating_mul(1 << doublings)
                .min(LONGEST_PAUSE)
    }

    fn tried(&mut self, now: Monotonic) {
        self.attempts = self.attempts.saturating_add(1);
        self.last = Some(now);
    }
}

impl Memory {
    /// What to tell of the network boots of the machines.
    pub fn conditions(&self, wait: Duration) -> impl Iterator<Item = (&Slot, ReportedCondition)> {
        self.machines
            .iter()
            .filter_map(move |(slot, past)| Some((slot, past.network.condition(slot, wait)?)))
    }
}

/// Decides what to do now and remembers it as done.
///
/// Nothing is ordered on an old observation, nor to a machine that was not seen
/// or whose state is not known: what is not known is not changed.
pub fn reconcile(
    memory: &mut Memory,
    now: Monotonic,
    seen: &Observation,
    orders: &[PowerOrder],
    limits: &Limits,
) -> Vec<Action> {
    if now.since(seen.at) > limits.stale_after {
        return Vec::new();
    }
    memory
        .machines
        .retain(|slot, _| seen.power.contains_key(slot));
    for (slot, power) in &seen.power {
        memory
            .machines
            .entry(slot.clone())
            .or_default()
            .see(now, *power);
    }
    while memory
        .power_ons
        .front()
        .is_some_and(|at| now.since(*at) >= limits.interval)
    {
        memory.power_ons.pop_front();
    }
    let mut decided: Vec<&Slot> = Vec::new();
    let mut actions = Vec::new();
    let mut limits = *limits;
    for order in orders {
        // Two wishes for one slot are a mistake elsewhere; the first counts.
        if decided.contains(&&order.slot) {
            continue;
        }
        decided.push(&order.slot);
        let power = seen.power.get(&order.slot).copied().unwrap_or_default();
        let action = decide(memory, now, power, order, &limits);
        if matches!(action, Some(Action::PowerOn { .. })) {
            limits.room = limits.room.saturating_sub(1);
        }
        actions.extend(action);
    }
    actions
}

fn decide(
    memory: &mut Memory,
    now: Monotonic,
    power: ObservedPower,
    order: &PowerOrder,
    limits: &Limits,
) -> Option<Action> {
    let slot = order.slot.clone();
    let has_room = memory.power_ons.len() < limits.power_ons && limits.room > 0;
    let past = memory.machines.get_mut(&order.slot)?;
    match (order.power, power) {
        (DesiredPower::On, ObservedPower::Off) if has_room && past.may_try(now) => {
            past.tried(now);
            memory.power_ons.push_back(now);
            let network_boot = order.network_boot.then(|| past.network.way());
            if network_boot.is_some() {
                past.network.powered_on(now);
            }
            Some(Action::PowerOn { slot, network_boot })
        }
        (DesiredPower::On, ObservedPower::On) => {
            past.asked_to_shut_down = None;
            let starts_over = past.network.look(now, power, order, limits.network_boot);
            if !starts_over {
                return None;
            }
            // It did come on: it is not one that does not stay on.
            past.attempts = 0;
            Some(Action::StartOver { slot })
        }
        (DesiredPower::Off, ObservedPower::On) => match past.asked_to_shut_down {
            None => {
                past.asked_to_shut_down = Some(now);
                past.attempts = 0;
                Some(Action::ShutDown { slot })
            }
            Some(asked) if now.since(asked) >= limits.shutdown && past.may_try(now) => {
                past.tried(now);
                Some(Action::CutPower { slot })
            }
            Some(_) => None,
        },
        (DesiredPower::Off, ObservedPower::Off) => {
            past.attempts = 0;
            past.network.rests();
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ObservedPower::{Off, On, Unknown};

    const LIMITS: Limits = Limits {
        stale_after: Duration::from_secs(60),
        power_ons: 2,
        room: usize::MAX,
        interval: Duration::from_secs(30),
        shutdown: Duration::from_secs(300),
        network_boot: Duration::from_secs(600),
    };

    fn at(secs: u64) -> Monotonic {
        Monotonic(Duration::from_secs(secs))
    }

    fn slot(number: u8) -> Slot {
        format!("c{number}n1").parse().unwrap()
    }

    fn want(number: u8, power: DesiredPower) -> PowerOrder {
        let machine = format!("m{number}");
        PowerOrder {
            machine,
            slot: slot(number),
            power,
            network_boot: true,
            is_watched: false,
            asked_ms_ago: None,
        }
    }

    fn see(secs: u64, power: &[(u8, ObservedPower)]) -> Observation {
        let power = power
            .iter()
            .map(|(number, power)| (slot(*number), *power))
            .collect();
        Observation {
            at: at(secs),
            power,
        }
    }

    fn on(number: u8) -> Action {
        on_by(number, NetworkWay::Pxe)
    }

    fn on_by(number: u8, way: NetworkWay) -> Action {
        Action::PowerOn {
            slot: slot(number),
            network_boot: Some(way),
        }
    }

    #[test]
    fn one_look_leads_to_one_decision() {
        let (wants_on, wants_off) = (want(1, DesiredPower::On), want(1, DesiredPower::Off));
        for (order, power, expected) in [
            (&wants_on, Off, vec![on(1)]),
            (&wants_on, On, vec![]),
            (&wants_on, Unknown, vec![]),
            (&wants_off, On, vec![Action::ShutDown { slot: slot(1) }]),
            (&wants_off, Off, vec![]),
            (&wants_off, Unknown, vec![]),
        ] {
            let mut memory = Memory::default();
            let seen = see(0, &[(1, power)]);
            let actions = reconcile(
                &mut memory,
                at(0),
                &seen,
                std::slice::from_ref(order),
                &LIMITS,
            );
            assert_eq!(actions, expected, "{order:?} {power}");
        }
    }

    #[test]
    fn nothing_is_ordered_on_an_old_look_or_to_a_slot_that_is_not_there() {
        let mut memory = Memory::default();
        let orders = [want(1, DesiredPower::On)];
        assert_eq!(
            reconcile(&mut memory, at(61), &see(0, &[(1, Off)]), &orders, &LIMITS),
            []
        );
        assert_eq!(
            reconcile(&mut memory, at(61), &see(61, &[(2, Off)]), &orders, &LIMITS),
            []
        );
    }

    #[test]
    fn only_so_many_are_powered_on_per_interval() {
        let mut memory = Memory::default();
        let orders = [1, 2, 3, 4, 5].map(|n| want(n, DesiredPower::On));
        let off = [(1, Off), (2, Off), (3, Off), (4, Off), (5, Off)];
        let first = reconcile(&mut memory, at(0), &see(0, &off), &orders, &LIMITS);
        assert_eq!(first, [on(1), on(2)]);
        let seen = see(10, &[(1, On), (2, On), (3, Off), (4, Off), (5, Off)]);
        assert_eq!(reconcile(&mut memory, at(10), &seen, &orders, &LIMITS), []);
        let second = reconcile(
            &mut memory,
            at(30),
            &see(30, &seen_all(&seen)),
            &orders,
            &LIMITS,
        );
        assert_eq!(second, [on(3), on(4)]);
    }

    #[test]
    fn what_other_chassis_have_left_bounds_as_well() {
        let mut memory = Memory::default();
        let orders = [1, 2, 3].map(|n| want(n, DesiredPower::On));
        let off = [(1, Off), (2, Off), (3, Off)];
        let decide = |memory: &mut Memory, secs, room| {
            let limits = Limits { room, ..LIMITS };
            reconcile(memory, at(secs), &see(secs, &off), &orders, &limits)
        };
        assert_eq!(decide(&mut memory, 0, 0), []);
        assert_eq!(decide(&mut memory, 1, 1), [on(1)]);
        assert_eq!(decide(&mut memory, 2, 5), [on(2)]);
    }

    fn seen_all(seen: &Observation) -> Vec<(u8, ObservedPower)> {
        seen.power
            .iter()
            .map(|(slot, power)| (slot.node().unwrap().cartridge(), *power))
            .collect()
    }

    #[test]
    fn a_machine_that_does_not_stay_on_is_tried_ever_more_rarely() {
        let mut memory = Memory::default();
        let orders = [want(1, DesiredPower::On)];
        let mut tried = Vec::new();
        for secs in (0..3600).step_by(10) {
            if !reconcile(
                &mut memory,
                at(secs),
                &see(secs, &[(1, Off)]),
                &orders,
                &LIMITS,
            )
            .is_empty()
            {
                tried.push(secs);
            }
        }
        assert_eq!(tried, [0, 30, 90, 210, 450, 930, 1830, 2730]);
        // Steady for ten minutes, it is as good as new.
        for secs in (3600..4300).step_by(10) {
            reconcile(
                &mut memory,
                at(secs),
                &see(secs, &[(1, On)]),
                &orders,
                &LIMITS,
            );
        }
        let actions = reconcile(
            &mut memory,
            at(4300),
            &see(4300, &[(1, Off)]),
            &orders,
            &LIMITS,
        );
        assert_eq!(actions, [on(1)]);
    }

    #[test]
    fn a_machine_that_does_not_shut_down_loses_its_power() {
        let mut memory = Memory::default();
        let orders = [want(1, DesiredPower::Off)];
        let mut decide = |secs, power| {
            reconcile(
                &mut memory,
                at(secs),
                &see(secs, &[(1, power)]),
                &orders,
                &LIMITS,
            )
        };
        assert_eq!(decide(0, On), [Action::ShutDown { slot: slot(1) }]);
        assert_eq!(decide(10, On), []);
        assert_eq!(decide(299, On), []);
        assert_eq!(decide(300, On), [Action::CutPower { slot: slot(1) }]);
        assert_eq!(decide(310, On), []);
        assert_eq!(decide(330, On), [Action::CutPower { slot: slot(1) }]);
        assert_eq!(decide(340, Off), []);
        assert_eq!(decide(350, On), [Action::ShutDown { slot: slot(1) }]);
    }

    #[test]
    fn a_machine_that_boots_from_somewhere_else_starts_over_by_the_next_way() {
        let mut memory = Memory::default();
        let mut order = want(1, DesiredPower::On);
        order.is_watched = true;
        let mut power = Off;
        let mut done = Vec::new();
        for secs in (0..20_000).step_by(10) {
            let seen = see(secs, &[(1, power)]);
            let orders = std::slice::from_ref(&order);
            for action in reconcile(&mut memory, at(secs), &seen, orders, &LIMITS) {
                power = match action {
                    Action::PowerOn { .. } => On,
                    _ => Off,
                };
                done.push((secs, action));
            }
        }
        let over = || Action::StartOver { slot: slot(1) };
        assert_eq!(
            done,
            [
                (0, on(1)),
                (600, over()),
                (610, on(1)),
                (1_810, over()),
                (1_820, on_by(1, NetworkWay::Http)),
                (4_220, over()),
                (4_230, on_by(1, NetworkWay::OtherMode)),
            ]
        );
        let told: Vec<String> = memory
            .conditions(LIMITS.network_boot)
            .map(|(_, condition)| condition.reason)
            .collect();
        assert_eq!(told, ["GivenUp"]);
        // Off and on again by an operator's wish, all ways are open again.
        let off = want(1, DesiredPower::Off);
        reconcile(
            &mut memory,
            at(21_000),
            &see(21_000, &[(1, Off)]),
            &[off],
            &LIMITS,
        );
        let actions = reconcile(
            &mut memory,
            at(21_010),
            &see(21_010, &[(1, Off)]),
            &[order],
            &LIMITS,
        );
        assert_eq!(actions, [on(1)]);
    }
}
