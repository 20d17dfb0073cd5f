//! Two boot-servers on one network with one API server: a flood of new clients,
//! one server killed, the API server stopped, a start without it. No address is
//! given twice, and who is known boots on.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::{Namespace, Process, ProcessSpec};
use moonfarm_tests::wait::until;

use crate::dhcp_host::{kind, receive, udp_within};
use crate::known_machine::{ADDRESS, DECLARED, KnownMachine};
use crate::kubernetes_agent::Lab;

pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The clients' relay, which asks both servers.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const FARM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: farm}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: newcomers, namespace: farm}
spec: {image: none, catchAll: true}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan, namespace: farm}
spec:
  cidr: 10.79.0.0/16
  relay: 10.77.0.9
  probe: false
  strangers: {burst: 100000, perMinute: 100000}
  # Little room: both servers often choose the same address.
  ranges: [{from: 10.79.0.1, to: 10.79.1.250}]
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: reserved, namespace: farm}
spec: {cidr: 10.77.0.16/28, probe: false}
"#;
/// Clients on the way at once.
const AT_ONCE: usize = 32;
/// How long a client waits before it begins anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Clients behind the relay, and what they were told.
pub struct Clients {
    socket: UdpSocket,
    of_mac: BTreeMap<MacAddr, Ipv4Addr>,
    of_address: BTreeMap<Ipv4Addr, MacAddr>,
    next: u32,
    refused: usize,
}

impl Clients {
    pub fn new(wire: &Namespace) -> Self {
        let address = format!("{RELAY}/24");
        wire.ip(&["address", "replace", &address, "dev", "eth0"])
            .unwrap();
        Self {
            socket: udp_within(wire, 67),
            of_mac: BTreeMap::new(),
            of_address: BTreeMap::new(),
            next: 0,
            refused: 0,
        }
    }

    fn message(mac: MacAddr, kind: MessageType) -> Message {
        let octets = mac.octets();
        let xid = u32::from_be_bytes([octets[2], octets[3], octets[4], octets[5]]);
        let mut message = Message::request(mac, xid, kind);
        message.giaddr = RELAY;
        message
    }

    fn send(&self, message: &Message) {
        for server in [FIRST, SECOND] {
            // Where one is dead the kernel may tell of it here.
            let _ = self
                .socket
                .send_to(&message.encode(1472), SocketAddrV4::new(server, 67));
        }
    }

    fn acknowledged(&mut self, mac: MacAddr, address: Ipv4Addr) {
        let holder = self.of_address.insert(address, mac);
        assert!(
            holder.is_none_or(|holder| holder == mac),
            "{address} was given to {holder:?} and to {mac}"
        );
        let before = self.of_mac.insert(mac, address);
        assert!(before.is_none_or(|before| before == address));
    }

    /// Sends `count` new clients. Says how many were served within the time.
    pub fn flood(&mut self, count: usize, limit: Duration) -> usize {
        let served = self.of_mac.len();
        let mut waiting: VecDeque<MacAddr> = (0..count).map(|_| self.new_client()).collect();
        // Since when it waits, and whether it has taken up an offer.
        let mut under_way: BTreeMap<MacAddr, (Instant, bool)> = BTreeMap::new();
        let began = Instant::now();
        while began.elapsed() < limit && !(waiting.is_empty() && under_way.is_empty()) {
            let late = |since: &Instant| since.elapsed() > PATIENCE;
            let again: Vec<MacAddr> = under_way
                .iter()
                .filter(|(_, (since, _))| late(since))
                .map(|(mac, _)| *mac)
                .collect();
            for mac in again {
                under_way.remove(&mac);
                waiting.push_back(mac);
            }
            while under_way.len() < AT_ONCE
                && let Some(mac) = waiting.pop_front()
            {
                self.send(&Self::message(mac, MessageType::Discover));
                under_way.insert(mac, (Instant::now(), false));
            }
            let Some((answer, _)) = receive(&self.socket, Duration::from_millis(20)) else {
                continue;
            };
            self.take(&answer, &mut under_way, &mut waiting);
        }
        self.of_mac.len() - served
    }

    fn take(
        &mut self,
        answer: &Message,
        under_way: &mut BTreeMap<MacAddr, (Instant, bool)>,
        waiting: &mut VecDeque<MacAddr>,
    ) {
        let mac = answer.mac().unwrap();
        match kind(answer) {
            Some(MessageType::Offer) => {
                let Some((_, is_chosen @ false)) = under_way.get_mut(&mac) else {
                    return;
                };
                *is_chosen = true;
                let server = answer.options.address(code::SERVER_ID).unwrap();
                let mut request = Self::message(mac, MessageType::Request);
                let options = &mut request.options;
                options.put_addresses(code::REQUESTED_ADDRESS, &[answer.yiaddr]);
                options.put_addresses(code::SERVER_ID, &[server]);
                self.send(&request);
            }
            Some(MessageType::Ack) => {
                self.acknowledged(mac, answer.yiaddr);
                under_way.remove(&mac);
            }
            Some(MessageType::Nak) if under_way.remove(&mac).is_some() => {
                self.refused += 1;
                waiting.push_back(mac);
            }
            _ => {}
        }
    }

    fn new_client(&mut self) -> MacAddr {
        self.next += 1;
        let [_, a, b, c] = self.next.to_be_bytes();
        MacAddr::new([2, 0x79, 0, a, b, c])
    }

    /// The first `count` clients come back for their addresses. Says how many got
    /// them.
    pub fn come_back(&mut self, count: usize) -> usize {
        let known: Vec<_> = self.of_mac.clone().into_iter().take(count).collect();
        let mut served = 0;
        for (mac, address) in known {
            let mut request = Self::message(mac, MessageType::Request);
            let options = &mut request.options;
            options.put_addresses(code::REQUESTED_ADDRESS, &[address]);
            self.send(&request);
            let is_its = |answer: &Message| {
                answer.mac() == Some(mac)
                    && kind(answer) == Some(MessageType::Ack)
                    && answer.yiaddr == address
            };
            let until = Instant::now() + Duration::from_secs(1);
            while Instant::now() < until {
                let answer = receive(&self.socket, Duration::from_millis(100));
                if answer.is_some_and(|(answer, _)| is_its(&answer)) {
                    served += 1;
                    break;
                }
            }
        }
        served
    }
}

pub fn start(lab: &Lab, network: &Namespace, name: &str) -> Process {
    let state = lab.path(name).display().to_string();
    let kubeconfig = lab.plane.kubeconfig().display().to_string();
    let arguments = [
        "serve",
        "--no-tftp",
        "--kubernetes",
        "--namespace",
        "farm",
        "--server-name",
        name,
        "--kubeconfig",
        &kubeconfig,
        "--state",
        &state,
    ];
    let spec = ProcessSpec::new(name, lab.programs.join("boot-server"), &lab.path(""))
        .args(arguments)
        .within(network.name());
    let process = spec
        .spawn()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let answers = until(Duration::from_secs(30), || {
        let mut curl = network.command("curl");
        curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
        curl.status().ok()?.success().then_some(())
    });
    assert!(answers.is_some(), "no answer: {}", process.log_tail(20));
    process
}

#[test]
fn two_servers_give_no_address_twice_and_go_on_without_each_other() {
    let Some(lab) = Lab::new() else { return };
    lab.apply("farm.yaml", &format!("{FARM}{DECLARED}"));
    let other = Namespace::create().unwrap();
    lab.network.add_host(&other, "second", "br0").unwrap();
    other
        .ip(&["address", "add", "10.77.0.2/24", "dev", "eth0"])
        .unwrap();
    let mut clients = Clients::new(&lab.wire);
    let first = start(&lab, &lab.network, "first");
    let second = start(&lab, &other, "second");
    let machine = KnownMachine::new(&lab, FIRST, &lab.path("first"), ADDRESS);
    boots(&machine, &first);

    let served = clients.flood(250, Duration::from_secs(30));
    let (refused, claims) = (clients.refused, claims(&lab));
    println!(
        "{served} of 250 new clients served by two, {refused} asked for an address that was gone"
    );
    assert_eq!(
        served,
        250,
        "{}\n{}",
        first.log_tail(20),
        second.log_tail(20)
    );
    assert!(claims >= served, "{claims} claims for {served} leases");

    drop(second);
    let served = clients.flood(60, Duration::from_secs(20));
    println!("{served} of 60 served with one killed");
    assert_eq!(served, 60, "{}", first.log_tail(20));

    lab.plane.freeze(true).unwrap();
    let new = clients.flood(5, Duration::from_secs(6));
    let known = clients.come_back(100);
    println!("API server stopped: {known} of 100 known clients served, {new} of 5 new ones");
    assert_eq!((known, new), (100, 0), "{}", first.log_tail(20));
    boots(&machine, &first);

    drop(first);
    let first = start(&lab, &lab.network, "first");
    let known = clients.come_back(50);
    println!("started without an API server: {known} of 50 known clients served");
    assert_eq!(known, 50, "{}", first.log_tail(20));
    boots(&machine, &first);

    lab.plane.freeze(false).unwrap();
    let back = until(Duration::from_secs(40), || {
        (clients.flood(10, Duration::from_secs(4)) == 10).then_some(())
    });
    assert!(back.is_some(), "{}", first.log_tail(20));
}

fn boots(machine: &KnownMachine<'_>, server: &Process) {
    let done = machine.boots();
    assert!(done.is_ok(), "{done:?}\n{}", server.log_tail(20));
}

fn claims(lab: &Lab) -> usize {
    let names = lab.kubectl("-n farm get addressclaims -o name");
    names.lines().count()
}
