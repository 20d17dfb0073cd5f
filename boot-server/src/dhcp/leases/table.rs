//! The table of leases and offers. Pure: time comes in, changes go out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::resources::AddressRange;
use boot_proto::time::WallClock;
use ipnet::Ipv4Net;

use super::clock_steps::ClockStep;
use super::{Lease, LeaseKind};

/// How long an offered address is kept for the client that was offered it.
const OFFER_TIME: Duration = Duration::from_secs(60);
/// How many offers are kept. Beyond that the oldest is forgotten: its client
/// still gets the address if nobody else took it in between, so a flood of
/// made-up clients costs memory and addresses only to this bound.
const MAX_OFFERS: usize = 4096;
/// How long an address rests that a client found in use (RFC 2131 §4.3.3
/// leaves the time to the server).
const REST_TIME: Duration = Duration::from_secs(15 * 60);

/// How long a range that had no fresh address is not searched again, so that a
/// full pool costs no more than one that has room.
const SPENT_TIME: Duration = Duration::from_secs(30);

/// What happened to one lease, for the store and for taking it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Address it is about.
    pub address: Ipv4Addr,
    /// The lease before.
    pub before: Option<Lease>,
    /// The lease now.
    pub after: Option<Lease>,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    mac: MacAddr,
    expires: WallClock,
    number: u64,
}

/// All leases and offers.
#[derive(Debug, Default)]
pub struct LeaseTable {
    leases: BTreeMap<Ipv4Addr, Lease>,
    by_mac: HashMap<MacAddr, BTreeSet<Ipv4Addr>>,
    /// Leases by their end, so that the one that ended first is reused first.
    by_end: BTreeSet<(WallClock, Ipv4Addr)>,
    offers: HashMap<Ipv4Addr, Offer>,
    /// What each client was offered last; an entry whose offer is gone is passed
    /// over.
    offer_of: HashMap<MacAddr, Ipv4Addr>,
    /// Offers in the order they were made; entries that no longer match
    /// `offers` are passed over.
    offer_order: VecDeque<(u64, Ipv4Addr)>,
    offers_made: u64,
    /// Where the search for a fresh address of a range goes on, by the range's
    /// first address.
    next_fresh: HashMap<Ipv4Addr, Ipv4Addr>,
    /// Where that search begins, counted from the range's first address.
    first_fresh: u32,
    /// Ranges that had no fresh address, and until when that is believed.
    spent_until: HashMap<Ipv4Addr, WallClock>,
}

impl LeaseTable {
    /// A table of these leases.
    #[must_use]
    pub fn new(leases: impl IntoIterator<Item = Lease>) -> Self {
        let mut table = Self::default();
        for lease in leases {
            table.set(lease.address, Some(lease));
        }
        table
    }

    /// Begins the search for fresh addresses so many after the first one of each
    /// range, and around. Servers that share a range rarely choose the same
    /// address then, which one of them would have to refuse.
    #[must_use]
    pub fn looking_from(mut self, place: u32) -> Self {
        self.first_fresh = place;
        self
    }

    /// Goes on looking for fresh addresses elsewhere: another server takes them
    /// here, and both would choose the same one again and again.
    pub fn step_aside(&mut self) {
        // Knuth's multiplicative hash.
        self.first_fresh = self.first_fresh.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        self.next_fresh.clear();
    }

    /// The lease on an address, active or not.
    #[must_use]
    pub fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address)
    }

    /// All leases by address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Leases on addresses of a network, active or not.
    pub fn within(&self, network: Ipv4Net) -> impl Iterator<Item = &Lease> {
        let range = network.network()..=network.broadcast();
        self.leases.range(range).map(|(_, lease)| lease)
    }

    /// Leases that a MAC has or had, by address.
    pub fn of_mac(&self, mac: MacAddr) -> impl Iterator<Item = &Lease> {
        let addresses = self.by_mac.get(&mac).into_iter().flatten();
        addresses.filter_map(|address| self.leases.get(address))
    }

    /// Who holds an address now; an address that rests is held by nobody.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now: WallClock) -> Option<MacAddr> {
        let lease = self.leases.get(&address)?;
        (lease.is_active(now) && lease.kind != LeaseKind::Declined).then_some(lease.mac)
    }

    /// Whether `mac` may be given `address` now: nobody else holds it or was
    /// offered it, and it does not rest.
    #[must_use]
    pub fn is_free_for(&self, address: Ipv4Addr, mac: MacAddr, now: WallClock) -> bool {
        self.is_unclaimed(address, mac, now)
            && self.offered_to(address, now).is_none_or(|to| to == mac)
    }

    /// Like [`LeaseTable::is_free_for`], without regard to offers.
    #[must_use]
    pub fn is_unclaimed(&self, address: Ipv4Addr, mac: MacAddr, now: WallClock) -> bool {
        self.leases.get(&address).is_none_or(|lease| {
            !lease.is_active(now) || (lease.mac == mac && lease.kind != LeaseKind::Declined)
        })
    }

    /// The MAC that an address is offered to.
    #[must_use]
    pub fn offered_to(&self, address: Ipv4Addr, now: WallClock) -> Option<MacAddr> {
        let offer = self.offers.get(&address)?;
        (now < offer.expires).then_some(offer.mac)
    }

    /// An address of `ranges` for `mac`: one that was never given, else the one
    /// whose lease ended first. `may_give` says no to addresses that are
    /// reserved or belong to the server.
    pub fn pick(
        &mut self,
        ranges: &[AddressRange],
        mac: MacAddr,
        now: WallClock,
        may_give: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let suits = |address: &Ipv4Addr| may_give(*address) && self.is_free_for(*address, mac, now);
        let mut spent = Vec::new();
        for range in ranges.iter().filter(|range| !self.is_spent(**range, now)) {
            let fresh = self.gaps(*range).find(&suits);
            if let Some(fresh) = fresh {
                self.next_fresh.insert(range.from, fresh);
                return Some(fresh);
            }
            spent.push(range.from);
        }
        let ended = self.by_end.iter().take_while(|(end, _)| *end <= now);
        let reused = ended
            .map(|(_, address)| *address)
            .filter(|address| is_in(ranges, *address))
            .find(&suits);
        for from in spent {
            self.spent_until.insert(from, now.after(SPENT_TIME));
        }
        reused
    }

    /// The oldest offer in `ranges` that may be taken from its client, who has
    /// not come back for it: made-up clients must not keep out those who are
    /// known. `may_take` hears the address and who was offered it.
    pub fn take_offer(
        &self,
        ranges: &[AddressRange],
        mac: MacAddr,
        now: WallClock,
        may_take: impl Fn(Ipv4Addr, MacAddr) -> bool,
    ) -> Option<Ipv4Addr> {
        let order = self.offer_order.iter();
        let offers = order.filter_map(|(number, address)| {
            let offer = self.offers.get(address)?;
            (offer.number == *number).then_some((*address, offer.mac))
        });
        offers
            .filter(|(address, _)| is_in(ranges, *address))
            .find(|(address, to)| self.is_unclaimed(*address, mac, now) && may_take(*address, *to))
            .map(|(address, _)| address)
    }

    /// Whether a range was found without a fresh address a moment ago.
    fn is_spent(&self, range: AddressRange, now: WallClock) -> bool {
        // A clock that was set back must not keep a range closed for long.
        let until = self.spent_until.get(&range.from);
        until.is_some_and(|until| now < *until && until.since(now) <= SPENT_TIME)
    }

    /// Addresses of a range that have no lease at all, found by walking the
    /// leases, not the addresses, from where the last one was found.
    fn gaps(&self, range: AddressRange) -> impl Iterator<Item = Ipv4Addr> {
        let middle = self
            .next_fresh
            .get(&range.from)
            .copied()
            .filter(|at| range.contains(*at));
        let middle = middle.unwrap_or_else(|| {
            let ahead = u64::from(self.first_fresh) % range.count().max(1);
            let ahead = u32::try_from(ahead).unwrap_or_default();
            Ipv4Addr::from(u32::from(range.from).saturating_add(ahead))
        });
        let upper = AddressRange {
            from: middle,
            to: range.to,
        };
        // A range that runs backwards holds nothing, not even its ends.
        let lower = AddressRange {
            from: range.from,
            to: middle.min(range.to),
        };
        self.gaps_between(upper).chain(self.gaps_between(lower))
    }

    fn gaps_between(&self, range: AddressRange) -> impl Iterator<Item = Ipv4Addr> {
        let last = u32::from(range.to);
        let mut taken = self
            .leases
            .range(range.from..=range.to.max(range.from))
            .map(|(a, _)| u32::from(*a))
            .peekable();
        let mut next = Some(u32::from(range.from));
        std::iter::from_fn(move || {
            loop {
                let at = next.filter(|at| *at <= last)?;
                next = at.checked_add(1);
                if taken.next_if_eq(&at).is_none() {
                    return Some(Ipv4Addr::from(at));
                }
            }
        })
    }

    /// Keeps an address for a client that was offered it.
    pub fn offer(&mut self, address: Ipv4Addr, mac: MacAddr, now: WallClock) {
        self.offers_made += 1;
        let number = self.offers_made;
        self.offers.insert(
            address,
            Offer {
                mac,
                expires: now.after(OFFER_TIME),
                number,
            },
        );
        self.offer_order.push_back((number, address));
        self.offer_of.insert(mac, address);
        if self.offer_of.len() > 2 * MAX_OFFERS {
            let offers = &self.offers;
            self.offer_of
                .retain(|mac, at| offers.get(at).is_some_and(|offer| offer.mac == *mac));
        }
        while self.offers.len() > MAX_OFFERS || self.offer_order.len() > 2 * MAX_OFFERS {
            let Some((number, address)) = self.offer_order.pop_front() else {
                break;
            };
            if self
                .offers
                .get(&address)
                .is_some_and(|offer| offer.number == number)
            {
                self.offers.remove(&address);
            }
        }
    }

    /// The address that a client was offered last and may still take.
    #[must_use]
    pub fn offer_to(&self, mac: MacAddr, now: WallClock) -> Option<Ipv4Addr> {
        let address = *self.offer_of.get(&mac)?;
        (self.offered_to(address, now) == Some(mac)).then_some(address)
    }

    /// How many offers are kept.
    #[must_use]
    pub fn offer_count(&self) -> usize {
        self.offers.len()
    }

    /// Whether a MAC is one of our clients: it has, had or was offered an address.
    #[must_use]
    pub fn knows(&self, mac: MacAddr) -> bool {
        self.by_mac.contains_key(&mac) || self.offers.values().any(|offer| offer.mac == mac)
    }

    /// Forgets what was offered to a client that chose another server.
    pub fn withdraw_offers(&mut self, mac: MacAddr) {
        self.offers.retain(|_, offer| offer.mac != mac);
    }

    /// Gives an address. The caller has made sure that it is free.
    pub fn grant(&mut self, lease: Lease) -> Change {
        self.offers.remove(&lease.address);
        self.change(lease.address, Some(lease))
    }

    /// Ends the lease that `mac` has on `address`; the memory of it stays.
    pub fn release(&mut self, address: Ipv4Addr, mac: MacAddr, now: WallClock) -> Option<Change> {
        let lease = self.leases.get(&address)?;
        let is_held = lease.mac == mac && lease.kind != LeaseKind::Declined && lease.is_active(now);
        is_held
            .then(|| Lease {
                expires: Some(now),
                ..lease.clone()
            })
            .map(|ended| self.change(address, Some(ended)))
    }

    /// Lets an address rest that `mac` was given and found in use.
    pub fn decline(&mut self, address: Ipv4Addr, mac: MacAddr, now: WallClock) -> Option<Change> {
        let lease = self.leases.get(&address)?;
        let is_held = lease.mac == mac && lease.is_active(now);
        let resting = Lease {
            kind: LeaseKind::Declined,
            since: now,
            expires: Some(now.after(REST_TIME)),
            ..lease.clone()
        };
        is_held.then(|| self.change(address, Some(resting)))
    }

    /// Moves all leases and offers with a clock that was set.
    pub(super) fn shift(&mut self, step: ClockStep) -> Vec<Change> {
        for offer in self.offers.values_mut() {
            offer.expires = step.moved(offer.expires);
        }
        self.spent_until.clear();
        let leases: Vec<Lease> = self.leases.values().cloned().collect();
        let moved = leases.into_iter().map(|lease| Lease {
            since: step.moved(lease.since),
            expires: lease.expires.map(|end| step.moved(end)),
            ..lease
        });
        moved
            .map(|lease| self.change(lease.address, Some(lease)))
            .collect()
    }

    /// Puts in what another server gave.
    pub(super) fn learn(&mut self, address: Ipv4Addr, lease: Option<Lease>) {
        self.set(address, lease);
    }

    /// Lets an address rest that somebody answers on whom we gave nothing.
    pub fn rest(&mut self, address: Ipv4Addr, by: MacAddr, subnet: &str, now: WallClock) -> Change {
        self.offers.remove(&address);
        let resting = Lease {
            address,
            mac: by,
            machine: None,
            subnet: subnet.to_owned(),
            kind: LeaseKind::Declined,
            since: now,
            expires: Some(now.after(REST_TIME)),
        };
        self.change(address, Some(resting))
    }

    /// Takes changes back, the last first.
    pub fn undo(&mut self, changes: &[Change]) {
        for change in changes.iter().rev() {
            self.set(change.address, change.before.clone());
        }
    }

    fn change(&mut self, address: Ipv4Addr, after: Option<Lease>) -> Change {
        let before = self.set(address, after.clone());
        Change {
            address,
            before,
            after,
        }
    }

    fn set(&mut self, address: Ipv4Addr, lease: Option<Lease>) -> Option<Lease> {
        let before = match lease.clone() {
            Some(lease) => self.leases.insert(address, lease),
            None => self.leases.remove(&address),
        };
        if let Some(before) = &before {
            if let Some(end) = before.expires {
                self.by_end.remove(&(end, address));
            }
            if let Some(addresses) = self.by_mac.get_mut(&before.mac) {
                addresses.remove(&address);
                if addresses.is_empty() {
                    self.by_mac.remove(&before.mac);
                }
            }
        }
        if let Some(lease) = lease {
            // A reserved address goes back to its machine, never into a range.
            if let Some(end) = lease.expires.filter(|_| lease.kind != LeaseKind::Reserved) {
                self.by_end.insert((end, address));
            }
            self.by_mac.entry(lease.mac).or_default().insert(address);
        }
        before
    }
}

fn is_in(ranges: &[AddressRange], address: Ipv4Addr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}
