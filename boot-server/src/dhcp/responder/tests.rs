//! The responder on virtual time: every state of a client, every way in.

mod boot;
mod captures;
mod clients;
mod links;
mod policy;
mod property;
mod states;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use boot_proto::resources::{Metadata, Object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::leases::{Lease, LeaseKind};
use super::*;
use crate::manifests::Declared;

const START: WallClock = WallClock(1_700_000_000_000);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The NIC of a declared machine with 10.0.0.50 reserved, and its second one.
const DECLARED: &str = "94:57:a5:00:00:01";
const SECOND_NIC: &str = "94:57:a5:00:00:02";
/// A declared machine without a reservation.
const DYNAMIC: &str = "94:57:a5:00:00:03";
/// Nobody declared it.
const STRANGER: &str = "02:00:00:00:00:09";

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn objects<S: DeserializeOwned>(resources: &Value, kind: &str) -> BTreeMap<String, Object<S>> {
    let Some(map) = resources.get(kind).and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    map.iter()
        .map(|(name, spec)| {
            let metadata = Metadata {
                name: name.clone(),
                ..Metadata::default()
            };
            (
                name.clone(),
                Object {
                    metadata,
                    spec: serde_json::from_value(spec.clone()).unwrap(),
                },
            )
        })
        .collect()
}

/// A farm in memory with its server.
struct Lab {
    inventory: Inventory,
    leases: LeaseTable,
    limits: Limits,
    now: WallClock,
    ingress: Ingress,
}

/// One subnet, two declared machines, a pool for all others.
fn usual() -> Value {
    json!({
        "subnets": { "lan": {
            "cidr": "10.0.0.0/24", "gateway": "10.0.0.254", "dns": ["10.0.0.253"],
            "search": ["farm.example"], "leaseTime": "1h",
            "ranges": [{"from": "10.0.0.50", "to": "10.0.0.53"}],
        }},
        "machines": {
            "n1": { "macs": [DECLARED, SECOND_NIC], "address": "10.0.0.50", "pool": "all" },
            "n2": { "macs": [DYNAMIC], "pool": "all" },
        },
        "pools": { "all": { "image": "debian", "catchAll": true } },
    })
}

impl Lab {
    fn new(resources: &Value) -> Self {
        let declared = Declared {
            machines: objects(resources, "machines"),
            pools: objects(resources, "pools"),
            profiles: objects(resources, "profiles"),
            subnets: objects(resources, "subnets"),
            matchbox_groups: objects(resources, "matchboxGroups"),
            matchbox_profiles: objects(resources, "matchboxProfiles"),
            ..Declared::new(Path::new("/"), Vec::new())
        };
        Self {
            inventory: Inventory::new(Arc::new(declared), Vec::new()),
            leases: LeaseTable::default(),
            limits: Limits::default(),
            now: START,
            ingress: ingress("lan0", &["10.0.0.1/24"]),
        }
    }

    fn usual() -> Self {
        Self::new(&usual())
    }

    fn handle(&mut self, message: &Message) -> Outcome {
        self.handle_bytes(&message.encode(1472))
    }

    fn handle_bytes(&mut self, datagram: &[u8]) -> Outcome {
        let responder = Responder { http_port: 8080 };
        responder.handle(
            &self.inventory,
            Memory {
                leases: &mut self.leases,
                limits: &mut self.limits,
            },
            self.now,
            &self.ingress,
            datagram,
        )
    }

    /// The reply to a message that must have one.
    fn reply(&mut self, message: &Message) -> Reply {
        match self.handle(message).decision {
            Decision::Reply(reply) => *reply,
            Decision::Silent(why) => panic!("silent: {why}"),
        }
    }

    fn silence(&mut self, message: &Message) -> Why {
        match self.handle(message).decision {
            Decision::Silent(why) => why,
            Decision::Reply(reply) => panic!("{reply:?}"),
        }
    }

    /// The address an OFFER gives.
    fn offer(&mut self, message: &Message) -> Ipv4Addr {
        let reply = self.reply(message);
        assert_eq!(reply.message.message_type(), Some(MessageType::Offer));
        reply.message.yiaddr
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    fn lease(&mut self, discover: &Message) -> Ipv4Addr {
        let offer = self.reply(discover);
        let request = selecting(discover, offer.message.yiaddr, SERVER);
        let ack = self.reply(&request);
        assert_eq!(
            ack.message.message_type(),
            Some(MessageType::Ack),
            "{ack:?}"
        );
        assert_eq!(ack.message.yiaddr, offer.message.yiaddr);
        ack.message.yiaddr
    }

    fn refusal(&mut self, message: &Message) -> Refusal {
        let reply = self.reply(message);
        assert_eq!(
            reply.message.message_type(),
            Some(MessageType::Nak),
            "{reply:?}"
        );
        assert_eq!(reply.message.yiaddr, Ipv4Addr::UNSPECIFIED);
        assert!(!reply.message.options.has(code::LEASE_TIME));
        reply.refusal.unwrap()
    }

    fn later(&mut self, secs: u64) {
        self.now = self.now.after(Duration::from_secs(secs));
        self.ingress.at = self.ingress.at.after(Duration::from_secs(secs));
    }

    /// The next message comes by unicast to the server, as renewals do.
    fn unicast(&mut self) {
        self.ingress.local = Some(SERVER);
    }

    fn broadcast(&mut self) {
        self.ingress.local = None;
    }
}

fn ingress(interface: &str, networks: &[&str]) -> Ingress {
    let networks: Vec<Ipv4Net> = networks
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    Ingress {
        interface: interface.into(),
        own: networks.iter().map(Ipv4Net::addr).collect(),
        networks: networks.into(),
        local: None,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        port: 67,
        at: Monotonic(Duration::ZERO),
    }
}

fn discover(of: &str) -> Message {
    Message::request(mac(of), 7, MessageType::Discover)
}

/// A PXE ROM's DISCOVER.
fn pxe(of: &str, arch: u16) -> Message {
    let mut message = discover(of);
    let class = format!("PXEClient:Arch:{arch:05}:UNDI:003001");
    message.options.put(code::VENDOR_CLASS, class.into_bytes());
    message
        .options
        .put(code::CLIENT_ARCH, arch.to_be_bytes().to_vec());
    message
}

fn selecting(discover: &Message, address: Ipv4Addr, server: Ipv4Addr) -> Message {
    let mut message = discover.clone();
    message
        .options
        .put(code::MESSAGE_TYPE, vec![MessageType::Request.into()]);
    message
        .options
        .put_addresses(code::REQUESTED_ADDRESS, &[address]);
    message.options.put_addresses(code::SERVER_ID, &[server]);
    message
}

fn init_reboot(of: &str, address: &str) -> Message {
    let mut message = Message::request(mac(of), 8, MessageType::Request);
    message
        .options
        .put_addresses(code::REQUESTED_ADDRESS, &[ip(address)]);
    message
}

fn renewing(of: &str, address: Ipv4Addr) -> Message {
    let mut message = Message::request(mac(of), 9, MessageType::Request);
    message.ciaddr = address;
    message
}
