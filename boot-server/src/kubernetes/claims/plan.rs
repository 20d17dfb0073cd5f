//! What a lease needs of its claim. Pure.

use std::time::Duration;

use boot_proto::kubernetes::claim::{AddressClaimSpec, ClaimKind};
use boot_proto::kubernetes::status::Timestamp;
use boot_proto::time::WallClock;

use crate::dhcp::leases::{Lease, LeaseKind};

/// How far the clocks of two servers may be apart. A claim of another client
/// has ended only this long after its end.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// A claim as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The claim.
    pub claim: AddressClaimSpec,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// What a lease needs before it may be told to its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The claim that is there covers it.
    Nothing,
    /// No decision; the claim can follow.
    Later,
    /// This has to be there first: made anew, or in place of that version.
    Write {
        /// The claim.
        claim: AddressClaimSpec,
        /// The version it replaces; `None` makes it.
        replaces: Option<String>,
    },
    /// Somebody else has the address.
    Lost(Lease),
}

/// Decides what `lease` needs.
pub fn plan(known: Option<&Known>, lease: &Lease, now: WallClock, server: &str) -> Plan {
    let is_reserved = lease.kind == LeaseKind::Reserved;
    let write = |replaces: Option<&Known>| Plan::Write {
        claim: claim_of(lease, now, server),
        replaces: replaces.map(|known| known.version.clone()),
    };
    let Some(known) = known else {
        return if is_reserved {
            Plan::Later
        } else {
            write(None)
        };
    };
    let claim = &known.claim;
    let is_same = claim.mac == lease.mac && claim.kind == kind_of(lease.kind);
    if is_same {
        let covers = covers(claim.expires, lease.expires);
        // Another server's claim is made ours, so that it hears of the renewal.
        return match (covers, claim.server.as_deref() == Some(server)) {
            (true, true) => Plan::Nothing,
            (true, false) => Plan::Later,
            (false, _) if is_reserved => Plan::Later,
            (false, _) => write(Some(known)),
        };
    }
    if is_reserved {
        return Plan::Later;
    }
    // The same client's claim of another kind, or one that has ended.
    if claim.mac == lease.mac || has_ended(claim, now) {
        return write(Some(known));
    }
    Plan::Lost(lease_of(claim, now))
}

fn covers(claim: Option<Timestamp>, lease: Option<WallClock>) -> bool {
    match (claim, lease) {
        (None, _) => true,
        (Some(_), None) => false,
        // Claims have whole seconds.
        (Some(claim), Some(lease)) => claim.0.0.saturating_add(999) >= lease.0,
    }
}

fn has_ended(claim: &AddressClaimSpec, now: WallClock) -> bool {
    claim
        .expires
        .is_some_and(|end| end.0.after(CLOCKS_APART) <= now)
}

/// The claim of a lease: a lease time longer than the lease itself.
pub fn claim_of(lease: &Lease, now: WallClock, server: &str) -> AddressClaimSpec {
    let is_given = lease.kind != LeaseKind::Declined;
    let expires = lease.expires.map(|end| {
        let longer = if is_given {
            end.since(now)
        } else {
            Duration::ZERO
        };
        Timestamp(end.after(longer))
    });
    AddressClaimSpec {
        address: lease.address,
        mac: lease.mac,
        machine: lease.machine.clone(),
        subnet: lease.subnet.clone(),
        kind: kind_of(lease.kind),
        expires,
        server: Some(server.to_owned()),
    }
}

/// The lease that a claim stands for, as a server knows it that did not give it.
pub fn lease_of(claim: &AddressClaimSpec, now: WallClock) -> Lease {
    Lease {
        address: claim.address,
        mac: claim.mac,
        machine: claim.machine.clone(),
        subnet: claim.subnet.clone(),
        kind: match claim.kind {
            ClaimKind::Reserved => LeaseKind::Reserved,
            ClaimKind::Dynamic => LeaseKind::Dynamic,
            ClaimKind::Declined => LeaseKind::Declined,
        },
        since: now,
        expires: claim.expires.map(|end| end.0),
    }
}

const fn kind_of(kind: LeaseKind) -> ClaimKind {
    match kind {
        LeaseKind::Reserved => ClaimKind::Reserved,
        LeaseKind::Dynamic => ClaimKind::Dynamic,
        LeaseKind::Declined => ClaimKind::Declined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::ids::MacAddr;
    use std::net::Ipv4Addr;

    const NOW: WallClock = WallClock(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn lease(mac: u8, expires: WallClock) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 0, 5),
            mac: MacAddr::new([2, 0, 0, 0, 0, mac]),
            machine: None,
            subnet: "lan".into(),
            kind: LeaseKind::Dynamic,
            since: NOW,
            expires: Some(expires),
        }
    }

    fn known(lease: &Lease, at: WallClock, server: &str) -> Known {
        Known {
            claim: claim_of(lease, at, server),
            version: "7".into(),
        }
    }

    #[test]
    fn a_new_address_needs_a_claim_first() {
        let wanted = plan(None, &lease(1, NOW.after(HOUR)), NOW, "a");
        let Plan::Write { claim, replaces } = wanted else {
            panic!("{wanted:?}");
        };
        assert_eq!(replaces, None);
        assert_eq!(claim.expires, Some(Timestamp(NOW.after(2 * HOUR))));
    }

    #[test]
    fn renewals_are_free_for_a_lease_time() {
        let known = known(&lease(1, NOW.after(HOUR)), NOW, "a");
        let later = NOW.after(HOUR / 2);
        let renewed = lease(1, later.after(HOUR));
        assert_eq!(plan(Some(&known), &renewed, later, "a"), Plan::Nothing);
        // By another server: it may answer, and says that it did.
        assert_eq!(plan(Some(&known), &renewed, later, "b"), Plan::Later);
        let much_later = NOW.after(HOUR + HOUR / 4);
        let renewed = lease(1, much_later.after(HOUR));
        let wanted = plan(Some(&known), &renewed, much_later, "a");
        assert!(
            matches!(&wanted, Plan::Write { replaces: Some(version), .. } if version == "7"),
            "{wanted:?}"
        );
    }

    #[test]
    fn an_address_of_another_is_lost_until_its_claim_has_long_ended() {
        let held = known(&lease(1, NOW.after(HOUR)), NOW, "b");
        let other = |now: WallClock| plan(Some(&held), &lease(2, now.after(HOUR)), now, "a");
        for at in [NOW, NOW.after(HOUR + HOUR / 2), NOW.after(2 * HOUR)] {
            assert!(matches!(other(at), Plan::Lost(_)), "{at:?}");
        }
        assert!(matches!(
            other(NOW.after(2 * HOUR + CLOCKS_APART)),
            Plan::Write { .. }
        ));
    }

    #[test]
    fn a_reserved_address_waits_for_nobody() {
        let mut reserved = lease(1, NOW.after(HOUR));
        reserved.kind = LeaseKind::Reserved;
        assert_eq!(plan(None, &reserved, NOW, "a"), Plan::Later);
        let other = known(&lease(2, NOW.after(HOUR)), NOW, "b");
        assert_eq!(plan(Some(&other), &reserved, NOW, "a"), Plan::Later);
        let own = known(&reserved, NOW, "a");
        assert_eq!(plan(Some(&own), &reserved, NOW, "a"), Plan::Nothing);
    }

    #[test]
    fn an_address_found_in_use_rests_for_all() {
        let mut declined = lease(1, NOW.after(HOUR));
        declined.kind = LeaseKind::Declined;
        let before = known(&lease(1, NOW.after(HOUR)), NOW, "a");
        let Plan::Write { claim, .. } = plan(Some(&before), &declined, NOW, "a") else {
            panic!("a rest is for all servers");
        };
        assert_eq!(claim.kind, ClaimKind::Declined);
        assert_eq!(claim.expires, Some(Timestamp(NOW.after(HOUR))));
    }
}
