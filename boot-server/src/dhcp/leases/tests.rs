//! The lease table alone.

use std::time::Duration;

use boot_proto::resources::AddressRange;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: WallClock = WallClock(1_700_000_000_000);

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn lease(at: u8, to: u8, expires: WallClock) -> Lease {
    Lease {
        address: address(at),
        mac: mac(to),
        machine: None,
        subnet: "lan".into(),
        kind: LeaseKind::Dynamic,
        since: WallClock::default(),
        expires: Some(expires),
    }
}

fn range(from: u8, to: u8) -> [AddressRange; 1] {
    [AddressRange {
        from: address(from),
        to: address(to),
    }]
}

#[test]
fn fresh_addresses_first_then_the_one_that_ended_first() {
    let mut table = LeaseTable::default();
    table.grant(lease(10, 1, NOW.after(HOUR)));
    table.grant(lease(11, 2, NOW.after(HOUR / 2)));
    let pick = |table: &mut LeaseTable, now| table.pick(&range(10, 12), mac(9), now, |_| true);
    assert_eq!(pick(&mut table, NOW), Some(address(12)));
    table.grant(lease(12, 3, NOW.after(HOUR * 9)));
    assert_eq!(pick(&mut table, NOW), None);
    assert_eq!(pick(&mut table, NOW.after(HOUR * 2)), Some(address(11)));
    assert_eq!(
        table.pick(&range(10, 12), mac(9), NOW.after(HOUR * 2), |a| a
            != address(11)),
        Some(address(10))
    );
}

#[test]
fn servers_that_share_a_range_begin_at_different_places() {
    // Four after the first of three addresses, and around.
    let mut table = LeaseTable::default().looking_from(4);
    for (number, expected) in [(1, 11), (2, 12), (3, 10)] {
        let picked = table.pick(&range(10, 12), mac(number), NOW, |_| true);
        assert_eq!(picked, Some(address(expected)));
        table.grant(lease(expected, number, NOW.after(HOUR)));
    }
    let mut table = LeaseTable::default().looking_from(4);
    let pick = |table: &mut LeaseTable| table.pick(&range(10, 200), mac(1), NOW, |_| true);
    assert_eq!(pick(&mut table), Some(address(14)));
    table.step_aside();
    let aside = pick(&mut table).unwrap();
    assert!(
        u32::from(aside).abs_diff(u32::from(address(14))) > 8,
        "{aside}"
    );
}

#[test]
fn the_last_address_there_is_does_not_overflow() {
    let last = Ipv4Addr::BROADCAST;
    let mut table = LeaseTable::default();
    let ranges = [AddressRange {
        from: last,
        to: last,
    }];
    assert_eq!(table.pick(&ranges, mac(1), NOW, |_| true), Some(last));
    assert_eq!(table.pick(&ranges, mac(1), NOW, |_| false), None);
    // A range that runs backwards holds nothing.
    assert_eq!(table.pick(&range(9, 3), mac(1), NOW, |_| true), None);
}

#[test]
fn an_offer_keeps_others_away_for_a_minute() {
    let mut table = LeaseTable::default();
    table.offer(address(10), mac(1), NOW);
    assert!(table.is_free_for(address(10), mac(1), NOW));
    assert!(!table.is_free_for(address(10), mac(2), NOW));
    assert!(table.is_free_for(address(10), mac(2), NOW.after(Duration::from_secs(61))));
    table.withdraw_offers(mac(1));
    assert!(table.is_free_for(address(10), mac(2), NOW));
}

#[test]
fn offers_are_bounded() {
    let mut table = LeaseTable::default();
    for number in 0..20_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        table.offer(
            Ipv4Addr::new(10, a, b, c),
            MacAddr::new([2, 0, 0, a, b, c]),
            NOW,
        );
        table.offer(address(1), mac(1), NOW);
    }
    assert!(table.offer_count() <= 4096);
    assert_eq!(table.offered_to(address(1), NOW), Some(mac(1)));
}

#[test]
fn a_declined_address_rests() {
    let mut table = LeaseTable::default();
    table.grant(lease(10, 1, NOW.after(HOUR)));
    assert_eq!(
        table.decline(address(10), mac(2), NOW),
        None,
        "only its holder may decline it"
    );
    table.decline(address(10), mac(1), NOW).unwrap();
    assert_eq!(table.holder(address(10), NOW), None);
    let minutes = |n: u64| NOW.after(Duration::from_secs(60 * n));
    assert!(!table.is_free_for(address(10), mac(1), minutes(10)));
    assert!(table.is_free_for(address(10), mac(2), minutes(16)));
}

#[test]
fn a_released_address_is_remembered() {
    let mut table = LeaseTable::default();
    table.grant(lease(10, 1, NOW.after(HOUR)));
    assert_eq!(table.release(address(10), mac(2), NOW), None);
    table.release(address(10), mac(1), NOW).unwrap();
    assert_eq!(table.holder(address(10), NOW), None);
    assert_eq!(table.of_mac(mac(1)).count(), 1);
}

#[test]
fn changes_are_taken_back_in_order() {
    let mut table = LeaseTable::default();
    table.grant(lease(10, 1, NOW));
    let later = NOW.after(HOUR);
    let changes = [
        table.grant(lease(10, 2, later)),
        table.grant(lease(10, 3, later)),
        table.grant(lease(11, 3, later)),
    ];
    table.undo(&changes);
    assert_eq!(
        table.iter().cloned().collect::<Vec<_>>(),
        [lease(10, 1, NOW)]
    );
    assert_eq!(table.of_mac(mac(3)).count(), 0);
    assert_eq!(
        table.pick(&range(10, 10), mac(4), later, |_| true),
        Some(address(10))
    );
}

#[test]
fn leases_keep_the_time_they_have_left_when_the_clock_is_set() {
    let by = HOUR * 24 * 365;
    let mut table = LeaseTable::new([lease(1, 1, NOW.after(HOUR)), lease(2, 2, NOW)]);
    table.offer(address(3), mac(3), NOW);
    let changes = table.shift(clock_steps::ClockStep::Forward(by));
    assert_eq!(changes.len(), 2);
    let later = NOW.after(by);
    assert_eq!(table.holder(address(1), later), Some(mac(1)));
    assert_eq!(table.holder(address(1), later.after(HOUR)), None);
    assert_eq!(table.holder(address(2), later), None);
    assert_eq!(table.offered_to(address(3), later), Some(mac(3)));
    table.shift(clock_steps::ClockStep::Back(by));
    let end = table.get(address(1)).and_then(|lease| lease.expires);
    assert_eq!(end, Some(NOW.after(HOUR)));
    assert_eq!(table.holder(address(1), NOW.after(HOUR)), None);
}

#[test]
fn a_lease_of_the_future_runs_its_length_from_now() {
    let year = HOUR * 24 * 365;
    let ahead = Lease {
        since: NOW.after(year),
        ..lease(1, 1, NOW.after(year + HOUR))
    };
    let read = clock_steps::rebased(ahead, NOW);
    assert_eq!((read.since, read.expires), (NOW, Some(NOW.after(HOUR))));
    let usual = Lease {
        since: NOW,
        ..lease(1, 1, NOW.after(HOUR))
    };
    assert_eq!(clock_steps::rebased(usual.clone(), NOW.after(HOUR)), usual);
}
