//! Clients of the suite: many behind a relay, and one machine on the wire.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use boot_proto::report::{BootReport, MachineFacts, Phase, Progress};
use moonfarm_tests::lab::process::output;

use crate::dhcp_host::{kind, receive, udp_within};
use crate::kubernetes_agent::Lab;

/// Boot-server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The relay's, outside of the subnet that the machine on the wire is in.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
/// The MAC of the machine on the wire.
pub const MAC: &str = "02:4d:46:07:01:01";

/// Clients behind a relay.
pub struct Relayed(UdpSocket);

impl Relayed {
    pub fn new(lab: &Lab) -> Self {
        let address = format!("{RELAY}/24");
        let add = ["address", "replace", &address, "dev", "eth0"];
        lab.wire.ip(&add).unwrap();
        Self(udp_within(&lab.wire, 67))
    }

    /// What the server answers to a message of this client.
    fn ask(&self, mac: MacAddr, kind: MessageType, wanted: &[(u8, Ipv4Addr)]) -> Option<Message> {
        let octets = mac.octets();
        let xid = u32::from_be_bytes([octets[2], octets[3], octets[4], octets[5]]);
        let mut message = Message::request(mac, xid, kind);
        message.giaddr = RELAY;
        for (option, address) in wanted {
            message.options.put_addresses(*option, &[*address]);
        }
        let to = SocketAddrV4::new(SERVER, 67);
        self.0.send_to(&message.encode(1472), to).unwrap();
        loop {
            let (answer, _) = receive(&self.0, Duration::from_secs(3))?;
            if answer.mac() == Some(mac) {
                return Some(answer);
            }
        }
    }

    /// The address that a client is offered.
    pub fn discover(&self, mac: MacAddr) -> Ipv4Addr {
        let offer = self.ask(mac, MessageType::Discover, &[]);
        offer.expect("an offer").yiaddr
    }

    /// Whether a client is given the address that it was offered.
    pub fn request(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        let wanted = [
            (code::REQUESTED_ADDRESS, address),
            (code::SERVER_ID, SERVER),
        ];
        self.is_granted(mac, &wanted, address)
    }

    /// Whether a client that starts again is given the address it remembers.
    pub fn come_back(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.is_granted(mac, &[(code::REQUESTED_ADDRESS, address)], address)
    }

    fn is_granted(&self, mac: MacAddr, wanted: &[(u8, Ipv4Addr)], address: Ipv4Addr) -> bool {
        let answer = self.ask(mac, MessageType::Request, wanted);
        answer.is_some_and(|answer| {
            kind(&answer) == Some(MessageType::Ack) && answer.yiaddr == address
        })
    }
}

/// The status of an HTTP request of the machine on the wire.
pub fn http(lab: &Lab, method: &str, path: &str, body: Option<&str>) -> String {
    let mut curl = lab.wire.command("curl");
    curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]);
    curl.args(body.iter().flat_map(|body| ["-d", body]));
    curl.arg(format!("http://{SERVER}:8080{path}"));
    output(curl).unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// A client that was given an address through the relay asks for what to boot.
pub fn asks_for_a_script(lab: &Lab, address: &str) {
    let own = format!("{address}/32");
    let add = ["address", "replace", &own, "dev", "eth0"];
    lab.wire.ip(&add).unwrap();
    let back = ["route", "replace", &own, "dev", "br0"];
    lab.network.ip(&back).unwrap();
    let mut curl = lab.wire.command("curl");
    curl.args(["-sS", "-o", "/dev/null", "--interface", address]);
    curl.arg(format!("http://{SERVER}:8080/ipxe"));
    output(curl).unwrap_or_else(|error| panic!("{}", error.chain()));
}

/// The machine on the wire reports.
pub fn report(lab: &Lab, phase: Phase, progress: Progress, macs: &[&str]) {
    let facts = (!macs.is_empty()).then(|| MachineFacts {
        macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
        serial: Some("CZ1234".into()),
        memory_bytes: 8 << 30,
        ..MachineFacts::default()
    });
    let report = BootReport {
        version: 1,
        mac: MAC.parse().unwrap(),
        phase,
        progress,
        percent: None,
        uptime_ms: 1_000,
        elapsed_ms: 100,
        message: String::new(),
        log: String::new(),
        facts,
        phases: Vec::new(),
    };
    let body = serde_json::to_string(&report).unwrap();
    assert_eq!(http(lab, "POST", "/v1/report", Some(&body)), "204");
}
