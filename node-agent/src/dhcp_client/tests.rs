use super::*;

const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 1, 2, 3]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

fn at(millis: u64) -> Monotonic {
    Monotonic(Duration::from_millis(millis))
}

fn decode(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

fn reply(to: &Message, kind: MessageType, options: Vec<DhcpOption>) -> Message {
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(to.xid())
        .set_chaddr(to.chaddr())
        .set_yiaddr(ADDRESS);
    reply.opts_mut().insert(DhcpOption::MessageType(kind));
    reply
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier(SERVER));
    for option in options {
        reply.opts_mut().insert(option);
    }
    reply
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn sent(client: &mut DhcpClient, now: Monotonic) -> Message {
    match client.poll(now) {
        Output::Send(bytes) => {
            assert!(bytes.len() >= 300);
            decode(&bytes)
        }
        other => panic!("expected a datagram, not {other:?}"),
    }
}

#[test]
fn a_hardware_address_longer_than_its_field_is_ignored() {
    let mut client = DhcpClient::new(MAC, 7, at(0));
    let discover = sent(&mut client, at(0));
    let mut offer = encode(&reply(&discover, MessageType::Offer, vec![]));
    // hlen (RFC 2131 §2) of more octets than chaddr has.
    offer[2] = 22;
    client.handle(at(5), &offer);
    assert!(matches!(client.poll(at(5)), Output::WaitUntil(_)));
}

#[test]
fn discover_offer_request_ack() {
    let mut client = DhcpClient::new(MAC, 7, at(0));
    let discover = sent(&mut client, at(0));
    assert_eq!(discover.opts().msg_type(), Some(MessageType::Discover));
    assert_eq!(discover.chaddr(), MAC.octets());
    assert!(discover.flags().broadcast());
    assert!(!discover.opts().contains(OptionCode::ClientIdentifier));
    client.handle(
        at(5),
        &encode(&reply(&discover, MessageType::Offer, vec![])),
    );
    let request = sent(&mut client, at(5));
    assert_eq!(request.opts().msg_type(), Some(MessageType::Request));
    assert_eq!(
        request.opts().get(OptionCode::RequestedIpAddress),
        Some(&DhcpOption::RequestedIpAddress(ADDRESS))
    );
    let ack = reply(
        &request,
        MessageType::Ack,
        vec![
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 240, 0)),
            DhcpOption::Router(vec![SERVER]),
            DhcpOption::DomainNameServer(vec![SERVER]),
            DhcpOption::AddressLeaseTime(600),
        ],
    );
    client.handle(at(9), &encode(&ack));
    let lease = Lease {
        address: ADDRESS,
        prefix: 20,
        gateway: Some(SERVER),
        dns: vec![SERVER],
        server: SERVER,
        mtu: None,
        lease_secs: 600,
    };
    assert_eq!(client.poll(at(9)), Output::Bound(lease));
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
    client.handle(
        at(1),
        &encode(&reply(&discover, MessageType::Offer, vec![])),
    );
    let request = sent(&mut client, at(1));
    let nak = reply(
        &request,
        MessageType::Nak,
        vec![DhcpOption::Message("pool is empty".into())],
    );
    client.handle(at(2), &encode(&nak));
    assert!(
        client.complaint().contains("pool is empty"),
        "{}",
        client.complaint()
    );
    assert_eq!(client.poll(at(2)), Output::WaitUntil(at(1002)));
    let again = sent(&mut client, at(1002));
    assert_eq!(again.opts().msg_type(), Some(MessageType::Discover));
    assert_ne!(again.xid(), discover.xid());
}

#[test]
fn an_offer_that_is_not_confirmed_is_dropped() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    client.handle(
        at(1),
        &encode(&reply(&discover, MessageType::Offer, vec![])),
    );
    let mut now = at(1);
    for _ in 0..REQUESTS_PER_OFFER {
        assert_eq!(
            sent(&mut client, now).opts().msg_type(),
            Some(MessageType::Request)
        );
        let Output::WaitUntil(next) = client.poll(now) else {
            panic!("no deadline")
        };
        now = next;
    }
    assert_eq!(
        sent(&mut client, now).opts().msg_type(),
        Some(MessageType::Discover)
    );
}

#[test]
fn what_is_for_others_or_garbled_is_ignored() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    let mut other = reply(&discover, MessageType::Offer, vec![]);
    other.set_xid(discover.xid() ^ 1);
    let mut other_mac = reply(&discover, MessageType::Offer, vec![]);
    other_mac.set_chaddr(&[1, 2, 3, 4, 5, 6]);
    let mut no_server = reply(&discover, MessageType::Offer, vec![]);
    no_server.opts_mut().remove(OptionCode::ServerIdentifier);
    let whole = encode(&reply(&discover, MessageType::Offer, vec![]));
    for length in 0..whole.len().min(240) {
        client.handle(at(1), &whole[..length]);
    }
    for message in [other, other_mac, no_server] {
        client.handle(at(1), &encode(&message));
    }
    assert!(matches!(client.poll(at(1)), Output::WaitUntil(_)));
}

#[test]
fn classless_routes_win_and_a_missing_mask_follows_the_class() {
    let mut client = DhcpClient::new(MAC, 3, at(0));
    let discover = sent(&mut client, at(0));
    client.handle(
        at(1),
        &encode(&reply(&discover, MessageType::Offer, vec![])),
    );
    let request = sent(&mut client, at(1));
    let other = Ipv4Addr::new(10, 0, 0, 254);
    let ack = reply(
        &request,
        MessageType::Ack,
        vec![
            DhcpOption::Router(vec![SERVER]),
            DhcpOption::ClasslessStaticRoute(vec![("0.0.0.0/0".parse().unwrap(), other)]),
        ],
    );
    client.handle(at(2), &encode(&ack));
    let Output::Bound(lease) = client.poll(at(2)) else {
        panic!("not bound")
    };
    assert_eq!((lease.gateway, lease.prefix), (Some(other), 8));
}
