//! Receives DHCP and decides: one thread, one socket for each port. What gives
//! or ends a lease is handed to the committer; all else is answered at once.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::dhcp::{MAX_MESSAGE_BYTES, SERVER_PORT};
use boot_proto::ids::MacAddr;
use boot_proto::resources::Object;
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::committer::Committer;
use super::datagram::{Arrival, receive};
use super::interfaces::Interfaces;
use super::leases::Leases;
use super::limits::{self, Limits};
use super::log::{self, Talk};
use super::probing::{Parked, Probing};
use super::responder::{Decision, Ingress, Memory, Outcome, Responder, Why, message_word};
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
    pub limits: Limits,
    pub probing: Probing,
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
            self.conclude_probes(&inventory, clock::monotonic());
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
        let probes = self.probing.socket();
        polled.extend(probes.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
        match poll(&mut polled, self.patience()) {
            Ok(_) => polled.first().and_then(PollFd::any) != Some(true),
            Err(Errno::EINTR) => true,
            Err(error) => {
                tracing::error!(%error, "waiting for DHCP messages; DHCP stops");
                false
            }
        }
    }

    /// How long to wait where nothing arrives.
    fn patience(&self) -> PollTimeout {
        let wait = self.probing.deadline().map(|deadline| {
            let millis = deadline.since(clock::monotonic()).as_millis();
            u16::try_from(millis).unwrap_or(u16::MAX).saturating_add(1)
        });
        PollTimeout::from(wait.unwrap_or(TICK_MILLIS).min(TICK_MILLIS))
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
        if !self.may_ask(ingress, datagram) {
            return;
        }
        let (responder, now) = (self.responder, clock::wall());
        let link = self.interfaces.links.get(&interface).copied();
        let queue = &self.committer.queue;
        let (talk, sender, limits) = (&mut self.talk, &self.sender, &mut self.limits);
        let at_once = self.leases.decide(|leases| {
            let memory = Memory { leases, limits };
            let outcome = responder.handle(inventory, memory, now, ingress, datagram);
            count(sender, &outcome);
            talk.decision(ingress, &outcome);
            let answer = Answer {
                outcome,
                socket,
                interface,
                link,
            };
            if answer.outcome.changes.is_empty() {
                return Some(answer);
            }
            queue.push(answer);
            None
        });
        let Some(answer) = at_once else {
            return;
        };
        match answer.outcome.probe {
            Some(address) => self.probe(address, answer, ingress, datagram),
            None => self.sender.conclude(answer),
        }
    }

    /// Whether the sender is within its limit; what is beyond costs next to nothing.
    fn may_ask(&mut self, ingress: &Ingress, datagram: &[u8]) -> bool {
        let mac = datagram.get(28..34).and_then(|mac| mac.try_into().ok());
        let Some(mac) = mac.map(|octets: [u8; 6]| MacAddr::new(octets)) else {
            return true;
        };
        match self.limits.message(mac, ingress.at) {
            limits::Verdict::Pass => return true,
            limits::Verdict::Stopped => {
                self.talk.stopped(mac, ingress);
                let silent = Decision::Silent(Why::Quarantined);
                self.sender.events.decided(mac, silent);
            }
            limits::Verdict::Held => {}
        }
        self.sender.metrics.silent("quarantine");
        false
    }

    fn probe(&mut self, address: Ipv4Addr, answer: Answer, ingress: &Ingress, datagram: &[u8]) {
        let parked = Parked {
            answer,
            ingress: ingress.clone(),
            datagram: datagram.to_vec(),
        };
        if let Some(answer) = self.probing.park(address, parked, ingress.at) {
            self.sender.conclude(answer);
        }
    }

    /// Offers what nobody answered on, and something else where somebody did.
    fn conclude_probes(&mut self, inventory: &Inventory, now: Monotonic) {
        for (address, parked) in self.probing.answered() {
            let Parked {
                mut answer,
                ingress,
                datagram,
            } = parked;
            let mac = answer.outcome.mac.unwrap_or(MacAddr::new([0; 6]));
            tracing::warn!(ip = %address, %mac, "an address of a range is in use by a host that has no lease; it rests");
            self.sender.metrics.failed("address-in-use");
            let subnet = inventory.subnet_of(address).map(Object::name);
            let queue = &self.committer.queue;
            let way = (answer.socket, answer.interface);
            self.leases.decide(|table| {
                let rest = table.rest(address, mac, subnet.unwrap_or_default(), clock::wall());
                answer.outcome.decision = Decision::Silent(Why::Declined(address));
                answer.outcome.event = None;
                answer.outcome.changes = vec![rest];
                queue.push(answer);
            });
            self.decide(inventory, &ingress, &datagram, way);
        }
        for parked in self.probing.silent(now) {
            self.sender.conclude(parked.answer);
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
            at: clock::monotonic(),
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
