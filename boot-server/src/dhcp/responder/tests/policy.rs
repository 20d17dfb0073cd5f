//! What operators may switch and bound: authority, probes, strangers, options.

use super::*;

#[test]
fn where_other_servers_are_right_too_nothing_is_refused() {
    let mut resources = usual();
    resources["subnets"]["lan"]["authoritative"] = json!(false);
    let mut lab = Lab::new(&resources);
    let why = lab.silence(&init_reboot(DECLARED, "10.9.9.9"));
    assert!(
        matches!(why, Why::NotAuthoritative(Refusal::WrongNetwork(_), _)),
        "{why}"
    );
    lab.broadcast();
    let why = lab.silence(&renewing(DECLARED, ip("10.0.0.60")));
    assert!(matches!(why, Why::NotAuthoritative(..)), "{why}");
    // A client that chose this server is told.
    let request = selecting(&discover(DECLARED), ip("10.0.0.60"), SERVER);
    assert!(matches!(lab.refusal(&request), Refusal::HasReservation(_)));
}

#[test]
fn a_client_that_asks_again_is_offered_the_same() {
    let mut lab = Lab::usual();
    let first = lab.offer(&discover(STRANGER));
    for _ in 0..5 {
        lab.later(4);
        assert_eq!(lab.offer(&discover(STRANGER)), first);
    }
}

#[test]
fn only_addresses_that_are_new_to_a_client_are_probed() {
    let mut lab = Lab::usual();
    assert_eq!(lab.handle(&discover(DECLARED)).probe, None, "reserved");
    let offered = lab.offer(&discover(STRANGER));
    assert_eq!(lab.handle(&discover(STRANGER)).probe, Some(offered));
    let address = lab.lease(&discover(STRANGER));
    assert_eq!(lab.handle(&discover(STRANGER)).probe, None, "had before");
    // Somebody else answered on an address: it rests, and another is offered.
    let other = lab.offer(&discover(DYNAMIC));
    assert_ne!(other, address);
    lab.leases.rest(other, mac(DYNAMIC), "lan", lab.now);
    let next = lab.offer(&discover(DYNAMIC));
    assert_ne!(next, other);
    let mut resources = usual();
    resources["subnets"]["lan"]["probe"] = json!(false);
    assert_eq!(Lab::new(&resources).handle(&discover(STRANGER)).probe, None);
}

#[test]
fn strangers_are_bounded_and_known_machines_are_not() {
    let mut resources = usual();
    resources["subnets"]["lan"]["cidr"] = json!("10.0.0.0/16");
    resources["subnets"]["lan"]["ranges"] = json!([{"from": "10.0.1.0", "to": "10.0.9.255"}]);
    resources["subnets"]["lan"]["strangers"] = json!({"burst": 10, "perMinute": 6});
    let mut lab = Lab::new(&resources);
    let stranger = |number: u8| discover(&format!("02:00:00:00:01:{number:02x}"));
    for number in 0..10 {
        lab.lease(&stranger(number));
    }
    let why = lab.silence(&stranger(10));
    assert_eq!(why, Why::TooManyStrangers("lan".into()));
    lab.offer(&discover(DYNAMIC));
    lab.lease(&stranger(3));
    lab.later(10);
    lab.offer(&stranger(10));
    assert!(matches!(
        lab.silence(&stranger(11)),
        Why::TooManyStrangers(_)
    ));
}

#[test]
fn whoever_declines_all_it_gets_cannot_empty_the_range() {
    let mut resources = usual();
    resources["subnets"]["lan"]["ranges"] = json!([{"from": "10.0.0.100", "to": "10.0.0.120"}]);
    let mut lab = Lab::new(&resources);
    for round in 0..4 {
        let discover = discover(STRANGER);
        let address = lab.lease(&discover);
        let mut decline = selecting(&discover, address, SERVER);
        decline
            .options
            .put(code::MESSAGE_TYPE, vec![MessageType::Decline.into()]);
        let why = lab.silence(&decline);
        if round < 3 {
            assert_eq!(why, Why::Declined(address));
        } else {
            assert_eq!(why, Why::TooManyDeclined);
        }
    }
}

#[test]
fn a_pool_has_options_after_its_profiles() {
    let mut resources = usual();
    resources["subnets"]["lan"]["dhcpOptions"] = json!({"ntp-servers": "10.0.0.1", "43.6": "0x08"});
    resources["profiles"] =
        json!({"p": {"dhcpOptions": {"ntp-servers": "10.0.0.2", "224": "profile"}}});
    resources["pools"]["all"]["profiles"] = json!(["p"]);
    resources["pools"]["all"]["dhcpOptions"] = json!({"224": "pool"});
    let reply = Lab::new(&resources).reply(&discover(STRANGER)).message;
    assert_eq!(reply.options.get(code::NTP), Some(&[10, 0, 0, 2][..]));
    assert_eq!(reply.options.get(224), Some(&b"pool"[..]));
    assert_eq!(reply.options.get(code::VENDOR), Some(&[6, 1, 8][..]));
}
