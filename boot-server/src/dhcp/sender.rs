//! Sends replies: which way out, and what is counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;

use boot_proto::dhcp::{CLIENT_PORT, SERVER_PORT};

use super::datagram::send;
use super::neighbour::Neighbours;
use super::responder::{Decision, Destination, Outcome, Reply, message_word};
use crate::events::EventSink;
use crate::metrics::DhcpMetrics;

/// A decision with what is needed to send it.
#[derive(Debug)]
pub(super) struct Answer {
    pub outcome: Outcome,
    /// Which socket it goes out by.
    pub socket: usize,
    /// Interface its request came in on.
    pub interface: u32,
}

/// Sends replies and tells of it. Each thread has one.
pub(super) struct Sender {
    pub sockets: Arc<[UdpSocket]>,
    pub neighbours: Option<Neighbours>,
    pub metrics: DhcpMetrics,
    pub events: Arc<dyn EventSink>,
}

impl Sender {
    /// Sends what a decision says, if it says anything.
    pub fn conclude(&self, answer: Answer) {
        if let Decision::Reply(reply) = &answer.outcome.decision {
            match self.send(reply, answer.socket, answer.interface) {
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
    }

    fn send(&self, reply: &Reply, at: usize, interface: u32) -> io::Result<()> {
        let Some(socket) = self.sockets.get(at) else {
            return Ok(());
        };
        let datagram = reply.message.encode(reply.limit);
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        // Routed destinations find their own way out.
        let (to, interface) = match reply.to {
            Destination::Relay(giaddr) => (SocketAddrV4::new(giaddr, SERVER_PORT), 0),
            Destination::Client(address) => (address, 0),
            Destination::Broadcast => (broadcast, interface),
            Destination::Hardware(mac, address) => {
                match self
                    .neighbours
                    .as_ref()
                    .map(|neighbours| neighbours.set(interface, address, mac))
                {
                    Some(Ok(())) => (SocketAddrV4::new(address, CLIENT_PORT), interface),
                    // Without CAP_NET_ADMIN: all clients take broadcasts, it
                    // only costs their neighbours a glance.
                    Some(Err(error)) => {
                        tracing::debug!(%mac, ip = %address, %error, "no neighbour entry; the reply is broadcast");
                        (broadcast, interface)
                    }
                    None => (broadcast, interface),
                }
            }
        };
        send(socket, &datagram, to, interface)
    }
}
