//! Packets of real machines, read in place, each with what RFC 2131 says of it.
//!
//! The captures lie in the folder that `MOONFARM_HARDWARE` names, else in
//! `shared/hardware` beside the checkout; without them these tests say so and
//! pass.

use std::path::PathBuf;

use super::*;

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hardware");
    let folder = std::env::var_os("MOONFARM_HARDWARE")
        .map_or_else(beside, PathBuf::from)
        .join("network-boot");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "SKIPPED: there are no captures in {} (set MOONFARM_HARDWARE)",
        folder.display()
    );
    None
}

/// A UDP datagram out of a capture.
struct Datagram {
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: Vec<u8>,
}

fn word(bytes: &[u8], at: usize, is_little: bool) -> usize {
    let word: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
    (if is_little {
        u32::from_le_bytes(word)
    } else {
        u32::from_be_bytes(word)
    }) as usize
}

/// Frames of a pcap or pcapng file.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    if file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        let is_little = file[8] == 0x4d;
        let mut at = 0;
        while at + 12 <= file.len() {
            if word(file, at, is_little) == 6 {
                let length = word(file, at + 20, is_little);
                frames.push(&file[at + 28..at + 28 + length]);
            }
            at += word(file, at + 4, is_little);
        }
        return frames;
    }
    let is_little = file[0] == 0xd4 || file[0] == 0x4d;
    let mut at = 24;
    while at + 16 <= file.len() {
        let length = word(file, at + 8, is_little);
        frames.push(&file[at + 16..at + 16 + length]);
        at += 16 + length;
    }
    frames
}

/// DHCP datagrams of a capture file.
fn datagrams(name: &str) -> Option<Vec<Datagram>> {
    udp(name, |ports| {
        ports.iter().any(|port| matches!(port, 67 | 68))
    })
}

/// UDP datagrams of a capture file whose ports, source and destination, are wanted.
fn udp(name: &str, is_wanted: impl Fn([u16; 2]) -> bool) -> Option<Vec<Datagram>> {
    let file = std::fs::read(folder()?.join("pcap").join(name)).unwrap();
    let udp = frames(&file).into_iter().filter_map(|frame| {
        let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        let header = usize::from(ip[0] & 15) * 4;
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let number = |at: usize| u16::from_be_bytes([ip[header + at], ip[header + at + 1]]);
        let is_it = ip[9] == 17 && is_wanted([number(0), number(2)]);
        is_it.then(|| Datagram {
            from: SocketAddrV4::new(address(12), number(0)),
            to: SocketAddrV4::new(address(16), number(2)),
            payload: ip[header + 8..header + usize::from(number(4))].to_vec(),
        })
    });
    Some(udp.collect())
}

/// A network of the kind the capture was made in, with a pool for all.
fn network(server: &str, cidr: &str, from: &str, to: &str) -> Lab {
    let mut lab = Lab::new(&json!({
        "subnets": { "net": { "cidr": cidr, "ranges": [{"from": from, "to": to}], "leaseTime": "1h" } },
        "pools": { "all": { "image": "debian", "catchAll": true } },
    }));
    lab.ingress = ingress("net0", &[server]);
    lab
}

/// What is expected of us for one packet, in a line.
fn told(lab: &mut Lab, datagram: &Datagram) -> String {
    let own = lab.ingress.own.clone();
    lab.ingress.local = own.contains(datagram.to.ip()).then_some(*datagram.to.ip());
    lab.ingress.source = datagram.from;
    match lab.handle_bytes(&datagram.payload).decision {
        Decision::Silent(why) => format!("silent: {why}"),
        Decision::Reply(reply) => {
            let message = &reply.message;
            let sent = message.encode(reply.limit);
            assert!(sent.len() >= 300 && Message::parse(&sent).is_ok());
            let file = String::from_utf8_lossy(&message.file).into_owned();
            let kind = message.message_type().unwrap();
            let to = match reply.to {
                Destination::Relay(giaddr) => format!("relay {giaddr}"),
                Destination::Client(address) => address.to_string(),
                Destination::Hardware(mac, _) => mac.to_string(),
                Destination::Broadcast => "all".into(),
            };
            match reply.refusal {
                Some(refusal) => format!("{kind:?} to {to}: {refusal}"),
                None => format!("{kind:?} {} to {to} {file}", message.yiaddr)
                    .trim_end()
                    .to_owned(),
            }
        }
    }
}

fn check(name: &str, lab: &mut Lab, expected: &[&str]) {
    let Some(datagrams) = datagrams(name) else {
        return;
    };
    let found: Vec<String> = datagrams
        .iter()
        .map(|datagram| told(lab, datagram))
        .collect();
    assert_eq!(found, expected, "{name}");
}

const HEARD: &str = "silent: a server's reply, not a client's request";

#[test]
fn campus_network_with_every_message_type() {
    // The client asks for an address of another network, is told another
    // server's address, comes back with it, and declines and releases without
    // saying what.
    let mut lab = network(
        "128.2.6.152/24",
        "128.2.6.0/24",
        "128.2.6.90",
        "128.2.6.200",
    );
    check(
        "campus-mixed-with-nak.pcap",
        &mut lab,
        &[
            "Offer 128.2.6.90 to 90:b1:1c:99:49:29",
            HEARD,
            "Nak to all: 192.168.211.194 is not on this network",
            HEARD,
            // INIT-REBOOT with an address this server never gave.
            "silent: no lease of this client is known here; another server may have given it",
            HEARD,
            "silent: neither a server identifier, nor a requested address, nor ciaddr says what is wanted",
            "silent: neither a server identifier, nor a requested address, nor ciaddr says what is wanted",
            "silent: neither a server identifier, nor a requested address, nor ciaddr says what is wanted",
        ],
    );
}

#[test]
fn a_cisco_router_renews() {
    let mut lab = network(
        "192.168.0.1/24",
        "192.168.0.0/24",
        "192.168.0.2",
        "192.168.0.9",
    );
    check(
        "client-id-type0-ascii.pcap",
        &mut lab,
        &["Ack 192.168.0.3 to 192.168.0.3:68"],
    );
    if let Some(lease) = lab.leases.get(ip("192.168.0.3")) {
        assert_eq!(
            lease.expires,
            Some(START.after(Duration::from_secs(60))),
            "it asked for a minute"
        );
    }
    // The same packet, heard by a server it was not sent to.
    let mut lab = network(
        "192.168.0.2/24",
        "192.168.0.0/24",
        "192.168.0.3",
        "192.168.0.9",
    );
    check(
        "client-id-type0-ascii.pcap",
        &mut lab,
        &["silent: no lease of this client is known here; another server may have given it"],
    );
}

#[test]
fn four_messages_of_common_clients() {
    let mut lab = network(
        "192.168.1.5/24",
        "192.168.1.0/24",
        "192.168.1.10",
        "192.168.1.20",
    );
    check(
        "dora.pcapng",
        &mut lab,
        &[
            "Offer 192.168.1.10 to 00:0c:29:59:fd:21",
            HEARD,
            "Ack 192.168.1.10 to 00:0c:29:59:fd:21",
            HEARD,
        ],
    );
    let mut lab = network(
        "192.168.1.1/24",
        "192.168.1.0/24",
        "192.168.1.4",
        "192.168.1.20",
    );
    check(
        "option150-rfc5859.pcap",
        &mut lab,
        &[
            "Offer 192.168.1.4 to 00:0c:29:1f:74:06",
            HEARD,
            "Ack 192.168.1.4 to 00:0c:29:1f:74:06",
            HEARD,
        ],
    );
    let mut lab = network(
        "192.168.1.1/24",
        "192.168.1.0/24",
        "192.168.1.3",
        "192.168.1.20",
    );
    // User classes of RFC 3004, none of them iPXE's; asks for .4 and gets it.
    check(
        "user-class-rfc3004.pcap",
        &mut lab,
        &[
            "Offer 192.168.1.4 to 00:0c:29:1f:74:06",
            HEARD,
            "Ack 192.168.1.4 to 00:0c:29:1f:74:06",
            HEARD,
        ],
    );
}

#[test]
fn doubled_requests_and_overloaded_replies() {
    let mut lab = network(
        "10.100.0.2/24",
        "10.100.0.0/24",
        "10.100.0.50",
        "10.100.0.60",
    );
    let offer = "Offer 10.100.0.50 to 92:dd:a4:8d:5f:de";
    let ack = "Ack 10.100.0.50 to 92:dd:a4:8d:5f:de";
    check(
        "option52-overload.pcap",
        &mut lab,
        &[offer, offer, HEARD, HEARD, ack, ack, HEARD, HEARD],
    );
    let Some(datagrams) = datagrams("option52-overload.pcap") else {
        return;
    };
    // The server of the capture put options into `sname`.
    let message = Message::parse(&datagrams[3].payload).unwrap();
    assert_eq!(message.options.first(code::OVERLOAD), Some(2));
    assert!(message.sname.is_empty());
    let plain = Message::parse(&datagrams[2].payload).unwrap();
    let codes = |message: &Message| {
        message
            .options
            .iter()
            .map(|(code, _)| code)
            .filter(|code| *code != code::OVERLOAD)
            .collect::<Vec<_>>()
    };
    println!(
        "overloaded: {:?}, plain: {:?}",
        codes(&message),
        codes(&plain)
    );
    assert!(codes(&message).len() > 3);
}

#[test]
fn replies_of_other_servers() {
    let mut lab = network("10.10.0.1/16", "10.10.0.0/16", "10.10.0.50", "10.10.0.60");
    check("option82-ack.pcap", &mut lab, &[HEARD]);
}

#[test]
fn a_pxe_rom_beside_a_proxy_dhcp_and_a_relay_with_a_client_that_comes_back() {
    let mut lab = network(
        "192.168.16.1/24",
        "192.168.16.0/24",
        "192.168.16.12",
        "192.168.16.20",
    );
    check(
        "pxe-bios-discover-proxydhcp-pixiecore.pcap",
        &mut lab,
        &[
            "Offer 192.168.16.12 to all undionly.kpxe",
            HEARD,
            HEARD,
            // INIT-REBOOT through a relay of a network that nobody declared.
            "silent: no Subnet is declared for relay 192.168.40.1",
        ],
    );
    let mut lab = network(
        "192.168.40.196/24",
        "192.168.40.0/24",
        "192.168.40.2",
        "192.168.40.20",
    );
    check(
        "pxe-bios-discover-proxydhcp-pixiecore.pcap",
        &mut lab,
        &[
            "Offer 192.168.40.2 to all undionly.kpxe",
            HEARD,
            HEARD,
            "silent: no lease of this client is known here; another server may have given it",
        ],
    );
}

#[test]
fn a_relayed_client_gets_its_lease_through_the_relay() {
    let mut lab = network(
        "12.1.1.1/24",
        "172.16.10.0/24",
        "172.16.10.252",
        "172.16.10.253",
    );
    check(
        "relay-4-packets-a.pcap",
        &mut lab,
        &[
            "Offer 172.16.10.252 to relay 172.16.10.1",
            HEARD,
            "Ack 172.16.10.252 to relay 172.16.10.1",
            HEARD,
        ],
    );
}

#[test]
fn payloads_kept_as_hex() {
    let Some(folder) = folder() else { return };
    for (name, server, cidr, expected) in [
        // Says arch 0, and is no PC: an address, and no x86 loader.
        (
            "pxe-bios-raspberrypi-discover",
            "10.0.0.1/24",
            "10.0.0.0/24",
            "Offer 10.0.0.10 to b8:27:eb:9b:65:d4",
        ),
        (
            "uefi-x64-httpboot-discover",
            "10.0.0.1/24",
            "10.0.0.0/24",
            "Offer 10.0.0.10 to all http://10.0.0.1:8080/loaders/snponly.efi",
        ),
        // hops 1, giaddr set, a PRL and a hardware address as perfdhcp sends them.
        (
            "kea-perfdhcp-discover-example",
            "10.0.0.1/24",
            "172.16.1.0/24",
            "Offer 172.16.1.10 to relay 172.16.1.2",
        ),
    ] {
        let text = std::fs::read_to_string(folder.join("hex").join(format!("{name}.hex"))).unwrap();
        let payload = hex::decode(text.trim()).unwrap();
        let prefix = cidr.rsplit_once('.').unwrap().0;
        let mut lab = network(
            server,
            cidr,
            &format!("{prefix}.10"),
            &format!("{prefix}.20"),
        );
        let datagram = Datagram {
            from: "0.0.0.0:68".parse().unwrap(),
            to: "255.255.255.255:67".parse().unwrap(),
            payload,
        };
        assert_eq!(told(&mut lab, &datagram), expected, "{name}");
    }
}

/// Captures of TFTP, which is answered elsewhere.
const TFTP: [&str; 2] = ["tftp-rrq-transfer.pcap", "tftp.pcap"];
/// Packets that only a dissection was kept of.
const DISSECTED: [&str; 2] = [
    "ipxe-discover-v86-tcpdump.txt",
    "raspberrypi-pxe-relay-wireshark.txt",
];

#[test]
fn every_capture_has_its_expectation() {
    let Some(folder) = folder() else { return };
    let source = include_str!("captures.rs");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let below = std::fs::read_dir(path).unwrap();
            files.extend(below.map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let stem = name.split('.').next().unwrap();
        // A text beside a capture says what is in it.
        let beside = ["pcap", "pcapng", "hex"]
            .iter()
            .any(|kind| path.with_file_name(format!("{stem}.{kind}")).exists());
        let is_expected = [name, stem]
            .iter()
            .any(|word| source.contains(&format!("\"{word}\"")));
        assert!(
            is_expected || (beside && name.ends_with(".txt")),
            "{} is a capture that no test here says anything of",
            path.display()
        );
    }
    assert!(
        TFTP.iter()
            .all(|name| folder.join("pcap").join(name).exists())
    );
}

/// A line of a dissection behind some words.
fn dissected(name: &str, words: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder()?.join("text").join(name)).unwrap();
    let line = text.lines().find_map(|line| line.split_once(words));
    Some(line.expect(words).1.trim().to_owned())
}

#[test]
fn an_ipxe_of_which_a_dissection_was_kept() {
    let [name, _] = DISSECTED;
    let Some(features) = dissected(name, "Unknown (175), length 51: ") else {
        return;
    };
    let class = dissected(name, "Vendor-Class (60), length 32: ").unwrap();
    let features = features.split('.').map(|byte| byte.parse().unwrap());
    let mut message = pxe("00:22:15:70:ef:c0", 0);
    let class = class.trim_matches('"').as_bytes().to_vec();
    message.options.put(code::VENDOR_CLASS, class);
    message.options.put(code::USER_CLASS, b"iPXE".to_vec());
    message.options.put(code::IPXE, features.collect());
    let mut lab = network("10.0.0.1/24", "10.0.0.0/24", "10.0.0.10", "10.0.0.20");
    // It says that it has HTTP (sub-option 19).
    let reply = lab.reply(&message).message;
    assert_eq!(reply.file, b"http://10.0.0.1:8080/boot.ipxe");
}

#[test]
fn a_raspberry_behind_a_relay_of_which_a_dissection_was_kept() {
    let [_, name] = DISSECTED;
    let Some(uuid) = dissected(name, "Client Identifier (UUID): ") else {
        return;
    };
    let class = dissected(name, "Vendor class identifier: ").unwrap();
    let mut message = pxe("b8:27:eb:43:72:ee", 0);
    message.options.put(code::VENDOR_CLASS, class.into_bytes());
    let uuid = hex::decode(uuid.replace('-', "")).unwrap();
    message
        .options
        .put(code::CLIENT_UUID, [&[0][..], &uuid].concat());
    message.giaddr = ip("10.0.0.2");
    let mut lab = network("10.0.0.1/24", "10.0.0.0/24", "10.0.0.10", "10.0.0.20");
    // It says arch 0, and is no PC: an address, and nothing that it cannot run.
    let reply = lab.reply(&message);
    assert_eq!(reply.to, Destination::Relay(ip("10.0.0.2")));
    assert_eq!(reply.message.yiaddr, ip("10.0.0.10"));
    assert!(reply.message.file.is_empty());
}

/// Each transfer goes on as the captured one did, block by block.
#[test]
fn tftp_transfers_go_as_they_went() {
    use crate::tftp::transfer::{Output, Transfer};
    use boot_proto::tftp::FromClient;

    for name in TFTP {
        let Some(datagrams) = udp(name, |_| true) else {
            return;
        };
        let (request, rest) = datagrams.split_first().unwrap();
        let Ok(FromClient::Read(request)) = FromClient::parse(&request.payload) else {
            panic!("{name}: no request");
        };
        assert_eq!(request.mode, boot_proto::tftp::Mode::Octet);
        let data = |datagram: &Datagram| datagram.payload.starts_with(&[0, 3]);
        let blocks: Vec<_> = rest.iter().filter(|datagram| data(datagram)).collect();
        let size = blocks
            .iter()
            .map(|block| block.payload.len() as u64 - 4)
            .sum();
        let mut transfer = Transfer::new(size, &request, 1500);
        let now = Monotonic(Duration::ZERO);
        for datagram in rest {
            if !data(datagram) {
                transfer.handle(&datagram.payload);
                continue;
            }
            let Output::SendBlocks { first, count: 1 } = transfer.poll(now) else {
                panic!("{name}: no block is due");
            };
            let (_, length) = transfer.block(first);
            let number = u16::try_from(first).unwrap().to_be_bytes();
            assert_eq!(datagram.payload[2..4], number, "{name}");
            assert_eq!(datagram.payload.len(), length + 4, "{name}: block {first}");
        }
        let Output::Done(outcome) = transfer.poll(now) else {
            panic!("{name}: not over");
        };
        assert_eq!((outcome.bytes, outcome.error), (size, None), "{name}");
    }
}
