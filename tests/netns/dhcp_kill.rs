//! `kill -9` under load: no acknowledged lease is lost, and none is given twice.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use moonfarm_tests::needs;

use super::dhcp_host::{CLIENT, Host, SERVER, kind, receive};

/// Kills of each change, and of `cargo xtask test --all`.
const KILLS: u32 = 12;
const MANY_KILLS: u32 = 300;
/// How long each server lives under load.
const LIFE: Duration = Duration::from_millis(250);
/// Clients on the way at once.
const CLIENTS: u32 = 64;

/// What clients were told, in memory that no kill reaches.
#[derive(Default)]
struct Told {
    of_mac: BTreeMap<MacAddr, Ipv4Addr>,
    of_address: BTreeMap<Ipv4Addr, MacAddr>,
    next: u32,
}

impl Told {
    fn acknowledged(&mut self, mac: MacAddr, address: Ipv4Addr) {
        let holder = self.of_address.insert(address, mac);
        assert!(
            holder.is_none_or(|holder| holder == mac),
            "{address} was given to {holder:?} and to {mac}"
        );
        let before = self.of_mac.insert(mac, address);
        assert!(
            before.is_none_or(|before| before == address),
            "{mac} had {before:?} and got {address}"
        );
    }

    fn new_client(&mut self) -> MacAddr {
        self.next += 1;
        let [_, a, b, c] = self.next.to_be_bytes();
        MacAddr::new([2, 0x78, 0, a, b, c])
    }
}

fn relayed(mac: MacAddr, kind: MessageType) -> Message {
    let octets = mac.octets();
    let xid = u32::from_be_bytes([octets[2], octets[3], octets[4], octets[5]]);
    let mut message = Message::request(mac, xid, kind);
    message.giaddr = CLIENT;
    message
}

fn send(socket: &UdpSocket, message: &Message) {
    // While the server is dead the kernel may tell of it here.
    let _ = socket.send_to(&message.encode(1472), SocketAddrV4::new(SERVER, 67));
}

/// Keeps many clients on their way for a while; each OFFER is taken up, each ACK
/// noted.
fn load(socket: &UdpSocket, told: &mut Told, span: Duration) {
    for _ in 0..CLIENTS {
        send(socket, &relayed(told.new_client(), MessageType::Discover));
    }
    let began = Instant::now();
    while began.elapsed() < span {
        let Some((answer, _)) = receive(socket, Duration::from_millis(20)) else {
            send(socket, &relayed(told.new_client(), MessageType::Discover));
            continue;
        };
        take_up(socket, told, &answer);
    }
}

fn take_up(socket: &UdpSocket, told: &mut Told, answer: &Message) {
    let mac = answer.mac().unwrap();
    match kind(answer) {
        Some(MessageType::Offer) => {
            let mut request = relayed(mac, MessageType::Request);
            request
                .options
                .put_addresses(code::REQUESTED_ADDRESS, &[answer.yiaddr]);
            request.options.put_addresses(code::SERVER_ID, &[SERVER]);
            send(socket, &request);
        }
        Some(MessageType::Ack) => {
            told.acknowledged(mac, answer.yiaddr);
            send(socket, &relayed(told.new_client(), MessageType::Discover));
        }
        _ => {}
    }
}

#[test]
fn no_acknowledged_lease_is_lost_and_none_is_given_twice() {
    kill(KILLS);
}

#[test]
fn hundreds_of_kills() {
    if needs::is_long_run() {
        kill(MANY_KILLS);
    }
}

fn kill(times: u32) {
    let subnet = "  ranges: [{from: 10.79.0.1, to: 10.79.255.250}]\n  probe: false\n  \
                  strangers: {burst: 1000000, perMinute: 1000000}\n  relay: 10.78.0.9\n";
    let Some(mut host) = Host::new(subnet) else {
        return;
    };
    let manifest = host.path("manifests/farm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text = text
        .replace("cidr: 10.78.0.0/24", "cidr: 10.79.0.0/16")
        .replace("  gateway: 10.78.0.1\n", "");
    std::fs::write(&manifest, text).unwrap();
    let socket = host.udp(67);
    let mut told = Told::default();
    for _ in 0..times {
        host.start();
        load(&socket, &mut told, LIFE);
        // Dropping the process kills it with -9.
        drop(host.process.take());
        // What left before the kill counts.
        while let Some((answer, _)) = receive(&socket, Duration::from_millis(5)) {
            if kind(&answer) == Some(MessageType::Ack) {
                told.acknowledged(answer.mac().unwrap(), answer.yiaddr);
            }
        }
    }
    host.start();
    assert!(told.of_mac.len() > 100, "only {} leases", told.of_mac.len());
    // Each client comes back for its address (INIT-REBOOT) and gets it.
    for (mac, address) in &told.of_mac {
        let mut request = relayed(*mac, MessageType::Request);
        request
            .options
            .put_addresses(code::REQUESTED_ADDRESS, &[*address]);
        send(&socket, &request);
        let answer = loop {
            let (answer, _) = receive(&socket, Duration::from_secs(5)).unwrap_or_else(|| {
                panic!(
                    "{mac} asks for {address} and gets no answer\n{}",
                    host.log()
                )
            });
            if answer.mac() == Some(*mac) {
                break answer;
            }
        };
        assert_eq!(
            kind(&answer),
            Some(MessageType::Ack),
            "{mac} lost {address}"
        );
        assert_eq!(answer.yiaddr, *address);
    }
    println!(
        "{times} kills: {} acknowledged leases survived, none was given twice",
        told.of_mac.len()
    );
}
