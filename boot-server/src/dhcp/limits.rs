//! What one client, and what hangs on one relay port, may ask for. Pure.
//!
//! Anything on the wire can make up MACs. A known machine is never held back
//! by what strangers do; strangers share a bounded number of new addresses that
//! refills slowly, each relay port has a share of its own, and a client that
//! sends without end is left alone for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;

/// Messages of one client in a row, and how many more each second. Firmware
/// that boots sends some ten in a minute.
const CLIENT: Rate = Rate {
    burst: 40,
    per_minute: 300,
};
/// Addresses that one client may decline in a row, and more each minute.
const DECLINES: Rate = Rate {
    burst: 3,
    per_minute: 1,
};
/// New clients on one relay port (circuit and remote id) in a row, and more
/// each minute: a port is one machine, or a switch with a rack behind it.
const PORT: Rate = Rate {
    burst: 64,
    per_minute: 8,
};
/// How long a client that passed its limit is left alone.
const QUARANTINE: Duration = Duration::from_secs(60);
/// Entries of each table at most.
const MAX_ENTRIES: usize = 16_384;

/// How many in a row, and how many more each minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a row.
    pub burst: u32,
    /// More each minute.
    pub per_minute: u32,
}

/// A relay port: giaddr, circuit id and remote id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The relay.
    pub relay: Ipv4Addr,
    /// Sub-option 1.
    pub circuit: Vec<u8>,
    /// Sub-option 2.
    pub remote: Vec<u8>,
}

/// Whether a client may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Pass,
    /// From now on it may not; to be said once.
    Stopped,
    /// It still may not.
    Held,
}

/// All limits.
#[derive(Debug, Default)]
pub struct Limits {
    clients: Buckets<MacAddr>,
    declines: Buckets<MacAddr>,
    ports: Buckets<Port>,
    subnets: Buckets<String>,
    quarantine: HashMap<MacAddr, Monotonic>,
}

impl Limits {
    /// A message of a client came in.
    pub fn message(&mut self, mac: MacAddr, now: Monotonic) -> Verdict {
        if let Some(until) = self.quarantine.get(&mac) {
            if now < *until {
                return Verdict::Held;
            }
            self.quarantine.remove(&mac);
        }
        if self.clients.take(&mac, CLIENT, now) {
            return Verdict::Pass;
        }
        self.put_away(mac, now);
        Verdict::Stopped
    }

    /// A client declines an address. One that declines everything it is given
    /// would make the whole range rest.
    pub fn decline(&mut self, mac: MacAddr, now: Monotonic) -> bool {
        let may = self.declines.take(&mac, DECLINES, now);
        if !may {
            self.put_away(mac, now);
        }
        may
    }

    /// A client that nobody knows would get an address it never had.
    pub fn stranger(
        &mut self,
        subnet: &str,
        limit: Rate,
        port: Option<&Port>,
        now: Monotonic,
    ) -> bool {
        if let Some(port) = port
            && !self.ports.take(port, PORT, now)
        {
            return false;
        }
        self.subnets.take(&subnet.to_owned(), limit, now)
    }

    /// Clients that are left alone now.
    #[must_use]
    pub fn quarantined(&self, now: Monotonic) -> usize {
        self.quarantine
            .values()
            .filter(|until| now < **until)
            .count()
    }

    fn put_away(&mut self, mac: MacAddr, now: Monotonic) {
        if self.quarantine.len() >= MAX_ENTRIES {
            self.quarantine.retain(|_, until| now < *until);
        }
        if self.quarantine.len() < MAX_ENTRIES {
            self.quarantine.insert(mac, now.after(QUARANTINE));
        }
    }
}

/// Token buckets by key. A full table forgets those that are full again, then
/// all: memory is bounded, whoever makes keys up.
#[derive(Debug)]
struct Buckets<K> {
    /// Tokens left in thousandths, and when they were counted.
    left: HashMap<K, (u64, Monotonic)>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self {
            left: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn take(&mut self, key: &K, rate: Rate, now: Monotonic) -> bool {
        let full = u64::from(rate.burst) * 1000;
        let refilled = |(left, at): (u64, Monotonic)| {
            let millis = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            let more = millis.saturating_mul(u64::from(rate.per_minute)) / 60;
            left.saturating_add(more).min(full)
        };
        if let Some(entry) = self.left.get_mut(key) {
            let left = refilled(*entry);
            // Counted from the last time a token was there: a client that goes
            // on asking does not keep itself from ever getting one.
            if left < 1000 {
                return false;
            }
            *entry = (left - 1000, now);
            return true;
        }
        if self.left.len() >= MAX_ENTRIES {
            self.left.retain(|_, entry| refilled(*entry) < full);
        }
        if self.left.len() >= MAX_ENTRIES {
            self.left.clear();
        }
        self.left
            .insert(key.clone(), (full.saturating_sub(1000), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic(Duration::from_secs(secs))
    }

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr::new([2, 0, a, b, c, d])
    }

    #[test]
    fn a_client_that_sends_without_end_is_left_alone_for_a_while() {
        let mut limits = Limits::default();
        let passed = (0..1000).filter(|_| limits.message(mac(1), at(0)) == Verdict::Pass);
        assert_eq!(passed.count(), 40);
        assert_eq!(limits.message(mac(1), at(59)), Verdict::Held);
        assert_eq!(
            limits.message(mac(2), at(59)),
            Verdict::Pass,
            "others are not held"
        );
        assert_eq!(limits.quarantined(at(59)), 1);
        assert_eq!(limits.message(mac(1), at(60)), Verdict::Pass);
        // Five messages a second for ever are no flood.
        for second in 100..400 {
            for _ in 0..5 {
                assert_eq!(limits.message(mac(3), at(second)), Verdict::Pass);
            }
        }
    }

    #[test]
    fn whoever_declines_everything_is_stopped() {
        let mut limits = Limits::default();
        assert_eq!((0..10).filter(|_| limits.decline(mac(1), at(0))).count(), 3);
        assert_eq!(limits.message(mac(1), at(1)), Verdict::Held);
        assert!(limits.decline(mac(1), at(61)));
    }

    #[test]
    fn strangers_are_bounded_by_port_and_by_subnet() {
        let mut limits = Limits::default();
        let port = Port {
            relay: Ipv4Addr::new(10, 0, 0, 1),
            circuit: vec![1],
            remote: vec![],
        };
        let rate = Rate {
            burst: 100,
            per_minute: 6,
        };
        let mut many = |port: Option<&Port>, now| {
            (0..500)
                .filter(|_| limits.stranger("lan", rate, port, now))
                .count()
        };
        assert_eq!(many(Some(&port), at(0)), 64);
        assert_eq!(many(None, at(0)), 36);
        assert_eq!(many(None, at(0)), 0);
        assert_eq!(many(None, at(60)), 6);
    }

    #[test]
    fn made_up_clients_cost_bounded_memory() {
        let mut limits = Limits::default();
        for number in 0..100_000 {
            limits.message(mac(number), at(0));
        }
        assert!(limits.clients.left.len() <= MAX_ENTRIES);
    }
}
