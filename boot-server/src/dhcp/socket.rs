//! Receives and sends DHCP: one thread, one socket for each port.
//!
//! What has arrived is decided as one batch, written to disk in one commit,
//! and answered only then: a lease is durable before its ACK leaves, and the
//! cost of that is shared by all clients that ask at the same time.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::dhcp::{CLIENT_PORT, MAX_MESSAGE_BYTES, SERVER_PORT};
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::libc::in_pktinfo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg,
};

use super::interfaces::Interfaces;
use super::leases::Leases;
use super::log;
use super::neighbour::Neighbours;
use super::responder::{Decision, Destination, Ingress, Outcome, Reply, Responder, message_word};
use super::router::Solicitations;
use crate::clock;
use crate::events::EventSink;
use crate::farm::Farm;
use crate::inventory::Inventory;
use crate::metrics::DhcpMetrics;

/// Datagrams decided on before the first of them is answered.
const MAX_BATCH: usize = 256;
/// How old the list of interfaces may be.
const SCAN_EVERY: Duration = Duration::from_secs(3);
/// How often an unknown interface may cause a scan before that.
const SCAN_AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// What the DHCP thread works with.
pub(super) struct Service {
    pub sockets: Vec<UdpSocket>,
    /// Ends the thread when its other end is dropped.
    pub stop: UnixStream,
    pub farm: Arc<Farm>,
    pub leases: Arc<Leases>,
    pub events: Arc<dyn EventSink>,
    pub metrics: DhcpMetrics,
    pub responder: Responder,
    /// Interfaces to serve; empty for all.
    pub served: Vec<String>,
    pub interfaces: Interfaces,
    pub scanned: Monotonic,
    pub neighbours: Option<Neighbours>,
    pub solicitations: Option<Solicitations>,
    /// The inventory whose declared options were checked last.
    pub checked: Option<Arc<Inventory>>,
}

/// A datagram's way in, and the socket it came to.
struct Arrival {
    bytes: usize,
    source: SocketAddrV4,
    interface: u32,
    to: Ipv4Addr,
}

/// A decision with what is needed to send it.
struct Answer {
    outcome: Outcome,
    socket: usize,
    interface: u32,
}

impl Service {
    /// Serves until the other end of `stop` is dropped.
    pub fn run(mut self) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES + 1];
        while self.wait() {
            let inventory = self.farm.inventory();
            self.check_options(&inventory);
            let mut answers = Vec::new();
            for socket in 0..self.sockets.len() {
                self.drain(socket, &inventory, &mut buffer, &mut answers);
            }
            self.commit(&mut answers);
            for answer in answers {
                self.conclude(answer);
            }
            self.answer_solicitations();
        }
    }

    /// Waits for a datagram; false when it is time to stop.
    fn wait(&self) -> bool {
        let mut polled = vec![PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        polled.extend(
            self.sockets
                .iter()
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
        );
        let solicitations = self.solicitations.iter();
        polled.extend(solicitations.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => polled.first().and_then(PollFd::any) != Some(true),
            Err(Errno::EINTR) => true,
            Err(error) => {
                tracing::error!(%error, "waiting for DHCP messages; DHCP stops");
                false
            }
        }
    }

    /// Decides on what has arrived on one socket.
    fn drain(
        &mut self,
        at: usize,
        inventory: &Inventory,
        buffer: &mut [u8],
        answers: &mut Vec<Answer>,
    ) {
        while answers.len() < MAX_BATCH {
            let Some(socket) = self.sockets.get(at) else {
                return;
            };
            let arrival = match receive(socket, buffer) {
                Ok(Some(arrival)) => arrival,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "receiving a DHCP message");
                    return;
                }
            };
            let port = socket
                .local_addr()
                .map_or(SERVER_PORT, |address| address.port());
            let Some(ingress) = self.ingress(&arrival, port) else {
                continue;
            };
            let datagram = buffer.get(..arrival.bytes).unwrap_or_default();
            let outcome = self.leases.decide(|table| {
                self.responder
                    .handle(inventory, table, clock::wall(), &ingress, datagram)
            });
            log::decision(&ingress, &outcome);
            self.count(&outcome);
            answers.push(Answer {
                outcome,
                socket: at,
                interface: arrival.interface,
            });
        }
    }

    fn count(&self, outcome: &Outcome) {
        self.metrics.received(message_word(outcome.kind));
        match &outcome.decision {
            Decision::Silent(why) => self.metrics.silent(why.word()),
            Decision::Reply(reply) => {
                if let Some(refusal) = reply.refusal {
                    self.metrics.refused(refusal.word());
                }
            }
        }
    }

    /// How a datagram came in; `None` for an interface that is not served.
    fn ingress(&mut self, arrival: &Arrival, port: u16) -> Option<Ingress> {
        self.rescan(arrival.interface);
        let interface = self.interfaces.by_index.get(&arrival.interface)?;
        if !self.served.is_empty() && !self.served.contains(&interface.name) {
            return None;
        }
        Some(Ingress {
            interface: interface.name.clone(),
            networks: interface.networks.clone(),
            own: self.interfaces.own.clone(),
            local: self
                .interfaces
                .own
                .contains(&arrival.to)
                .then_some(arrival.to),
            source: arrival.source,
            port,
        })
    }

    /// Interfaces come and go, and get their addresses when they please.
    fn rescan(&mut self, interface: u32) {
        let now = clock::monotonic();
        let is_known = self.interfaces.by_index.contains_key(&interface);
        let age = now.since(self.scanned);
        if age < SCAN_AT_MOST_EVERY || (is_known && age < SCAN_EVERY) {
            return;
        }
        self.scanned = now;
        match Interfaces::scan() {
            Ok(interfaces) => {
                self.interfaces = interfaces;
                self.listen_for_solicitations();
            }
            Err(error) => tracing::warn!(%error, "listing the network interfaces"),
        }
    }

    /// Hears router solicitations on the interfaces that are served.
    pub fn listen_for_solicitations(&mut self) {
        let Some(solicitations) = &mut self.solicitations else {
            return;
        };
        let served = &self.served;
        let interfaces = self.interfaces.by_index.iter();
        let listened = interfaces
            .filter(|(_, interface)| served.is_empty() || served.contains(&interface.name))
            .map(|(index, _)| *index);
        solicitations.listen(listened);
    }

    /// Answers those that our own clients sent.
    fn answer_solicitations(&self) {
        let Some(solicitations) = &self.solicitations else {
            return;
        };
        while let Some(solicitation) = solicitations.receive() {
            if !self.leases.decide(|table| table.knows(solicitation.mac)) {
                continue;
            }
            let sent = solicitations.answer(&solicitation);
            let error = sent.err().map(|error| error.to_string());
            tracing::debug!(mac = %solicitation.mac, error, "told that there is no IPv6 router");
        }
    }

    /// Makes the batch durable. Where that fails, nothing of it that promises
    /// a lease is sent: the clients ask again.
    fn commit(&self, answers: &mut Vec<Answer>) {
        let changes: Vec<_> = answers
            .iter()
            .flat_map(|answer| answer.outcome.changes.iter().cloned())
            .collect();
        if changes.is_empty() {
            return;
        }
        let began = clock::monotonic();
        let committed = self.leases.commit(&changes);
        if committed.is_ok() {
            let took = clock::monotonic().since(began);
            self.metrics.committed(changes.len(), took);
        }
        if let Err(error) = committed {
            self.metrics.failed("store");
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                leases = changes.len(),
                error,
                "leases cannot be stored; their clients get no answer"
            );
            answers.retain(|answer| answer.outcome.changes.is_empty());
        }
    }

    fn conclude(&mut self, answer: Answer) {
        if let Decision::Reply(reply) = &answer.outcome.decision {
            let sent = self.send(reply, answer.socket, answer.interface);
            if sent.is_ok() {
                let kind = reply.message.message_type();
                self.metrics.replied(message_word(kind));
            }
            if let Err(error) = sent {
                self.metrics.failed("send");
                let mac = answer.outcome.mac.map(|mac| mac.to_string());
                tracing::warn!(mac, to = ?reply.to, %error, "sending a DHCP reply");
            }
        }
        if let Some(event) = answer.outcome.event {
            self.events.record(event);
        }
    }

    fn send(&mut self, reply: &Reply, at: usize, interface: u32) -> io::Result<()> {
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

    /// Says once for each change of the manifests which options cannot be sent.
    fn check_options(&mut self, inventory: &Arc<Inventory>) {
        if !self
            .checked
            .as_ref()
            .is_some_and(|checked| Arc::ptr_eq(checked, inventory))
        {
            log::option_mistakes(inventory);
            self.checked = Some(inventory.clone());
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    let mut space = nix::cmsg_space!(in_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_DONTWAIT,
    );
    let message = match received {
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let info = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(info), Some(source)) = (info, message.address) else {
        return Ok(None);
    };
    Ok(Some(Arrival {
        bytes: message.bytes,
        source: SocketAddrV4::new(source.ip(), source.port()),
        interface: u32::try_from(info.ipi_ifindex).unwrap_or_default(),
        to: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)),
    }))
}

fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddrV4, interface: u32) -> io::Result<()> {
    let info = in_pktinfo {
        ipi_ifindex: i32::try_from(interface).unwrap_or_default(),
        ipi_spec_dst: nix::libc::in_addr { s_addr: 0 },
        ipi_addr: nix::libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    let slices = [IoSlice::new(datagram)];
    sendmsg(
        socket.as_raw_fd(),
        &slices,
        &control,
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}
