//! Which network a message is from, and where its answer goes.

use super::*;

fn relayed(of: &str, giaddr: &str) -> Message {
    Message {
        giaddr: ip(giaddr),
        hops: 1,
        ..discover(of)
    }
}

/// Two networks behind relays, one of them with a relay address of its own.
fn routed() -> Value {
    json!({
        "subnets": {
            "a": { "cidr": "10.1.0.0/24", "ranges": [{"from": "10.1.0.10", "to": "10.1.0.20"}] },
            "b": { "cidr": "10.2.0.0/24", "relay": "192.0.2.1", "ranges": [{"from": "10.2.0.10", "to": "10.2.0.20"}] },
            "off": { "cidr": "10.3.0.0/24", "mode": "off" },
        },
        "pools": { "all": { "image": "debian", "catchAll": true } },
    })
}

#[test]
fn relays_choose_the_subnet_and_get_the_answer() {
    let mut lab = Lab::new(&routed());
    for (giaddr, first) in [("10.1.0.1", "10.1.0.10"), ("192.0.2.1", "10.2.0.10")] {
        let reply = lab.reply(&relayed(STRANGER, giaddr));
        assert_eq!(reply.message.yiaddr, ip(first));
        assert_eq!(reply.to, Destination::Relay(ip(giaddr)));
        assert_eq!(reply.message.giaddr, ip(giaddr));
        assert_eq!(reply.message.options.address(code::SERVER_ID), Some(SERVER));
    }
    assert_eq!(
        lab.silence(&relayed(STRANGER, "10.9.0.1")),
        Why::UnknownRelay(ip("10.9.0.1"))
    );
    assert_eq!(
        lab.silence(&relayed(STRANGER, "10.3.0.1")),
        Why::ModeOff("off".into())
    );
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::UnknownLink("lan0".into())
    );
}

#[test]
fn link_selection_comes_before_giaddr_and_82_goes_back_as_it_came() {
    let mut lab = Lab::new(&routed());
    let mut message = relayed(STRANGER, "10.1.0.1");
    let relay_information = vec![
        1, 3, b'p', b'1', 0xff, 5, 4, 10, 2, 0, 0, 11, 4, 10, 2, 0, 1,
    ];
    message
        .options
        .put(code::RELAY_AGENT, relay_information.clone());
    let reply = lab.reply(&message);
    assert_eq!(reply.message.yiaddr, ip("10.2.0.10"));
    assert_eq!(reply.to, Destination::Relay(ip("10.1.0.1")));
    assert_eq!(
        reply.message.options.get(code::RELAY_AGENT),
        Some(relay_information.as_slice())
    );
    // RFC 5107: the client takes the relay for the server.
    assert_eq!(
        reply.message.options.address(code::SERVER_ID),
        Some(ip("10.2.0.1"))
    );
    let mut request = selecting(&message, ip("10.2.0.10"), ip("10.2.0.1"));
    request.giaddr = ip("10.1.0.1");
    assert_eq!(
        lab.reply(&request).message.message_type(),
        Some(MessageType::Ack)
    );
}

#[test]
fn a_nak_through_a_relay_is_to_be_broadcast() {
    let mut lab = Lab::new(&routed());
    let mut request = init_reboot(STRANGER, "10.7.7.7");
    request.giaddr = ip("10.1.0.1");
    let reply = lab.reply(&request);
    assert_eq!(reply.message.message_type(), Some(MessageType::Nak));
    assert!(reply.message.wants_broadcast());
    assert_eq!(reply.to, Destination::Relay(ip("10.1.0.1")));
}

#[test]
fn a_client_behind_a_router_renews_by_unicast() {
    let mut lab = Lab::new(&routed());
    let address = lab.offer(&relayed(STRANGER, "10.1.0.1"));
    let mut request = selecting(&discover(STRANGER), address, SERVER);
    request.giaddr = ip("10.1.0.1");
    lab.reply(&request);
    lab.unicast();
    let ack = lab.reply(&renewing(STRANGER, address));
    assert_eq!(ack.message.message_type(), Some(MessageType::Ack));
    assert_eq!(ack.to, Destination::Client(SocketAddrV4::new(address, 68)));
}

#[test]
fn destinations() {
    let mut lab = Lab::usual();
    let reply = lab.reply(&discover(STRANGER));
    assert_eq!(
        reply.to,
        Destination::Hardware(mac(STRANGER), reply.message.yiaddr)
    );
    let mut message = discover(STRANGER);
    message.set_broadcast();
    let reply = lab.reply(&message);
    assert_eq!(reply.to, Destination::Broadcast);
    assert!(reply.message.wants_broadcast());
    assert_eq!(
        lab.reply(&init_reboot(DECLARED, "10.0.0.51")).to,
        Destination::Broadcast
    );
}

#[test]
fn a_pool_with_a_subnet_of_its_own() {
    let mut resources = usual();
    resources["subnets"]["other"] = json!({
        "cidr": "10.5.0.0/24", "interface": "lan0", "ranges": [{"from": "10.5.0.10", "to": "10.5.0.20"}] });
    resources["pools"]["all"]["subnet"] = json!("other");
    let mut lab = Lab::new(&resources);
    assert_eq!(lab.offer(&discover(STRANGER)), ip("10.5.0.10"));
    lab.ingress = ingress("lan1", &["10.0.0.1/24"]);
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::OnOtherLink("other".into())
    );
}

#[test]
fn the_server_is_the_address_in_the_clients_subnet() {
    let mut lab = Lab::usual();
    lab.ingress = ingress("lan0", &["172.16.0.1/24", "10.0.0.1/24"]);
    let reply = lab.reply(&pxe(STRANGER, 0));
    assert_eq!(reply.message.options.address(code::SERVER_ID), Some(SERVER));
    assert_eq!(reply.message.siaddr, SERVER);
    // A subnet tied to an interface that has no address yet.
    let mut resources = usual();
    resources["subnets"]["lan"]["interface"] = json!("lan9");
    let mut lab = Lab::new(&resources);
    lab.ingress = ingress("lan9", &[]);
    assert_eq!(
        lab.silence(&discover(STRANGER)),
        Why::NoServerAddress("lan9".into())
    );
}

#[test]
fn options_of_subnet_and_profile() {
    let mut resources = usual();
    resources["subnets"]["lan"]["dhcpOptions"] =
        json!({ "ntp-servers": "10.0.0.7", "224": "0x01", "nonsense": "1" });
    resources["profiles"] = json!({ "p": { "mtu": 9000, "dhcpOptions": { "ntp-servers": "10.0.0.8", "67": "other.efi", "66": "10.0.0.9" } } });
    resources["pools"]["all"]["profiles"] = json!(["p"]);
    let mut lab = Lab::new(&resources);
    let message = lab.reply(&pxe(DYNAMIC, 7)).message;
    let options = &message.options;
    for (code, value) in [
        (code::SUBNET_MASK, &[255, 255, 255, 0][..]),
        (code::ROUTER, &[10, 0, 0, 254]),
        (code::DNS, &[10, 0, 0, 253]),
        (code::BROADCAST, &[10, 0, 0, 255]),
        (code::HOSTNAME, b"n2"),
        (code::DOMAIN, b"farm.example"),
        (code::DOMAIN_SEARCH, b"\x04farm\x07example\x00"),
        (code::MTU, &[0x23, 0x28]),
        (code::NTP, &[10, 0, 0, 8]),
        (224, &[1]),
        (code::BOOT_FILE, b"other.efi"),
    ] {
        assert_eq!(options.get(code), Some(value), "{code}");
    }
    assert_eq!(
        (message.file.as_slice(), message.siaddr),
        (b"other.efi".as_slice(), ip("10.0.0.9"))
    );
    // A client with a list gets of ours what is on it, and what was declared.
    let mut message = discover(DYNAMIC);
    message
        .options
        .put(code::PARAMETER_LIST, vec![code::SUBNET_MASK, code::ROUTER]);
    let options = lab.reply(&message).message.options;
    assert!(options.has(code::NTP) && options.has(224));
    assert!(
        !options.has(code::HOSTNAME)
            && !options.has(code::MTU)
            && !options.has(code::DOMAIN_SEARCH)
    );
}

#[test]
fn the_client_identifier_goes_back() {
    let mut lab = Lab::usual();
    let mut message = discover(STRANGER);
    message
        .options
        .put(code::CLIENT_ID, b"\0cisco-0001".to_vec());
    let reply = lab.reply(&message);
    assert_eq!(
        reply.message.options.get(code::CLIENT_ID),
        Some(b"\0cisco-0001".as_slice())
    );
    // A client is its MAC: another identifier finds the same address.
    message.options.put(code::CLIENT_ID, b"\x01other".to_vec());
    assert_eq!(lab.offer(&message), reply.message.yiaddr);
}

fn through_port(of: &str, circuit: &[u8], remote: &[u8]) -> Message {
    let mut message = discover(of);
    message.giaddr = ip("10.0.0.254");
    let part = |code: u8, bytes: &[u8]| [&[code, bytes.len() as u8], bytes].concat();
    let information = [part(1, circuit), part(2, remote)].concat();
    message.options.put(code::RELAY_AGENT, information);
    message
}

fn bound() -> Value {
    let mut resources = usual();
    resources["machines"]["port7"] = json!({
        "relayPort": { "circuitId": "0x00040001", "remoteId": "leaf-7" }, "address": "10.0.0.77", "pool": "all",
    });
    resources["machines"]["anywhere"] = json!({
        "relayPort": { "circuitId": "eth1/9" }, "address": "10.0.0.79", "pool": "all",
    });
    resources["machines"]["n3"] = json!({
        "clientId": "node-three", "address": "10.0.0.73", "pool": "all",
    });
    resources["machines"]["n4"] = json!({
        "clientId": "ff:00:11:22", "address": "10.0.0.74", "pool": "all",
    });
    resources
}

#[test]
fn whoever_hangs_on_a_relay_port_is_its_machine() {
    let mut lab = Lab::new(&bound());
    let port = |of| through_port(of, &[0, 4, 0, 1], b"leaf-7");
    assert_eq!(lab.offer(&port(STRANGER)), ip("10.0.0.77"));
    let outcome = lab.handle(&port(STRANGER));
    assert_eq!(outcome.learned.as_deref(), Some("port7"));
    let Decision::Reply(reply) = outcome.decision else {
        panic!("silent");
    };
    let asked = port(STRANGER);
    assert_eq!(
        reply.message.options.get(code::RELAY_AGENT),
        asked.options.get(code::RELAY_AGENT),
        "echoed"
    );
    // The port counts, whatever the MAC says.
    assert_eq!(lab.offer(&port(DECLARED)), ip("10.0.0.77"));
    let other = through_port(STRANGER, b"eth1/9", b"whatever");
    assert_eq!(lab.offer(&other), ip("10.0.0.79"));
    let unknown = through_port(STRANGER, &[0, 4, 0, 2], b"leaf-7");
    assert_eq!(lab.offer(&unknown), ip("10.0.0.51"), "a stranger's");
}

#[test]
fn a_machine_bound_to_a_port_is_nobody_elsewhere() {
    let mut resources = bound();
    resources["machines"]["port7"]["macs"] = json!(["94:57:a5:00:00:77"]);
    let mut lab = Lab::new(&resources);
    let elsewhere = through_port("94:57:a5:00:00:77", &[0, 4, 0, 9], b"leaf-7");
    assert_eq!(lab.silence(&elsewhere), Why::OtherPort("port7".into()));
    assert_eq!(
        lab.silence(&discover("94:57:a5:00:00:77")),
        Why::OtherPort("port7".into())
    );
    let right = through_port("94:57:a5:00:00:77", &[0, 4, 0, 1], b"leaf-7");
    assert_eq!(lab.offer(&right), ip("10.0.0.77"));
}

#[test]
fn a_machine_bound_to_a_port_renews_past_the_relay() {
    let mut resources = bound();
    resources["machines"]["port7"]["macs"] = json!(["94:57:a5:00:00:77"]);
    let mut lab = Lab::new(&resources);
    let of = "94:57:a5:00:00:77";
    lab.lease(&through_port(of, &[0, 4, 0, 1], b"leaf-7"));
    lab.unicast();
    let renewal = renewing(of, ip("10.0.0.77"));
    let ack = lab.reply(&renewal).message;
    assert_eq!(ack.message_type(), Some(MessageType::Ack));
    // Not another one's lease, nor one that ran out.
    let borrowed = renewing(of, ip("10.0.0.78"));
    assert_eq!(lab.silence(&borrowed), Why::OtherPort("port7".into()));
    lab.later(7200);
    assert_eq!(lab.silence(&renewal), Why::OtherPort("port7".into()));
}

#[test]
fn a_client_identifier_tells_a_machine_whose_mac_is_new() {
    let mut lab = Lab::new(&bound());
    for (id, address) in [
        (&b"node-three"[..], "10.0.0.73"),
        (b"\0node-three", "10.0.0.73"),
        (&[0xff, 0, 0x11, 0x22], "10.0.0.74"),
    ] {
        let mut message = discover(STRANGER);
        message.options.put(code::CLIENT_ID, id.to_vec());
        assert_eq!(lab.offer(&message), ip(address), "{id:?}");
        // RFC 6842.
        let reply = lab.reply(&message);
        assert_eq!(reply.message.options.get(code::CLIENT_ID), Some(id));
    }
    // A MAC that is known counts more: one machine sends several identifiers.
    let mut message = discover(DECLARED);
    message.options.put(code::CLIENT_ID, b"node-three".to_vec());
    assert_eq!(lab.offer(&message), ip("10.0.0.50"));
}

#[test]
fn a_client_behind_a_relay_chooses_its_network() {
    let mut lab = Lab::new(&routed());
    let selection = |giaddr: &str, wanted: &str| {
        let mut message = relayed(STRANGER, giaddr);
        let wanted = [ip(wanted)];
        message
            .options
            .put_addresses(code::SUBNET_SELECTION, &wanted);
        message
    };
    let message = selection("10.1.0.1", "10.2.0.0");
    let reply = lab.reply(&message);
    assert_eq!(reply.message.yiaddr, ip("10.2.0.10"));
    assert_eq!(reply.to, Destination::Relay(ip("10.1.0.1")));
    // RFC 3011 §3: it goes back, so that the client knows that it was heeded.
    assert_eq!(
        reply.message.options.address(code::SUBNET_SELECTION),
        Some(ip("10.2.0.0"))
    );
    // The relay's own word comes first (RFC 3527 §3), and the client's is not
    // heeded then.
    let mut both = message.clone();
    both.options.put(code::RELAY_AGENT, vec![5, 4, 10, 1, 0, 0]);
    let reply = lab.reply(&both).message;
    assert_eq!(reply.yiaddr, ip("10.1.0.10"));
    assert!(!reply.options.has(code::SUBNET_SELECTION));
    assert_eq!(
        lab.silence(&selection("10.1.0.1", "10.9.0.0")),
        Why::UnknownSelection(ip("10.9.0.0"))
    );
}

#[test]
fn without_a_relay_a_client_chooses_among_the_networks_of_its_link() {
    let mut resources = usual();
    resources["subnets"]["second"] = json!({
        "cidr": "10.5.0.0/24", "interface": "lan0", "ranges": [{"from": "10.5.0.10", "to": "10.5.0.20"}] });
    resources["subnets"]["elsewhere"] = json!({
        "cidr": "10.6.0.0/24", "relay": "192.0.2.1", "ranges": [{"from": "10.6.0.10", "to": "10.6.0.20"}] });
    resources["subnets"]["lan"]["interface"] = json!("lan0");
    let mut lab = Lab::new(&resources);
    let mut message = discover(STRANGER);
    for (wanted, given, heeded) in [
        ("10.5.0.0", "10.5.0.10", true),
        ("10.6.0.0", "10.0.0.51", false),
    ] {
        message
            .options
            .put_addresses(code::SUBNET_SELECTION, &[ip(wanted)]);
        lab.leases = LeaseTable::default();
        let reply = lab.reply(&message).message;
        assert_eq!(reply.yiaddr, ip(given), "{wanted}");
        assert_eq!(reply.options.has(code::SUBNET_SELECTION), heeded);
    }
}

#[test]
fn relay_information_goes_back_whatever_is_in_it() {
    let mut lab = Lab::new(&routed());
    let full = vec![7; 255];
    for information in [
        &[][..],
        &[1],
        &[1, 9, b'x'],
        &[0xff, 0],
        &[5, 4, 0, 0, 0, 0],
        &[5, 3, 10, 2, 0],
        &full,
    ] {
        let mut message = relayed(STRANGER, "10.1.0.1");
        message.options.put(code::RELAY_AGENT, information.to_vec());
        let reply = lab.reply(&message);
        let sent = reply.message.encode(reply.limit);
        let back = Message::parse(&sent).unwrap();
        // RFC 3046 §2.2: byte for byte, and the last of the options (§2.1).
        assert_eq!(back.options.get(code::RELAY_AGENT), Some(information));
        assert_eq!(reply.message.yiaddr, ip("10.1.0.10"));
    }
    // A switch that snoops puts it in without being a relay: giaddr stays empty.
    let mut lab = Lab::usual();
    let mut message = discover(STRANGER);
    message.options.put(code::RELAY_AGENT, vec![1, 2, 0, 4]);
    message.set_broadcast();
    let reply = lab.reply(&message);
    assert_eq!(reply.to, Destination::Broadcast);
    assert_eq!(
        reply.message.options.get(code::RELAY_AGENT),
        Some([1, 2, 0, 4].as_slice())
    );
    // Through a relay the flag is the relay's business, and goes back with it.
    let mut lab = Lab::new(&routed());
    let mut message = relayed(STRANGER, "10.1.0.1");
    message.set_broadcast();
    let reply = lab.reply(&message);
    assert_eq!(reply.to, Destination::Relay(ip("10.1.0.1")));
    assert!(reply.message.wants_broadcast());
}
