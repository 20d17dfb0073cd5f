//! Random clients, lost packets, clocks and failing writes: an address never
//! has two holders who were both told so.

use proptest::prelude::*;

use super::super::super::leases::{LeaseLog, Leases};
use super::*;

#[derive(Clone, Copy, Debug)]
enum Act {
    Discover,
    Select,
    Reboot,
    Renew,
    Release,
    Decline,
}

#[derive(Clone, Debug)]
struct Step {
    client: u8,
    act: Act,
    address: u8,
    pass_secs: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        4 => Just(Act::Discover), 4 => Just(Act::Select), 1 => Just(Act::Reboot),
        2 => Just(Act::Renew), 1 => Just(Act::Release), 1 => Just(Act::Decline)
    ];
    (
        0u8..8,
        act,
        48u8..56,
        prop_oneof![5 => 0u64..5, 1 => 0u64..5000],
    )
        .prop_map(|(client, act, address, pass_secs)| Step {
            client,
            act,
            address,
            pass_secs,
        })
}

/// Clients 0 and 1 are the two declared machines.
fn mac_of(client: u8) -> String {
    match client {
        0 => DECLARED.into(),
        1 => DYNAMIC.into(),
        other => format!("02:00:00:00:00:{other:02x}"),
    }
}

fn message(lab: &Lab, step: &Step) -> Message {
    let of = mac_of(step.client);
    let address = Ipv4Addr::new(10, 0, 0, step.address);
    let own = lab
        .leases
        .of_mac(mac(&of))
        .next()
        .map_or(address, |lease| lease.address);
    match step.act {
        Act::Discover => discover(&of),
        Act::Select => selecting(&discover(&of), address, SERVER),
        Act::Reboot => init_reboot(&of, &address.to_string()),
        Act::Renew => renewing(&of, own),
        Act::Release => Message {
            ciaddr: own,
            ..Message::request(mac(&of), 1, MessageType::Release)
        },
        Act::Decline => {
            let mut message = Message::request(mac(&of), 1, MessageType::Decline);
            message
                .options
                .put_addresses(code::REQUESTED_ADDRESS, &[own]);
            message
        }
    }
}

proptest! {
    #[test]
    fn no_address_is_promised_twice(steps in proptest::collection::vec(step(), 1..120)) {
        let mut lab = Lab::usual();
        // What clients were told: address, who, until when.
        let mut told: BTreeMap<Ipv4Addr, (MacAddr, WallClock)> = BTreeMap::new();
        for step in steps {
            lab.later(step.pass_secs);
            lab.ingress.local = matches!(step.act, Act::Renew).then_some(SERVER);
            let message = message(&lab, &step);
            let client = mac(&mac_of(step.client));
            let outcome = lab.handle(&message);
            match outcome.decision {
                Decision::Reply(reply) if reply.message.message_type() == Some(MessageType::Ack) => {
                    let address = reply.message.yiaddr;
                    let secs = reply.message.options.number32(code::LEASE_TIME).unwrap();
                    if let Some((holder, until)) = told.get(&address) {
                        prop_assert!(*holder == client || *until <= lab.now, "{address} belongs to {holder}, given to {client}");
                    }
                    let until = lab.now.after(Duration::from_secs(secs.into()));
                    prop_assert!(outcome.changes.iter().any(|change| change.address == address), "not stored");
                    told.insert(address, (client, until));
                    prop_assert!(address != ip("10.0.0.50") || client == mac(DECLARED));
                }
                Decision::Silent(Why::Released(address) | Why::Declined(address)) => drop(told.remove(&address)),
                _ => {}
            }
        }
    }

    #[test]
    fn any_datagram_is_survived(
        edits in proptest::collection::vec((0usize..420, any::<u8>()), 0..30),
        kind in 1u8..9,
        arch in any::<u16>(),
    ) {
        let mut lab = Lab::usual();
        let mut message = pxe(STRANGER, arch);
        message.options.put(code::MESSAGE_TYPE, vec![kind]);
        message.options.put_addresses(code::REQUESTED_ADDRESS, &[ip("10.0.0.52")]);
        message.options.put(code::RELAY_AGENT, vec![5, 4, 10, 0, 0, 0]);
        let mut bytes = message.encode(548);
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Decision::Reply(reply) = lab.handle_bytes(&bytes).decision {
            let encoded = reply.message.encode(reply.limit);
            prop_assert!(encoded.len() >= 300 && encoded.len() <= 1472);
            prop_assert_eq!(Message::parse(&encoded).unwrap().xid, reply.message.xid);
        }
    }
}

proptest! {
    // Each case waits for the disk some dozen times.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_acknowledged_is_on_disk(steps in proptest::collection::vec(step(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut lab = Lab::usual();
        {
            let leases = Leases::open(Arc::new(LeaseLog::open(&path).unwrap())).unwrap();
            for step in steps {
                lab.later(step.pass_secs);
                let message = message(&lab, &step);
                let outcome = lab.handle(&message);
                leases.commit(&outcome.changes, Vec::new).unwrap();
            }
        }
        let again = Leases::open(Arc::new(LeaseLog::open(&path).unwrap())).unwrap();
        let expected: Vec<Lease> = lab.leases.iter().cloned().collect();
        prop_assert_eq!(again.list(), expected);
    }
}
