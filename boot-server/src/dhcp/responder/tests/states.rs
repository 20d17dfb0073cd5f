//! Client states of RFC 2131 figure 5, and who gets which address.

use super::*;

#[test]
fn reserved_dynamic_and_unknown_machines_get_addresses() {
    let mut lab = Lab::usual();
    assert_eq!(lab.lease(&discover(DECLARED)), ip("10.0.0.50"));
    assert_eq!(lab.lease(&discover(DYNAMIC)), ip("10.0.0.51"));
    assert_eq!(lab.lease(&discover(STRANGER)), ip("10.0.0.52"));
    let lease = lab.leases.get(ip("10.0.0.50")).unwrap();
    assert_eq!(
        (lease.kind, lease.machine.as_deref()),
        (LeaseKind::Reserved, Some("n1"))
    );
    assert_eq!(lease.expires, Some(START.after(Duration::from_secs(3600))));
    assert_eq!(
        lab.leases.get(ip("10.0.0.51")).unwrap().kind,
        LeaseKind::Dynamic
    );
}

#[test]
fn an_address_is_the_same_next_time_even_after_it_ended() {
    let mut lab = Lab::usual();
    let first = lab.lease(&discover(STRANGER));
    lab.lease(&discover(DYNAMIC));
    lab.later(30 * 24 * 3600);
    assert_eq!(lab.lease(&discover(STRANGER)), first);
}

#[test]
fn without_a_pool_for_all_strangers_are_left_alone() {
    let mut resources = usual();
    resources["pools"]["all"]["catchAll"] = json!(false);
    let mut lab = Lab::new(&resources);
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::UnknownClient(Unassigned::Unknown { mac: mac(STRANGER) })
    );
    assert_eq!(lab.offer(&discover(DYNAMIC)), ip("10.0.0.51"));
}

#[test]
fn the_address_a_client_asks_for_is_given_where_it_is_free() {
    let mut lab = Lab::usual();
    for (asked, given) in [
        ("10.0.0.53", "10.0.0.53"),
        ("10.0.0.50", "10.0.0.51"),
        ("192.168.1.1", "10.0.0.51"),
    ] {
        let mut message = discover(STRANGER);
        message
            .options
            .put_addresses(code::REQUESTED_ADDRESS, &[ip(asked)]);
        assert_eq!(lab.offer(&message), ip(given), "{asked}");
        lab.leases.withdraw_offers(mac(STRANGER));
    }
}

#[test]
fn a_full_pool_says_so_and_reuses_what_ended_first() {
    let mut lab = Lab::usual();
    let clients = [
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
        "02:00:00:00:00:03",
    ];
    for (at, client) in clients.iter().enumerate() {
        assert_eq!(
            lab.lease(&discover(client)),
            Ipv4Addr::from(u32::from(ip("10.0.0.51")) + at as u32)
        );
        lab.later(10);
    }
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::Exhausted("lan".into())
    );
    // The reserved machine has its own all the same.
    assert_eq!(lab.lease(&discover(DECLARED)), ip("10.0.0.50"));
    lab.later(3600);
    assert_eq!(lab.lease(&discover(STRANGER)), ip("10.0.0.51"));
}

#[test]
fn made_up_clients_do_not_keep_out_a_declared_machine() {
    let mut lab = Lab::usual();
    let made_up = |at: u32| format!("02:00:00:00:02:{at:02x}");
    for at in 0..3 {
        lab.offer(&discover(&made_up(at)));
    }
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::Exhausted("lan".into())
    );
    assert_eq!(lab.lease(&discover(DYNAMIC)), ip("10.0.0.51"));
    let late = selecting(&discover(&made_up(0)), ip("10.0.0.51"), SERVER);
    assert_eq!(lab.refusal(&late), Refusal::Taken(ip("10.0.0.51")));
    // Leases that hold are nobody's to take.
    for at in 1..3 {
        lab.lease(&discover(&made_up(at)));
    }
    lab.leases.release(ip("10.0.0.51"), mac(DYNAMIC), lab.now);
    lab.lease(&discover(&made_up(0)));
    assert_eq!(
        lab.silence(&discover(DYNAMIC)),
        Why::Exhausted("lan".into())
    );
}

#[test]
fn a_subnet_without_ranges_serves_reservations_only() {
    let mut resources = usual();
    resources["subnets"]["lan"]["ranges"] = json!([]);
    let mut lab = Lab::new(&resources);
    assert_eq!(lab.lease(&discover(DECLARED)), ip("10.0.0.50"));
    assert_eq!(lab.silence(&discover(STRANGER)), Why::NoRange("lan".into()));
}

#[test]
fn a_client_that_chose_another_server() {
    let mut lab = Lab::usual();
    let address = lab.offer(&discover(STRANGER));
    let other = ip("10.0.0.2");
    assert_eq!(
        lab.silence(&selecting(&discover(STRANGER), address, other)),
        Why::OtherServer(other)
    );
    assert_eq!(lab.leases.offered_to(address, START), None);
    assert_eq!(lab.leases.get(address), None);
}

#[test]
fn two_clients_want_one_address() {
    let mut lab = Lab::usual();
    let address = lab.offer(&discover(STRANGER));
    let rival = selecting(&discover(DYNAMIC), address, SERVER);
    assert_eq!(lab.refusal(&rival), Refusal::Taken(address));
    assert_eq!(lab.lease(&discover(STRANGER)), address);
    assert_eq!(lab.refusal(&rival), Refusal::Taken(address));
}

#[test]
fn init_reboot() {
    let mut lab = Lab::usual();
    // Unknown here: another server may have given it.
    assert_eq!(
        lab.silence(&super::init_reboot(STRANGER, "10.0.0.52")),
        Why::NoRecord
    );
    // From another network: wrong wherever it came from.
    assert_eq!(
        lab.refusal(&super::init_reboot(STRANGER, "192.168.1.7")),
        Refusal::WrongNetwork(ip("192.168.1.7"))
    );
    let address = lab.lease(&discover(STRANGER));
    let ack = lab.reply(&super::init_reboot(STRANGER, &address.to_string()));
    assert_eq!(
        (ack.message.message_type(), ack.message.yiaddr),
        (Some(MessageType::Ack), address)
    );
    assert_eq!(
        lab.refusal(&super::init_reboot(STRANGER, "10.0.0.53")),
        Refusal::NotYours(ip("10.0.0.53"))
    );
    // A machine with a reservation is sent to it.
    let reserved = Refusal::HasReservation(ip("10.0.0.50"));
    assert_eq!(
        lab.refusal(&super::init_reboot(DECLARED, "10.0.0.52")),
        reserved
    );
    let ack = lab.reply(&super::init_reboot(DECLARED, "10.0.0.50"));
    assert_eq!(ack.message.message_type(), Some(MessageType::Ack));
}

#[test]
fn renewing_and_rebinding() {
    let mut lab = Lab::usual();
    let address = lab.lease(&discover(STRANGER));
    lab.later(1800);
    lab.unicast();
    let ack = lab.reply(&super::renewing(STRANGER, address));
    assert_eq!(
        (
            ack.message.message_type(),
            ack.message.ciaddr,
            ack.message.yiaddr
        ),
        (Some(MessageType::Ack), address, address)
    );
    assert_eq!(ack.to, Destination::Client(SocketAddrV4::new(address, 68)));
    assert_eq!(
        lab.leases.get(address).unwrap().expires,
        Some(lab.now.after(Duration::from_secs(3600)))
    );
    // Rebinding, after the lease has ended: nobody took it in between.
    lab.broadcast();
    lab.later(7200);
    assert_eq!(
        lab.reply(&super::renewing(STRANGER, address))
            .message
            .message_type(),
        Some(MessageType::Ack)
    );
    // Somebody else's.
    assert_eq!(
        lab.refusal(&super::renewing(DYNAMIC, address)),
        Refusal::Taken(address)
    );
    assert_eq!(
        lab.refusal(&super::renewing(DYNAMIC, ip("10.0.0.50"))),
        Refusal::Reserved(ip("10.0.0.50"))
    );
    assert_eq!(
        lab.silence(&super::renewing(DYNAMIC, ip("10.0.0.53"))),
        Why::NoRecord
    );
}

#[test]
fn a_server_that_lost_its_leases_takes_renewals_up_again() {
    let mut lab = Lab::usual();
    lab.unicast();
    let ack = lab.reply(&super::renewing(STRANGER, ip("10.0.0.53")));
    assert_eq!(ack.message.message_type(), Some(MessageType::Ack));
    assert_eq!(
        lab.leases.holder(ip("10.0.0.53"), lab.now),
        Some(mac(STRANGER))
    );
    // But not an address that was never ours to give.
    assert_eq!(
        lab.refusal(&super::renewing(DYNAMIC, ip("10.0.0.99"))),
        Refusal::NoRange(ip("10.0.0.99"))
    );
}

#[test]
fn a_new_reservation_waits_for_the_next_boot() {
    let mut lab = Lab::usual();
    let address = lab.lease(&discover(STRANGER));
    let mut resources = usual();
    resources["machines"]["n9"] =
        json!({ "macs": [STRANGER], "address": "10.0.0.77", "pool": "all" });
    lab.inventory = Lab::new(&resources).inventory;
    lab.unicast();
    assert_eq!(
        lab.reply(&super::renewing(STRANGER, address))
            .message
            .yiaddr,
        address
    );
    lab.broadcast();
    let reserved = Refusal::HasReservation(ip("10.0.0.77"));
    assert_eq!(
        lab.refusal(&super::init_reboot(STRANGER, &address.to_string())),
        reserved
    );
    assert_eq!(lab.lease(&discover(STRANGER)), ip("10.0.0.77"));
}

#[test]
fn an_address_that_becomes_another_machines_reservation() {
    let mut lab = Lab::usual();
    let address = lab.lease(&discover(STRANGER));
    let mut resources = usual();
    resources["machines"]["n2"]["address"] = json!(address.to_string());
    lab.inventory = Lab::new(&resources).inventory;
    // Its owner gets another one as long as the address is in use.
    assert_eq!(lab.lease(&discover(DYNAMIC)), ip("10.0.0.52"));
    lab.unicast();
    assert_eq!(
        lab.refusal(&super::renewing(STRANGER, address)),
        Refusal::Reserved(address)
    );
    lab.broadcast();
    lab.later(3601);
    assert_eq!(lab.lease(&discover(DYNAMIC)), address);
}

#[test]
fn release_and_decline() {
    let mut lab = Lab::usual();
    let address = lab.lease(&discover(STRANGER));
    let mut release = Message::request(mac(STRANGER), 1, MessageType::Release);
    assert_eq!(lab.silence(&release), Why::Incomplete);
    release.ciaddr = address;
    let outcome = lab.handle(&release);
    assert_eq!(outcome.decision, Decision::Silent(Why::Released(address)));
    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(lab.silence(&release), Why::NotItsLease(address));

    assert_eq!(lab.lease(&discover(STRANGER)), address);
    let mut decline = Message::request(mac(STRANGER), 1, MessageType::Decline);
    assert_eq!(lab.silence(&decline), Why::Incomplete);
    decline
        .options
        .put_addresses(code::REQUESTED_ADDRESS, &[address]);
    decline.options.put_addresses(code::SERVER_ID, &[SERVER]);
    let outcome = lab.handle(&decline);
    assert_eq!(outcome.decision, Decision::Silent(Why::Declined(address)));
    assert_eq!(outcome.changes.len(), 1);
    // It rests; the client gets another one.
    let next = lab.lease(&discover(STRANGER));
    assert_ne!(next, address);
    lab.later(601);
    let mut asks = discover(DYNAMIC);
    asks.options
        .put_addresses(code::REQUESTED_ADDRESS, &[address]);
    assert_ne!(lab.offer(&asks), address);
}

#[test]
fn inform() {
    let mut lab = Lab::usual();
    let mut message = Message::request(mac(STRANGER), 1, MessageType::Inform);
    assert_eq!(lab.silence(&message), Why::Incomplete);
    message.ciaddr = ip("10.0.0.99");
    let reply = lab.reply(&message);
    assert_eq!(reply.message.yiaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(
        reply.to,
        Destination::Client("10.0.0.99:68".parse().unwrap())
    );
    assert!(reply.message.options.has(code::DNS) && !reply.message.options.has(code::LEASE_TIME));
    assert_eq!(lab.leases.iter().count(), 0);
}

#[test]
fn the_second_nic_takes_the_reservation_over_when_it_boots() {
    let mut lab = Lab::usual();
    assert_eq!(lab.lease(&pxe(DECLARED, 0)), ip("10.0.0.50"));
    // A running system that brings its second NIC up gets another address.
    assert_eq!(lab.lease(&discover(SECOND_NIC)), ip("10.0.0.51"));
    // Firmware that boots from the second NIC: the system that ran is gone.
    assert_eq!(lab.lease(&pxe(SECOND_NIC, 0)), ip("10.0.0.50"));
    assert_eq!(
        lab.leases.holder(ip("10.0.0.50"), lab.now),
        Some(mac(SECOND_NIC))
    );
    lab.unicast();
    assert_eq!(
        lab.refusal(&super::renewing(DECLARED, ip("10.0.0.50"))),
        Refusal::Taken(ip("10.0.0.50"))
    );
}

#[test]
fn the_address_of_server_router_and_broadcast_are_never_given() {
    let mut resources = usual();
    resources["subnets"]["lan"]["cidr"] = json!("10.0.0.0/29");
    resources["subnets"]["lan"]["gateway"] = json!("10.0.0.2");
    resources["subnets"]["lan"]["dns"] = json!(["10.0.0.3"]);
    resources["subnets"]["lan"]["ranges"] = json!([{"from": "10.0.0.0", "to": "10.0.0.7"}]);
    let mut lab = Lab::new(&resources);
    let mut given: Vec<Ipv4Addr> = Vec::new();
    for at in 0..3 {
        given.push(lab.lease(&discover(&format!("02:00:00:00:01:{at:02x}"))));
    }
    given.sort();
    assert_eq!(given, [ip("10.0.0.4"), ip("10.0.0.5"), ip("10.0.0.6")]);
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::Exhausted("lan".into())
    );
}

#[test]
fn lease_times() {
    let mut resources = usual();
    for (declared, asked, given) in [
        ("1h", None, 3600),
        ("1h", Some(600), 600),
        ("1h", Some(5), 60),
        ("1h", Some(u32::MAX), 3600),
        ("30s", Some(5), 30),
    ] {
        resources["subnets"]["lan"]["leaseTime"] = json!(declared);
        let mut message = discover(STRANGER);
        if let Some(asked) = asked {
            message.options.put_number32(code::LEASE_TIME, asked);
        }
        let reply = Lab::new(&resources).reply(&message).message;
        assert_eq!(
            reply.options.number32(code::LEASE_TIME),
            Some(given),
            "{declared} {asked:?}"
        );
        let (t1, t2) = (
            reply.options.number32(code::RENEWAL_T1).unwrap(),
            reply.options.number32(code::REBINDING_T2).unwrap(),
        );
        assert!(t1 < t2 && t2 < given, "{t1} {t2} {given}");
    }
}

#[test]
fn messages_that_are_no_ones_business() {
    let mut lab = Lab::usual();
    let mut reply = discover(STRANGER);
    reply.op = Op::Reply;
    assert_eq!(lab.silence(&reply), Why::NotARequest);
    let mut infiniband = discover(STRANGER);
    (infiniband.htype, infiniband.hlen) = (32, 0);
    assert_eq!(lab.silence(&infiniband), Why::NoMac { htype: 32, hlen: 0 });
    let mut bootp = discover(STRANGER);
    bootp.options.remove(code::MESSAGE_TYPE);
    assert_eq!(lab.silence(&bootp), Why::Bootp);
    for kind in [
        MessageType::Offer,
        MessageType::Ack,
        MessageType::LeaseQuery,
        MessageType::Unknown(77),
    ] {
        let message = Message::request(mac(STRANGER), 1, kind);
        assert_eq!(lab.silence(&message), Why::NotForServers(kind));
    }
    let nothing = Message::request(mac(STRANGER), 1, MessageType::Request);
    assert_eq!(lab.silence(&nothing), Why::Incomplete);
    assert!(matches!(
        lab.handle_bytes(&[0; 100]).decision,
        Decision::Silent(Why::Malformed(_))
    ));
}
