//! Any datagrams, one after the other, to the whole DHCP decision: a flag octet
//! and a message each. Every answer must be one that a client can use.

#![no_main]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use boot_proto::dhcp::{Message, MessageType, Op, code};
use boot_proto::ids::MacAddr;
use boot_proto::manifest::{SourceFile, load};
use boot_proto::time::{Monotonic, WallClock};
use boot_server::dhcp::leases::LeaseTable;
use boot_server::dhcp::limits::Limits;
use boot_server::dhcp::responder::{Decision, Ingress, Memory, Outcome, Reply, Responder, Why};
use boot_server::inventory::Inventory;
use boot_server::manifests::Declared;
use ipnet::Ipv4Net;
use libfuzzer_sys::fuzz_target;
use moonfarm_fuzz::Messages;

/// A link with a small range, one behind relays, one with another DHCP server.
const FARM: &str = include_str!("../farm.yaml");
const MOST_MESSAGES: usize = 12;

static INVENTORY: LazyLock<Inventory> = LazyLock::new(|| {
    let file = SourceFile {
        name: "farm.yaml".into(),
        text: FARM.into(),
    };
    let loaded = load(&[file]);
    assert_eq!(loaded.mistakes, [], "the farm is right");
    let declared = Declared::new(Path::new("/"), loaded.resources);
    Inventory::new(Arc::new(declared), Vec::new())
});

#[derive(Default)]
struct Lab {
    leases: LeaseTable,
    limits: Limits,
    passed: Duration,
    /// What clients were told: who has an address until when.
    told: BTreeMap<Ipv4Addr, (MacAddr, WallClock)>,
}

fuzz_target!(|data: &[u8]| {
    let mut lab = Lab::default();
    let mut messages = Messages(data);
    for _ in 0..MOST_MESSAGES {
        let Some(flags) = messages.octet() else { break };
        let Some(datagram) = messages.next() else {
            break;
        };
        lab.hear(flags, datagram);
    }
});

impl Lab {
    fn hear(&mut self, flags: u8, datagram: &[u8]) {
        let secs = [0, 1, 4000, 200_000][usize::from(flags >> 4 & 3)];
        self.passed += Duration::from_secs(secs);
        let now = WallClock(1_700_000_000_000).after(self.passed);
        let ingress = ingress(flags, Monotonic(self.passed));
        let memory = Memory {
            leases: &mut self.leases,
            limits: &mut self.limits,
        };
        let responder = Responder { http_port: 8080 };
        let outcome = responder.handle(&INVENTORY, memory, now, &ingress, datagram);
        match &outcome.decision {
            Decision::Reply(reply) => {
                let request = Message::parse(datagram).expect("only a message is answered");
                check(&request, reply);
                self.note(&request, reply, &outcome, now);
            }
            Decision::Silent(Why::Released(address) | Why::Declined(address)) => {
                self.told.remove(address);
            }
            Decision::Silent(_) => {}
        }
    }

    /// An address is promised to one client at a time, and kept in the table.
    fn note(&mut self, request: &Message, reply: &Reply, outcome: &Outcome, now: WallClock) {
        let is_ack = reply.message.message_type() == Some(MessageType::Ack);
        let address = reply.message.yiaddr;
        if !is_ack || address.is_unspecified() {
            return;
        }
        let mac = request.mac().expect("only a MAC gets an address");
        let secs = reply.message.options.number32(code::LEASE_TIME);
        let until = now.after(Duration::from_secs(
            secs.expect("a lease has a time").into(),
        ));
        if let Some((holder, until)) = self.told.get(&address) {
            assert!(*holder == mac || *until <= now, "{address} is given twice");
        }
        assert!(
            outcome
                .changes
                .iter()
                .any(|change| change.address == address),
            "{address} is promised and not kept"
        );
        assert_eq!(self.leases.holder(address, now), Some(mac));
        self.told.insert(address, (mac, until));
    }
}

fn ingress(flags: u8, at: Monotonic) -> Ingress {
    let network = [
        "10.0.0.1/24",
        "10.9.0.1/24",
        "192.168.7.1/24",
        "10.1.0.1/24",
    ];
    let network: Ipv4Net = network[usize::from(flags & 3)].parse().expect("a network");
    let local = (flags & 4 != 0).then(|| network.addr());
    Ingress {
        interface: "lan0".into(),
        networks: [network].into(),
        own: [network.addr()].into(),
        local,
        source: SocketAddrV4::new(
            Ipv4Addr::new(10, 1, 0, 9),
            if flags & 64 != 0 { 67 } else { 68 },
        ),
        port: if flags & 8 != 0 { 4011 } else { 67 },
        at,
    }
}

/// What every answer has to be, whatever was asked.
fn check(request: &Message, reply: &Reply) {
    assert!((300..=1472).contains(&reply.limit), "limit {}", reply.limit);
    let bytes = reply.message.encode(reply.limit);
    assert!(
        (300..=reply.limit).contains(&bytes.len()),
        "{} bytes",
        bytes.len()
    );
    let read = Message::parse(&bytes).expect("an answer is a message");
    assert_eq!(read.op, Op::Reply);
    assert_eq!(
        (read.xid, read.htype, read.hlen, read.chaddr, read.giaddr),
        (
            request.xid,
            request.htype,
            request.hlen,
            request.chaddr,
            request.giaddr
        )
    );
    if request.message_type().is_none() {
        // Plain BOOTP (RFC 951, RFC 1534) is answered as such.
        assert_eq!(read.message_type(), None);
        return;
    }
    let kind = read.message_type().expect("an answer has a type");
    assert!(matches!(
        kind,
        MessageType::Offer | MessageType::Ack | MessageType::Nak
    ));
    assert!(read.options.has(code::SERVER_ID), "no server identifier");
    if kind == MessageType::Nak {
        assert!(read.yiaddr.is_unspecified() && reply.refusal.is_some());
    }
    // RFC 3046 §2.2: what the relay added comes back to it as it was.
    if let Some(agent) = read.options.get(code::RELAY_AGENT) {
        assert_eq!(Some(agent), request.options.get(code::RELAY_AGENT));
    }
}
