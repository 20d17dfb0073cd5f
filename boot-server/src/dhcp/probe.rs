//! An address of a range is asked whether somebody uses it before it is
//! offered (RFC 2131 §2.2). Pure: what to wait for, and until when.
//!
//! Nothing waits for an answer but the one OFFER: the datagram is parked, and
//! decided on again when nobody answered, or when somebody did and the address
//! rests. In a flood most addresses go unasked, as probes are bounded.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::time::Monotonic;

/// How long an answer may take. A host on the link answers within a
/// millisecond, and the ARP request before it as fast.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Probes under way at most: the kernel's neighbour table holds 1024 entries.
const MAX_PROBES: usize = 64;
/// How long an address that nobody answered on is taken for free.
const BELIEVED: Duration = Duration::from_secs(60);
const MAX_BELIEVED: usize = 4096;

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody answered lately, or there is no room to ask: go on.
    Free,
    /// To be asked now.
    Ask,
    /// It was asked and may still answer.
    Wait,
}

/// Probes under way, each with what waits for it.
#[derive(Debug)]
pub(super) struct Probes<T> {
    under_way: BTreeMap<Ipv4Addr, (Monotonic, T)>,
    silent: HashMap<Ipv4Addr, Monotonic>,
}

impl<T> Default for Probes<T> {
    fn default() -> Self {
        Self {
            under_way: BTreeMap::new(),
            silent: HashMap::new(),
        }
    }
}

impl<T> Probes<T> {
    pub fn verdict(&self, address: Ipv4Addr, now: Monotonic) -> Verdict {
        if self.under_way.contains_key(&address) {
            return Verdict::Wait;
        }
        let is_believed = self
            .silent
            .get(&address)
            .is_some_and(|since| now.since(*since) < BELIEVED);
        if is_believed || self.under_way.len() >= MAX_PROBES {
            Verdict::Free
        } else {
            Verdict::Ask
        }
    }

    /// An address was asked. What was parked for it before gives way: the
    /// client has asked anew.
    pub fn park(&mut self, address: Ipv4Addr, waiting: T, now: Monotonic) {
        let until = self
            .under_way
            .get(&address)
            .map_or(now.after(PATIENCE), |(until, _)| *until);
        self.under_way.insert(address, (until, waiting));
    }

    /// Somebody answered on the address.
    pub fn answered(&mut self, address: Ipv4Addr) -> Option<T> {
        self.silent.remove(&address);
        self.under_way.remove(&address).map(|(_, waiting)| waiting)
    }

    /// What waited long enough.
    pub fn silent(&mut self, now: Monotonic) -> Vec<T> {
        let is_over = |(_, (until, _)): &(&Ipv4Addr, &(Monotonic, T))| *until <= now;
        let over: Vec<Ipv4Addr> = self
            .under_way
            .iter()
            .filter(is_over)
            .map(|(at, _)| *at)
            .collect();
        if self.silent.len() + over.len() > MAX_BELIEVED {
            self.silent.retain(|_, since| now.since(*since) < BELIEVED);
        }
        if self.silent.len() + over.len() > MAX_BELIEVED {
            self.silent.clear();
        }
        let mut waiting = Vec::new();
        for address in over {
            self.silent.insert(address, now);
            waiting.extend(self.under_way.remove(&address).map(|(_, waiting)| waiting));
        }
        waiting
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.under_way.values().map(|(until, _)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn at(millis: u64) -> Monotonic {
        Monotonic(Duration::from_millis(millis))
    }

    #[test]
    fn an_address_is_asked_once_and_then_believed_for_a_while() {
        let mut probes = Probes::default();
        assert_eq!(probes.verdict(A, at(0)), Verdict::Ask);
        probes.park(A, "first", at(0));
        assert_eq!(probes.verdict(A, at(1)), Verdict::Wait);
        probes.park(A, "again", at(100));
        assert_eq!(
            probes.deadline(),
            Some(at(250)),
            "asking anew does not prolong it"
        );
        assert!(probes.silent(at(249)).is_empty());
        assert_eq!(probes.silent(at(250)), ["again"]);
        assert_eq!(probes.verdict(A, at(251)), Verdict::Free);
        assert_eq!(probes.verdict(A, at(60_251)), Verdict::Ask);
        probes.park(B, "taken", at(300));
        assert_eq!(probes.answered(B), Some("taken"));
        assert_eq!(probes.answered(B), None);
        assert_eq!(probes.deadline(), None);
    }

    #[test]
    fn a_flood_goes_unasked() {
        let mut probes = Probes::default();
        for last in 0..MAX_PROBES {
            probes.park(Ipv4Addr::from(last as u32), (), at(0));
        }
        assert_eq!(probes.verdict(A, at(1)), Verdict::Free);
        assert_eq!(probes.silent(at(250)).len(), MAX_PROBES);
        assert_eq!(probes.verdict(A, at(251)), Verdict::Ask);
    }
}
