//! When machines asked boot-server for a boot, as far as the API server tells:
//! held against our own clock alone, since two hosts' clocks differ. Pure.

use std::collections::HashMap;
use std::time::Duration;

use boot_proto::api::PowerOrder;
use boot_proto::kubernetes::status::Timestamp;
use boot_proto::time::{Monotonic, WallClock};

use super::machines::{Known, Machines};

/// How long after its last change the sign of a boot-server counts; it is given
/// every 10 s.
const FRESH: Duration = Duration::from_secs(40);

/// What was seen of machines' requests.
#[derive(Debug, Default)]
pub struct Requests {
    machines: HashMap<String, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    asked_at: Option<Timestamp>,
    noticed: Monotonic,
    /// Whether it was there at the first look: then only boot-server's clock
    /// knows when it was.
    is_from_before: bool,
}

impl Requests {
    /// Takes in what stands in a machine's status, and says how long ago it last
    /// asked.
    pub fn age(
        &mut self,
        machine: &str,
        asked_at: Option<Timestamp>,
        now: Monotonic,
        wall: WallClock,
    ) -> Option<Duration> {
        let new = |is_from_before| Seen {
            asked_at,
            noticed: now,
            is_from_before,
        };
        let seen = self
            .machines
            .entry(machine.to_owned())
            .or_insert_with(|| new(true));
        if seen.asked_at != asked_at {
            *seen = new(false);
        }
        let since = now.since(seen.noticed);
        let age = match seen.is_from_before {
            true => wall.since(asked_at?.0).max(since),
            false => since,
        };
        asked_at.map(|_| age)
    }

    /// Forgets machines that are no more.
    pub fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.machines.retain(|name, _| is_there(name));
    }
}

/// Adds to each order when its machine last asked for a boot, which tells whether
/// what was ordered came true; and whether its request would be known of at all.
pub fn tell_who_asked(
    orders: &mut [PowerOrder],
    machines: &Machines,
    requests: &mut Requests,
    sign: &Sign,
    (now, wall): (Monotonic, WallClock),
) {
    requests.keep(|name| machines.contains_key(name));
    for order in orders {
        let Some(known) = machines.get(&order.machine) else {
            continue;
        };
        order.is_watched = sign.is_fresh(now) && is_taken_in(known);
        let age = requests.age(&order.machine, known.status.asked_at, now, wall);
        order.asked_ms_ago = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Whether boot-server would know the machine's request: it has said which host
/// this is, and there are MACs to know it by.
fn is_taken_in(known: &Known) -> bool {
    let observed = known.status.observed.iter().flat_map(|it| &it.macs);
    let met = known.status.met.iter().flat_map(|met| &met.macs);
    let mut macs = known.spec.macs.iter().chain(observed).chain(met);
    known.status.hostname.is_some() && macs.any(|mac| mac.is_usable())
}

/// The sign of boot-servers that hear requests.
#[derive(Debug, Default)]
pub struct Sign {
    value: Option<String>,
    changed: Option<Monotonic>,
}

impl Sign {
    /// Takes in the sign as it is now; what is there at the first look may be
    /// old.
    pub fn look(&mut self, value: Option<String>, now: Monotonic) {
        if self.value.is_some() && value.is_some() && self.value != value {
            self.changed = Some(now);
        }
        self.value = value;
    }

    /// Whether it was given lately.
    #[must_use]
    pub fn is_fresh(&self, now: Monotonic) -> bool {
        self.changed
            .is_some_and(|changed| now.since(changed) < FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic(Duration::from_secs(secs))
    }

    fn stamp(secs: u64) -> Option<Timestamp> {
        Some(Timestamp(WallClock(secs * 1_000)))
    }

    #[test]
    fn a_request_is_as_old_as_the_change_that_told_of_it() {
        let mut requests = Requests::default();
        let wall = WallClock(9_000_000);
        let mut age = |asked_at, now| {
            let age = requests.age("m1-c1n1", asked_at, at(now), wall);
            age.map(|age| age.as_secs())
        };
        assert_eq!(age(None, 10), None);
        // boot-server's clock is an hour behind, or ahead: no matter.
        assert_eq!(age(stamp(5_400), 20), Some(0));
        assert_eq!(age(stamp(5_400), 50), Some(30));
        assert_eq!(age(stamp(99_000), 60), Some(0));
    }

    #[test]
    fn what_was_there_at_first_is_from_before_this_program() {
        let mut requests = Requests::default();
        let wall = WallClock(9_000_000);
        let first = requests.age("a", stamp(8_000), at(10), wall).unwrap();
        assert_eq!(first.as_secs(), 1_000);
        // Its clock is ahead: at least as old as our first look.
        requests.age("b", stamp(99_000), at(10), wall).unwrap();
        let later = requests.age("b", stamp(99_000), at(70), wall).unwrap();
        assert_eq!(later.as_secs(), 60);
        requests.keep(|name| name == "a");
        assert_eq!(requests.machines.len(), 1);
    }

    #[test]
    fn machines_are_watched_where_a_boot_server_knows_them() {
        use boot_proto::ids::MacAddr;
        use boot_proto::kubernetes::status::Observed;
        use boot_proto::resources::DesiredPower;

        let mut known = Known::default();
        known.status.observed = Some(Observed {
            macs: vec![MacAddr::new([2, 0, 0, 0, 0, 1])],
            ..Observed::default()
        });
        let mut fresh = Sign::default();
        fresh.look(Some("1".into()), at(0));
        fresh.look(Some("2".into()), at(10));
        for (hostname, sign, expected) in [
            (Some("m1-c1n1"), &fresh, true),
            (None, &fresh, false),
            (Some("m1-c1n1"), &Sign::default(), false),
        ] {
            known.status.hostname = hostname.map(str::to_owned);
            known.status.asked_at = stamp(100);
            let machines: Machines = [("m1-c1n1".to_owned(), known.clone())].into();
            let mut orders = [PowerOrder {
                machine: "m1-c1n1".into(),
                slot: "c1n1".parse().unwrap(),
                power: DesiredPower::On,
                network_boot: true,
                is_watched: false,
                asked_ms_ago: None,
            }];
            let clocks = (at(11), WallClock(160_000));
            let mut requests = Requests::default();
            tell_who_asked(&mut orders, &machines, &mut requests, sign, clocks);
            assert_eq!(orders[0].is_watched, expected, "{hostname:?}");
            assert_eq!(orders[0].asked_ms_ago, Some(60_000));
        }
    }

    #[test]
    fn a_sign_that_does_not_change_is_none() {
        let mut sign = Sign::default();
        sign.look(Some("1".into()), at(0));
        assert!(!sign.is_fresh(at(0)), "it may be days old");
        sign.look(Some("1".into()), at(10));
        assert!(!sign.is_fresh(at(10)));
        sign.look(Some("2".into()), at(20));
        assert!(sign.is_fresh(at(20)) && sign.is_fresh(at(59)) && !sign.is_fresh(at(60)));
        sign.look(None, at(61));
        assert!(!sign.is_fresh(at(61)));
    }
}
