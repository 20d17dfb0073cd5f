//! Whether machines that were told to boot from the network did so: what
//! boot-server heard of them, held against when they were powered on. Pure; time
//! comes in.
//!
//! A service may take an order for the next boot, show it when it is read back,
//! and boot from somewhere else. Only the request that arrives is proof.

use std::time::Duration;

use boot_proto::api::condition::NETWORK_BOOT;
use boot_proto::api::{PowerOrder, ReportedCondition};
use boot_proto::resources::ObservedPower;
use boot_proto::slot::Slot;
use boot_proto::time::Monotonic;

use crate::drivers::NetworkWay;

/// What is tried, one power-on each. The same order again with a power cycle
/// comes first: most BMCs that lost one take it the second time. The boot mode
/// comes last, since some firmware keeps it.
const WAYS: [NetworkWay; 4] = [
    NetworkWay::Pxe,
    NetworkWay::Pxe,
    NetworkWay::Http,
    NetworkWay::OtherMode,
];

/// Longest wait for a request, in first waits.
const LONGEST_WAIT: u32 = 4;

/// What is known of the network boot of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkBoot {
    /// Power-ons in a row without a request.
    tries: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It was not powered on from here.
    #[default]
    Unwatched,
    /// It was powered on then; its request has not come.
    Waiting(Monotonic),
    /// Its power is cut to try the next way.
    StartingOver,
    /// Its request has come.
    Asked,
    /// All ways were tried, the last one then.
    GivenUp(Monotonic),
}

impl NetworkBoot {
    /// The way for the next power-on.
    #[must_use]
    pub fn way(&self) -> NetworkWay {
        WAYS.get(self.tries % WAYS.len())
            .copied()
            .unwrap_or(NetworkWay::Pxe)
    }

    /// It is powered on to boot from the network.
    pub const fn powered_on(&mut self, now: Monotonic) {
        self.tries = self.tries.saturating_add(1);
        self.phase = Phase::Waiting(now);
    }

    /// Takes in what the machine shows and what boot-server has heard. Says
    /// whether its power is to be cut, so that it starts over in another way.
    ///
    /// `wait` is how long a machine may take from power-on to its first request;
    /// with none at all nothing is ever cut.
    pub fn look(
        &mut self,
        now: Monotonic,
        power: ObservedPower,
        order: &PowerOrder,
        wait: Duration,
    ) -> bool {
        let since = match self.phase {
            Phase::Waiting(since) | Phase::GivenUp(since) => since,
            // Powered on before this program began: that it has asked is all
            // there is to know.
            Phase::Unwatched => {
                if power == ObservedPower::On && order.asked_ms_ago.is_some() {
                    self.phase = Phase::Asked;
                }
                return false;
            }
            Phase::StartingOver | Phase::Asked => return false,
        };
        if has_asked(now, since, order) {
            *self = Self {
                tries: 0,
                phase: Phase::Asked,
            };
            return false;
        }
        let is_over = now.since(since) >= self.patience(wait);
        if matches!(self.phase, Phase::GivenUp(_))
            || !order.is_watched
            || power != ObservedPower::On
            || wait.is_zero()
            || !is_over
        {
            return false;
        }
        if self.tries >= WAYS.len() {
            self.phase = Phase::GivenUp(since);
            return false;
        }
        self.phase = Phase::StartingOver;
        true
    }

    /// It is off because it shall be; what comes next is a new beginning.
    pub fn rests(&mut self) {
        *self = Self::default();
    }

    /// Twice as long with each try: what did not come may be slow.
    fn patience(&self, wait: Duration) -> Duration {
        let doublings = u32::try_from(self.tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(LONGEST_WAIT);
        wait.saturating_mul(factor.min(LONGEST_WAIT))
    }

    /// What to tell of it; nothing where nothing was ordered.
    #[must_use]
    pub fn condition(&self, slot: &Slot, wait: Duration) -> Option<ReportedCondition> {
        let (status, reason, message) = match self.phase {
            Phase::Unwatched => return None,
            Phase::Waiting(_) if self.tries <= 1 => (
                "Unknown",
                "Waiting",
                "it was powered on to boot from the network; boot-server has not heard of it yet"
                    .to_owned(),
            ),
            Phase::Waiting(_) => (
                "False",
                "NoRequest",
                format!(
                    "it has not asked boot-server for a network boot; tried: {}; it was powered \
                     on again by {}, and is waited for",
                    tried(self.tries.saturating_sub(1)),
                    tried_last(self.tries)
                ),
            ),
            Phase::StartingOver => (
                "False",
                "NoRequest",
                format!(
                    "it did not ask boot-server for a network boot within {} s of its power-on; \
                     tried: {}; its power is cut and {} comes next",
                    self.patience(wait).as_secs(),
                    tried(self.tries),
                    self.way().name()
                ),
            ),
            Phase::Asked => (
                "True",
                "RequestArrived",
                "its request for a network boot has arrived".to_owned(),
            ),
            Phase::GivenUp(_) => (
                "False",
                "GivenUp",
                format!(
                    "it never asked boot-server for a network boot; tried: {}; look at its console \
                     and its boot order, and whether its port leads to the provisioning network",
                    tried(self.tries)
                ),
            ),
        };
        Some(ReportedCondition {
            slot: Some(slot.to_string()),
            r#type: NETWORK_BOOT.into(),
            status: status.into(),
            reason: reason.into(),
            message,
        })
    }
}

/// Whether a request came after the power-on. The machine was off then, so that
/// none can be on its way from before.
fn has_asked(now: Monotonic, powered_on: Monotonic, order: &PowerOrder) -> bool {
    order
        .asked_ms_ago
        .is_some_and(|ago| Duration::from_millis(ago) <= now.since(powered_on))
}

fn tried(tries: usize) -> String {
    let names: Vec<&str> = WAYS.iter().take(tries).map(|way| way.name()).collect();
    names.join(", ")
}

fn tried_last(tries: usize) -> &'static str {
    WAYS.get(tries.saturating_sub(1) % WAYS.len())
        .map_or("pxe", |way| way.name())
}

#[cfg(test)]
mod tests {
    use boot_proto::resources::DesiredPower;

    use super::*;

    const WAIT: Duration = Duration::from_secs(300);

    fn at(secs: u64) -> Monotonic {
        Monotonic(Duration::from_secs(secs))
    }

    fn order(asked_secs_ago: Option<u64>) -> PowerOrder {
        PowerOrder {
            machine: "m1-c1n1".into(),
            slot: "c1n1".parse().unwrap(),
            power: DesiredPower::On,
            network_boot: true,
            is_watched: true,
            asked_ms_ago: asked_secs_ago.map(|secs| secs * 1_000),
        }
    }

    fn told(boot: &NetworkBoot) -> (String, String) {
        let slot = "c1n1".parse().unwrap();
        let condition = boot.condition(&slot, WAIT).unwrap();
        (condition.status, condition.reason)
    }

    fn pair(status: &str, reason: &str) -> (String, String) {
        (status.into(), reason.into())
    }

    #[test]
    fn a_request_after_the_power_on_is_proof() {
        for (asked, expected) in [
            (None, pair("Unknown", "Waiting")),
            // An hour ago is the boot before.
            (Some(3_600), pair("Unknown", "Waiting")),
            (Some(101), pair("Unknown", "Waiting")),
            (Some(100), pair("True", "RequestArrived")),
            (Some(0), pair("True", "RequestArrived")),
        ] {
            let mut boot = NetworkBoot::default();
            assert_eq!(boot.condition(&"c1n1".parse().unwrap(), WAIT), None);
            boot.powered_on(at(1_000));
            let cuts = boot.look(at(1_100), ObservedPower::On, &order(asked), WAIT);
            assert_eq!((cuts, told(&boot)), (false, expected), "{asked:?}");
        }
    }

    /// Powers on as often as it is told to, looks every 10 s.
    fn walk(boot: &mut NetworkBoot, until: u64) -> Vec<(u64, &'static str)> {
        let mut power_ons = Vec::new();
        let mut is_on = false;
        for secs in (0..until).step_by(10) {
            if !is_on {
                power_ons.push((secs, boot.way().name()));
                boot.powered_on(at(secs));
                is_on = true;
            } else if boot.look(at(secs), ObservedPower::On, &order(None), WAIT) {
                is_on = false;
            }
        }
        power_ons
    }

    #[test]
    fn the_ways_are_tried_one_by_one_ever_more_slowly_and_not_for_ever() {
        let mut boot = NetworkBoot::default();
        let power_ons = walk(&mut boot, 24 * 3_600);
        assert_eq!(
            power_ons,
            [
                (0, "pxe"),
                (310, "pxe"),
                (920, "http"),
                (2_130, "pxe in the other boot mode"),
            ]
        );
        assert_eq!(told(&boot), pair("False", "GivenUp"));
        // It comes late, after somebody has mended the cable.
        let now = at(100_000);
        boot.look(now, ObservedPower::On, &order(Some(5)), WAIT);
        assert_eq!(told(&boot), pair("True", "RequestArrived"));
        assert_eq!(boot.way(), NetworkWay::Pxe);
    }

    #[test]
    fn nothing_is_cut_without_good_reason() {
        let unwatched = PowerOrder {
            is_watched: false,
            ..order(None)
        };
        for (power, order, secs) in [
            (ObservedPower::On, &order(None), 299),
            (ObservedPower::Unknown, &order(None), 9_999),
            (ObservedPower::Off, &order(None), 9_999),
            // boot-server knows none of its MACs, and would not know its request.
            (ObservedPower::On, &unwatched, 9_999),
        ] {
            let mut boot = NetworkBoot::default();
            boot.powered_on(at(0));
            assert!(!boot.look(at(secs), power, order, WAIT), "{power} {secs}");
            assert!(!boot.look(at(99_999), ObservedPower::On, order, Duration::ZERO));
        }
        // It was on before this program began.
        let mut boot = NetworkBoot::default();
        assert!(!boot.look(at(9_999), ObservedPower::On, &order(None), WAIT));
        assert_eq!(boot, NetworkBoot::default());
        assert!(!boot.look(at(9_999), ObservedPower::On, &order(Some(7)), WAIT));
        assert_eq!(told(&boot), pair("True", "RequestArrived"));
    }

    #[test]
    fn messages_say_what_was_tried() {
        let mut boot = NetworkBoot::default();
        walk(&mut boot, 305);
        let slot = "c1n1".parse().unwrap();
        boot.look(at(400), ObservedPower::On, &order(None), WAIT);
        let message = boot.condition(&slot, WAIT).unwrap().message;
        assert!(message.contains("within 300 s"), "{message}");
        walk(&mut boot, 24 * 3_600);
        let message = boot.condition(&slot, WAIT).unwrap().message;
        assert!(
            message.contains("tried: pxe, pxe, http, pxe in the other boot mode"),
            "{message}"
        );
    }
}
