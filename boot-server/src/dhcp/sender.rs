//! Sends replies: which way out, and what is counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;

use boot_proto::dhcp::{CLIENT_PORT, SERVER_PORT, code};
use boot_proto::ids::MacAddr;
use nix::sys::socket::LinkAddr;

use super::datagram::send;
use super::packet::PacketSocket;
use super::responder::{Decision, Destination, Outcome, Reply, Why, message_word};
use crate::clock;
use crate::events::{BootEvent, EventSink};
use crate::farm::Farm;
use crate::metrics::DhcpMetrics;

/// A decision with what is needed to send it.
#[derive(Debug)]
pub(super) struct Answer {
    pub outcome: Outcome,
    /// Which socket it goes out by.
    pub socket: usize,
    /// Interface its request came in on.
    pub interface: u32,
    /// That interface, for whole frames, where it is an Ethernet.
    pub link: Option<LinkAddr>,
}

/// Sends replies and tells of it. Each thread has one.
pub(super) struct Sender {
    pub sockets: Arc<[UdpSocket]>,
    pub packets: Option<PacketSocket>,
    pub farm: Arc<Farm>,
    pub metrics: DhcpMetrics,
    pub events: Arc<dyn EventSink>,
}

impl Sender {
    /// Sends what a decision says, if it says anything.
    pub fn conclude(&self, answer: Answer) {
        if let (Some(machine), Some(mac)) = (&answer.outcome.learned, answer.outcome.mac) {
            self.learn(machine, mac);
        }
        if let Decision::Reply(reply) = &answer.outcome.decision {
            match self.send(reply, &answer) {
                Ok(()) => self
                    .metrics
                    .replied(message_word(reply.message.message_type())),
                Err(error) => {
                    self.metrics.failed("send");
                    let mac = answer.outcome.mac.map(|mac| mac.to_string());
                    tracing::warn!(mac, to = ?reply.to, %error, "sending a DHCP reply");
                }
            }
        }
        if let Some(event) = answer.outcome.event {
            self.events.record(event);
        }
        if let Some(mac) = answer.outcome.mac {
            self.events.decided(mac, answer.outcome.decision);
        }
    }

    /// Sends nothing of what was decided, and tells why: the lease is not there.
    pub fn withhold(&self, answer: Answer, why: Why) {
        let Some(mac) = answer.outcome.mac else {
            return;
        };
        let firmware = match answer.outcome.event {
            Some(
                BootEvent::Offered { firmware, .. } | BootEvent::Acknowledged { firmware, .. },
            ) => Some(firmware),
            _ => None,
        };
        if let Some(firmware) = firmware {
            self.events.record(BootEvent::Unanswered {
                mac,
                firmware,
                reason: why.to_string(),
            });
        }
        self.events.decided(mac, Decision::Silent(why));
    }

    fn learn(&self, machine: &str, mac: MacAddr) {
        if let Err(error) = self.farm.met_as(machine, mac, clock::wall()) {
            let error = crate::images::chain(&error);
            tracing::warn!(machine, %mac, error, "a machine's MAC is not remembered");
        }
    }

    fn send(&self, reply: &Reply, answer: &Answer) -> io::Result<()> {
        let Some(socket) = self.sockets.get(answer.socket) else {
            return Ok(());
        };
        let (datagram, omitted) = reply.message.encode_telling(reply.limit);
        for option in omitted {
            self.metrics.omitted(option);
            let mac = answer.outcome.mac.map(|mac| mac.to_string());
            let limit = reply.limit;
            tracing::info!(
                mac,
                option,
                limit,
                "a DHCP answer has no room for an option"
            );
        }
        // Routed destinations find their own way out.
        let (to, interface) = match reply.to {
            Destination::Relay(giaddr) => (SocketAddrV4::new(giaddr, SERVER_PORT), 0),
            Destination::Client(address) => (address, 0),
            Destination::Hardware(mac, address)
                if self.unicast(reply, answer, (mac, address), &datagram) =>
            {
                return Ok(());
            }
            // Without CAP_NET_RAW: all clients take broadcasts, it only costs
            // their neighbours a glance.
            Destination::Hardware(..) | Destination::Broadcast => (
                SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
                answer.interface,
            ),
        };
        send(socket, &datagram, to, interface)
    }
    /// Sends to a client that does not have its address yet; false where that
    /// cannot be done.
    fn unicast(
        &self,
        reply: &Reply,
        answer: &Answer,
        (mac, address): (MacAddr, Ipv4Addr),
        datagram: &[u8],
    ) -> bool {
        let server = reply.message.options.address(code::SERVER_ID);
        let (Some(packets), Some(link), Some(server)) = (&self.packets, &answer.link, server)
        else {
            return false;
        };
        let ends = (
            SocketAddrV4::new(server, SERVER_PORT),
            SocketAddrV4::new(address, CLIENT_PORT),
        );
        let sent = packets.send(link, mac, ends, datagram);
        if let Err(error) = &sent {
            tracing::debug!(%mac, ip = %address, %error, "no frame could be sent; the reply is broadcast");
        }
        sent.is_ok()
    }
}
