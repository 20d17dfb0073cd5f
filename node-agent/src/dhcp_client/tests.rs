use super::*;
use crate::dhcp_client::lease::Times;

const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 1, 2, 3]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

fn at(millis: u64) -> Monotonic {
    Monotonic(Duration::from_millis(millis))
}

fn secs(secs: u64) -> Monotonic {
    at(secs * 1000)
}

fn reply(to: &Message, kind: MessageType, options: &[(u8, &[u8])]) -> Message {
    let mut reply = to.reply(kind);
    reply.yiaddr = ADDRESS;
    reply.options.put_addresses(code::SERVER_ID, &[SERVER]);
    for (code, value) in options {
        reply.options.put(*code, value.to_vec());
    }
    reply
}

fn encode(message: &Message) -> Vec<u8> {
    message.encode(1472)
}

fn sent(client: &mut DhcpClient, now: Monotonic) -> Message {
    match client.poll(now) {
        Output::Send(bytes) => {
            assert!(bytes.len() >= 300);
            Message::parse(&bytes).unwrap()
        }
        other => panic!("expected a datagram, not {other:?}"),
    }
}

/// The lease of an ACK with these options.
fn bound(options: &[(u8, &[u8])]) -> Lease {
    let mut client = DhcpClient::new(MAC, 7, at(0));
    let discover = sent(&mut client, at(0));
    client.handle(at(5), &encode(&reply(&discover, MessageType::Offer, &[])));
    let request = sent(&mut client, at(5));
    client.handle(at(9), &encode(&reply(&request, MessageType::Ack, options)));
    match client.poll(at(9)) {
        Output::Bound(lease) => lease,
        other => panic!("not bound but {other:?}"),
    }
}

#[test]
fn a_hardware_address_longer_than_its_field_is_ignored() {
    let mut client = DhcpClient::new(MAC, 7, at(0));
    let discover = sent(&mut client, at(0));
    let mut offer = encode(&reply(&discover, MessageType::Offer, &[]));
    // hlen (RFC 2131 §2) of more octets than chaddr has.
    offer[2] = 22;
    client.handle(at(5), &offer);
    assert!(matches!(client.poll(at(5)), Output::WaitUntil(_)));
}

#[test]
fn discover_offer_request_ack() {
    let mut client = DhcpClient::new(MAC, 7, at(0));
    let discover = sent(&mut client, at(0));
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert_eq!(discover.mac(), Some(MAC));
    assert!(discover.wants_broadcast());
    assert!(!discover.options.has(code::CLIENT_ID));
    client.handle(at(5), &encode(&reply(&discover, MessageType::Offer, &[])));
    let request = sent(&mut client, at(5));
    assert_eq!(request.message_type(), Some(MessageType::Request));
    assert_eq!(
        request.options.address(code::REQUESTED_ADDRESS),
        Some(ADDRESS)
    );
    let lease = bound(&[
        (code::SUBNET_MASK, &[255, 255, 240, 0]),
        (code::ROUTER, &[0, 0, 0, 0, 10, 0, 0, 1]),
        (code::LEASE_TIME, &600_u32.to_be_bytes()),
    ]);
    let expected = Lease {
        address: ADDRESS,
        prefix: 20,
        gateway: Some(SERVER),
        server: SERVER,
        mtu: None,
        times: Some(Times {
            renew: Duration::from_secs(300),
            rebind: Duration::from_secs(525),
            end: Duration::from_secs(600),
        }),
    };
    assert_eq!(lease, expected);
}

#[test]
fn silence_is_met_with_growing_waits() {
    let mut client = DhcpClient::new(MAC, 99, at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..6 {
        sent(&mut client, now);
        let Output::WaitUntil(next) = client.poll(now) else {
            panic!("no deadline")
        };
        waits.push(next.since(now).as_secs_f32());
        now = next;
    }
    for (wait, whole) in waits.iter().zip([2.0, 4.0, 8.0, 16.0, 16.0, 16.0]) {
        assert!((whole * 0.75..=whole * 1.25).contains(wait), "{waits:?}");
    }
    assert_eq!(client.complaint(), "no DHCP server answered");
}

#[test]
fn a_refusal_begins_anew_with_another_transaction() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    client.handle(at(1), &encode(&reply(&discover, MessageType::Offer, &[])));
    let request = sent(&mut client, at(1));
    // A console takes commands; what a server says is none.
    let nak = reply(
        &request,
        MessageType::Nak,
        &[(code::MESSAGE, b"\x1b[2Jpool is empty\xff\n")],
    );
    client.handle(at(2), &encode(&nak));
    assert_eq!(
        client.complaint(),
        "10.0.0.1 refused the address it had offered: [2Jpool is empty\u{fffd}"
    );
    assert_eq!(client.poll(at(2)), Output::WaitUntil(at(1002)));
    let again = sent(&mut client, at(1002));
    assert_eq!(again.message_type(), Some(MessageType::Discover));
    assert_ne!(again.xid, discover.xid);
}

#[test]
fn an_offer_that_is_not_confirmed_is_dropped() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    client.handle(at(1), &encode(&reply(&discover, MessageType::Offer, &[])));
    let mut now = at(1);
    for _ in 0..REQUESTS_PER_OFFER {
        assert_eq!(
            sent(&mut client, now).message_type(),
            Some(MessageType::Request)
        );
        let Output::WaitUntil(next) = client.poll(now) else {
            panic!("no deadline")
        };
        now = next;
    }
    assert!(client.complaint().contains("did not confirm"));
    assert_eq!(
        sent(&mut client, now).message_type(),
        Some(MessageType::Discover)
    );
}

#[test]
fn what_is_for_others_or_garbled_is_ignored() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    let offer = reply(&discover, MessageType::Offer, &[]);
    let mut other = offer.clone();
    other.xid ^= 1;
    let mut other_mac = offer.clone();
    other_mac.chaddr[0] ^= 1;
    let mut no_server = offer.clone();
    no_server.options.remove(code::SERVER_ID);
    let mut question = offer.clone();
    question.op = Op::Request;
    let whole = encode(&offer);
    for length in 0..whole.len().min(240) {
        client.handle(at(1), &whole[..length]);
    }
    for message in [other, other_mac, no_server, question] {
        client.handle(at(1), &encode(&message));
    }
    assert!(matches!(client.poll(at(1)), Output::WaitUntil(_)));
}

/// As foreign servers send them: one bad option costs no other.
#[test]
fn options_are_judged_one_by_one() {
    let other = Ipv4Addr::new(10, 0, 0, 254);
    let gateway = |options: &[(u8, &[u8])]| bound(options).gateway;
    let router: (u8, &[u8]) = (code::ROUTER, &[10, 0, 0, 1]);
    let routes: (u8, &[u8]) = (
        code::CLASSLESS_ROUTES,
        &[8, 10, 10, 0, 0, 9, 0, 10, 0, 0, 254],
    );
    assert_eq!(gateway(&[router, routes]), Some(other));
    // Routes, and none of them the default, mean that there is none (RFC 3442).
    assert_eq!(
        gateway(&[router, (code::CLASSLESS_ROUTES, &[8, 10, 10, 0, 0, 9])]),
        None
    );
    // What is no list of routes says nothing.
    for broken in [&[33, 1, 2, 3, 4, 5, 10, 0, 0, 9][..], &[0, 10, 0], &[24]] {
        let broken = (code::CLASSLESS_ROUTES, broken);
        assert_eq!(gateway(&[router, broken]), Some(SERVER));
    }
    let lease = bound(&[
        (code::HOSTNAME, b"\xff\xfe"),
        (code::DOMAIN, b""),
        (code::SUBNET_MASK, &[255, 0, 255, 0]),
        (code::MTU, &[9, 9, 9]),
        (code::DNS, &[10, 0]),
        (code::LEASE_TIME, &u32::MAX.to_be_bytes()),
    ]);
    // Without a mask that is one, the class tells.
    assert_eq!((lease.prefix, lease.mtu, lease.times), (8, None, None));
    assert_eq!(bound(&[(code::MTU, &[0, 68])]).mtu, None);
    assert_eq!(bound(&[(code::MTU, &[35, 40])]).mtu, Some(9000));
}

/// RFC 2131 §4.1: options may lie in the fields `file` and `sname`.
#[test]
fn options_in_overloaded_fields_are_read() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    let mut offer = reply(&discover, MessageType::Offer, &[(code::OVERLOAD, &[1])]);
    offer.options.remove(code::SERVER_ID);
    offer.file = vec![code::SERVER_ID, 4, 10, 0, 0, 1, 255];
    client.handle(at(1), &encode(&offer));
    let request = sent(&mut client, at(1));
    assert_eq!(request.options.address(code::SERVER_ID), Some(SERVER));
}

fn renewal(times: &[(u8, u32)]) -> Renewal {
    let values: Vec<(u8, [u8; 4])> = times
        .iter()
        .map(|(code, secs)| (*code, secs.to_be_bytes()))
        .collect();
    let options: Vec<(u8, &[u8])> = values
        .iter()
        .map(|(code, octets)| (*code, octets.as_slice()))
        .collect();
    Renewal::new(MAC, 5, bound(&options), at(0)).unwrap()
}

fn asked(renewal: &mut Renewal, now: Monotonic) -> (Ipv4Addr, Message) {
    match renewal.poll(now) {
        Upkeep::Send { to, datagram } => (to, Message::parse(&datagram).unwrap()),
        other => panic!("expected a datagram, not {other:?}"),
    }
}

#[test]
fn a_lease_is_renewed_at_half_of_its_time() {
    let mut renewal = renewal(&[(code::LEASE_TIME, 600)]);
    assert_eq!(renewal.poll(at(0)), Upkeep::WaitUntil(secs(300)));
    let (to, request) = asked(&mut renewal, secs(300));
    assert_eq!((to, request.ciaddr), (SERVER, ADDRESS));
    assert_eq!(request.message_type(), Some(MessageType::Request));
    // RFC 2131 §4.3.6, table 4: neither is sent while an address is renewed.
    assert!(!request.options.has(code::SERVER_ID));
    assert!(!request.options.has(code::REQUESTED_ADDRESS));
    let ack = reply(
        &request,
        MessageType::Ack,
        &[(code::LEASE_TIME, &1000_u32.to_be_bytes())],
    );
    assert!(renewal.handle(&encode(&ack)));
    // From the request on, and an answer counts once.
    assert_eq!(renewal.poll(secs(301)), Upkeep::WaitUntil(secs(800)));
    assert!(!renewal.handle(&encode(&ack)));
}

#[test]
fn without_an_answer_all_servers_are_asked_and_then_it_is_lost() {
    let mut renewal = renewal(&[(code::LEASE_TIME, 600)]);
    let mut asked_at = Vec::new();
    let mut now = at(0);
    let lost = loop {
        match renewal.poll(now) {
            Upkeep::Send { to, .. } => asked_at.push((now.0.as_secs(), to)),
            Upkeep::WaitUntil(next) => now = next,
            Upkeep::Lost(why) => break why,
        }
    };
    let all = Ipv4Addr::BROADCAST;
    let expected = [
        (300, SERVER),
        (412, SERVER),
        (472, SERVER),
        (525, all),
        (585, all),
    ];
    assert_eq!(asked_at, expected);
    assert_eq!(
        (lost.as_str(), now),
        ("no server renewed it within its 600 s", secs(600))
    );
}

#[test]
fn a_lease_that_is_called_back_is_lost() {
    let mut renewal = renewal(&[(code::LEASE_TIME, 600)]);
    let (_, request) = asked(&mut renewal, secs(300));
    let nak = reply(&request, MessageType::Nak, &[(code::MESSAGE, b"moved")]);
    renewal.handle(&encode(&nak));
    let expected = Upkeep::Lost("10.0.0.1 wants it back: moved".to_owned());
    assert_eq!(renewal.poll(secs(301)), expected);
}

#[test]
fn a_servers_times_are_heeded_within_reason() {
    let mut given = renewal(&[
        (code::LEASE_TIME, 600),
        (code::RENEWAL_T1, 100),
        (code::REBINDING_T2, 200),
    ]);
    assert_eq!(given.poll(at(0)), Upkeep::WaitUntil(secs(100)));
    // Out of order, or none at all: never asked in a tight loop.
    let mut zero = renewal(&[(code::LEASE_TIME, 600), (code::RENEWAL_T1, 0)]);
    assert_eq!(zero.poll(at(0)), Upkeep::WaitUntil(secs(1)));
    let mut late = renewal(&[(code::LEASE_TIME, 600), (code::RENEWAL_T1, 9000)]);
    assert_eq!(late.poll(at(0)), Upkeep::WaitUntil(secs(525)));
    let for_ever = bound(&[]);
    assert!(Renewal::new(MAC, 5, for_ever, at(0)).is_none());
}
