//! Receives DHCP and decides: one thread, one socket for each port. What gives
//! or ends a lease is handed to the committer; all else is answered at once.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::dhcp::{MAX_MESSAGE_BYTES, SERVER_PORT};
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::committer::Committer;
use super::datagram::{Arrival, receive};
use super::interfaces::Interfaces;
use super::leases::Leases;
use super::log::{self, Talk};
use super::responder::{Decision, Ingress, Outcome, Responder, message_word};
use super::router::Solicitations;
use super::sender::{Answer, Sender};
use crate::clock;
use crate::farm::Farm;
use crate::inventory::Inventory;

/// Datagrams decided on before the committer is woken up and the stop is seen.
const MAX_BATCH: usize = 256;
/// How often the thread looks at the clock where nothing arrives.
const TICK_MILLIS: u16 = 1000;
/// How old the list of interfaces may be.
const SCAN_EVERY: Duration = Duration::from_secs(3);
/// How often an unknown interface may cause a scan before that.
const SCAN_AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// What the DHCP thread works with.
pub(super) struct Service {
    pub sockets: Arc<[UdpSocket]>,
    /// Ends the thread when its other end is dropped.
    pub stop: UnixStream,
    pub farm: Arc<Farm>,
    pub leases: Arc<Leases>,
    pub sender: Sender,
    pub committer: Committer,
    pub responder: Responder,
    /// Interfaces to serve; empty for all.
    pub served: Vec<String>,
    pub interfaces: Interfaces,
    pub scanned: Monotonic,
    pub solicitations: Option<Solicitations>,
    /// The inventory whose declared options were checked last.
    pub checked: Option<Arc<Inventory>>,
    pub talk: Talk,
}

impl Service {
    /// Serves until the other end of `stop` is dropped.
    pub fn run(mut self) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES + 1];
        while self.wait() {
            let now = clock::monotonic();
            self.leases.follow_clock(clock::wall(), now);
            self.talk.sum_up(now);
            let inventory = self.farm.inventory();
            self.check_options(&inventory);
            self.committer.queue.wait_for_room();
            for socket in 0..self.sockets.len() {
                self.drain(socket, &inventory, &mut buffer);
            }
            self.committer.queue.wake();
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
        match poll(&mut polled, PollTimeout::from(TICK_MILLIS)) {
            Ok(_) => polled.first().and_then(PollFd::any) != Some(true),
            Err(Errno::EINTR) => true,
            Err(error) => {
                tracing::error!(%error, "waiting for DHCP messages; DHCP stops");
                false
            }
        }
    }

    /// Decides on what has arrived on one socket.
    fn drain(&mut self, at: usize, inventory: &Inventory, buffer: &mut [u8]) {
        let sockets = Arc::clone(&self.sockets);
        let Some(socket) = sockets.get(at) else {
            return;
        };
        let port = socket
            .local_addr()
            .map_or(SERVER_PORT, |address| address.port());
        for _ in 0..MAX_BATCH {
            let arrival = match receive(socket, buffer) {
                Ok(Some(arrival)) => arrival,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "receiving a DHCP message");
                    return;
                }
            };
            let Some(ingress) = self.ingress(&arrival, port) else {
                continue;
            };
            let datagram = buffer.get(..arrival.bytes).unwrap_or_default();
            self.decide(inventory, &ingress, datagram, (at, arrival.interface));
        }
    }

    fn decide(
        &mut self,
        inventory: &Inventory,
        ingress: &Ingress,
        datagram: &[u8],
        (socket, interface): (usize, u32),
    ) {
        let (responder, now) = (self.responder, clock::wall());
        let queue = &self.committer.queue;
        let (talk, sender) = (&mut self.talk, &self.sender);
        let at_once = self.leases.decide(|table| {
            let outcome = responder.handle(inventory, table, now, ingress, datagram);
            count(sender, &outcome);
            talk.decision(ingress, &outcome);
            let answer = Answer {
                outcome,
                socket,
                interface,
            };
            if answer.outcome.changes.is_empty() {
                return Some(answer);
            }
            queue.push(answer);
            None
        });
        if let Some(answer) = at_once {
            self.sender.conclude(answer);
        }
    }

    /// How a datagram came in; `None` for an interface that is not served.
    fn ingress(&mut self, arrival: &Arrival, port: u16) -> Option<Ingress> {
        self.rescan(arrival.interface);
        let interface = self.interfaces.by_index.get(&arrival.interface)?;
        if !self.served.is_empty() && !is_in(&self.served, &interface.name) {
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
            .filter(|(_, interface)| served.is_empty() || is_in(served, &interface.name))
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

fn count(sender: &Sender, outcome: &Outcome) {
    let metrics = &sender.metrics;
    metrics.received(message_word(outcome.kind));
    match &outcome.decision {
        Decision::Silent(why) => metrics.silent(why.word()),
        Decision::Reply(reply) => {
            if let Some(refusal) = reply.refusal {
                metrics.refused(refusal.word());
            }
        }
    }
}

fn is_in(served: &[String], name: &str) -> bool {
    served.iter().any(|served| served == name)
}
