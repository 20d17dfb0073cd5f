//! One thread: waits for datagrams and deadlines of all its transfers at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boot_proto::tftp::{ErrorCode, FromClient, Mode, Request};
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use super::clients::{Clients, Full, Seat};
use super::datagram::{self, RECEIVE_BYTES, Received, Way};
use super::files::{Content, FileCache, FileError};
use super::transfer::{Failure, Outcome, Output, Transfer, refusal, wire_number};
use crate::clock;
use crate::events::{BootEvent, EventSink};
use crate::metrics::TftpMetrics;

/// Events taken at a time.
const EVENTS: usize = 256;
/// Requests taken at a time, so that transfers under way are not kept waiting.
const REQUESTS: usize = 64;
/// A request that comes again while its transfer was alive this recently is the
/// network's copy of the first, not a client that begins anew.
const ALIVE: Duration = Duration::from_secs(2);
/// Tokens of the two descriptors that are no transfer's.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// What all threads have in common.
pub(super) struct Shared {
    pub files: FileCache,
    pub events: Arc<dyn EventSink>,
    pub metrics: TftpMetrics,
    pub clients: Arc<Clients>,
    pub single_port: bool,
    pub stop: Arc<AtomicBool>,
}

/// A transfer under way.
struct Active {
    transfer: Transfer,
    content: Content,
    request: Request,
    peer: SocketAddrV4,
    local: Ipv4Addr,
    /// Its own, unless all share one.
    socket: Option<UdpSocket>,
    /// When the client last said something.
    heard: Monotonic,
    /// When its one entry among the timers is due.
    timer: Option<Monotonic>,
    _seat: Seat,
}

/// A thread's sockets and transfers.
pub(super) struct Worker {
    listener: UdpSocket,
    wake: Arc<EventFd>,
    epoll: Epoll,
    shared: Arc<Shared>,
    active: HashMap<u64, Active>,
    by_peer: HashMap<SocketAddrV4, u64>,
    timers: BinaryHeap<Reverse<(Monotonic, u64)>>,
    next_id: u64,
    /// Datagrams being put together.
    window: Vec<u8>,
    can_split: bool,
}

impl Worker {
    pub(super) fn new(
        listener: UdpSocket,
        shared: Arc<Shared>,
        wake: Arc<EventFd>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Self {
            listener,
            wake,
            epoll,
            shared,
            active: HashMap::new(),
            by_peer: HashMap::new(),
            timers: BinaryHeap::new(),
            next_id: 0,
            window: Vec::new(),
            can_split: true,
        })
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let count = match self.epoll.wait(&mut events, self.patience()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => {
                    tracing::error!(error = %errno, "TFTP is not served any more");
                    return;
                }
            };
            let now = clock::monotonic();
            for event in events.iter().take(count) {
                match event.data() {
                    LISTENER => self.listen(now),
                    WAKE => drop(self.wake.read()),
                    id => self.hear(id, now),
                }
            }
            self.fire(now);
        }
    }

    /// How long nothing is due.
    fn patience(&self) -> EpollTimeout {
        let Some(Reverse((due, _))) = self.timers.peek() else {
            return EpollTimeout::NONE;
        };
        // Rounded up: a deadline that is not there yet would be waited for in a
        // busy loop.
        let wait = due.since(clock::monotonic()).as_millis().saturating_add(1);
        EpollTimeout::try_from(wait.min(60_000)).unwrap_or(EpollTimeout::ZERO)
    }

    /// Wakes the transfers whose time is up. One that has gone on meanwhile is
    /// only put off.
    fn fire(&mut self, now: Monotonic) {
        while let Some(Reverse((due, id))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            let Some(active) = self.active.get_mut(&id) else {
                continue;
            };
            if active.timer == Some(due) {
                active.timer = None;
                self.go_on(id, now);
            }
        }
    }

    fn listen(&mut self, now: Monotonic) {
        let mut buffer = [0; RECEIVE_BYTES];
        for _ in 0..REQUESTS {
            match datagram::receive(&self.listener, &mut buffer) {
                Ok(Some(received)) => {
                    let bytes = buffer.get(..received.bytes).unwrap_or_default();
                    self.dispatch(bytes, received, now);
                }
                Ok(None) => return,
                // Refusals of clients that are gone show up here.
                Err(error) => tracing::debug!(%error, "receiving TFTP requests"),
            }
        }
    }

    fn dispatch(&mut self, datagram: &[u8], from: Received, now: Monotonic) {
        // RFC 1123 §4.2.3.2: a broadcast request is left alone.
        if from.local.is_broadcast() || from.local.is_multicast() {
            return;
        }
        let parsed = FromClient::parse(datagram);
        let is_request = matches!(
            parsed,
            Ok(FromClient::Read(_) | FromClient::Write(_)) | Err(_)
        );
        if let (true, false, Some(id)) = (
            self.shared.single_port,
            is_request,
            self.by_peer.get(&from.peer).copied(),
        ) {
            return self.take(id, datagram, now);
        }
        match parsed {
            Ok(FromClient::Read(request)) => self.read(request, from, now),
            Ok(FromClient::Write(_)) => {
                self.refuse(from, ErrorCode::Access, "nothing can be written here");
            }
            // RFC 1350 §4 lets error packets go unanswered.
            Ok(FromClient::Error(..)) => {}
            // Of a transfer that is over.
            Ok(_) => self.refuse(from, ErrorCode::UnknownTransfer, "no such transfer"),
            Err(error) => self.refuse(from, ErrorCode::Illegal, &error.to_string()),
        }
    }

    fn refuse(&self, from: Received, code: ErrorCode, message: &str) {
        tracing::info!(ip = %from.peer.ip(), error = message, "TFTP request refused");
        self.shared.metrics.refused(code.number());
        // A refusal that does not arrive is asked for again.
        let way = Way::Shared(&self.listener, from.peer, from.local);
        let _ = way.send(&refusal(code, message));
    }

    fn read(&mut self, request: Request, from: Received, now: Monotonic) {
        if request.mode != Mode::Octet {
            let message = "files are sent in octet mode only, not as netascii or mail";
            return self.refuse(from, ErrorCode::Illegal, message);
        }
        if let Some(id) = self.by_peer.get(&from.peer).copied() {
            let is_copy = self.active.get(&id).is_some_and(|active| {
                // Until the client has answered, the transfer repeats its first
                // packet by itself.
                active.request == request
                    && (!active.transfer.is_underway() || now.since(active.heard) < ALIVE)
            });
            if is_copy {
                return;
            }
            self.remove(id);
            self.shared.metrics.ended("replaced");
        }
        let seat = match self.shared.clients.enter(*from.peer.ip()) {
            Ok(seat) => seat,
            // Firmware gives up at an error, and asks again at silence.
            Err(Full::Server) => {
                tracing::warn!(ip = %from.peer.ip(), "too many TFTP transfers at once; a request is left alone");
                return self.shared.metrics.left_alone();
            }
            Err(Full::Client) => {
                let message = "this client has too many transfers at once";
                return self.refuse(from, ErrorCode::Undefined, message);
            }
        };
        let content = match self
            .shared
            .files
            .read_for(*from.peer.ip(), from.local, &request.file)
        {
            Ok(content) => content,
            Err(error) => return self.refuse_file(&request, from, &error),
        };
        if let Err(error) = self.begin(request, content, from, seat, now) {
            tracing::error!(ip = %from.peer.ip(), %error, "no port for a TFTP transfer");
            self.shared.metrics.left_alone();
        }
    }

    fn refuse_file(&self, request: &Request, from: Received, error: &FileError) {
        let code = match error {
            FileError::NotFound(_) => ErrorCode::NotFound,
            FileError::Name(_) | FileError::Unsuitable { .. } => ErrorCode::Access,
            FileError::Read { .. } => ErrorCode::Undefined,
        };
        self.refuse(from, code, &error.to_string());
        self.record(
            *from.peer.ip(),
            request,
            0,
            Some(crate::images::chain(error)),
        );
    }

    fn begin(
        &mut self,
        request: Request,
        content: Content,
        from: Received,
        seat: Seat,
        now: Monotonic,
    ) -> io::Result<()> {
        let id = self.next_id;
        let socket = datagram::open(from.local, from.peer)?;
        let transfer = Transfer::new(content.size(), &request, datagram::mtu(&socket));
        let socket = if self.shared.single_port {
            None
        } else {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, id);
            self.epoll.add(&socket, event)?;
            Some(socket)
        };
        self.next_id = self.next_id.wrapping_add(1) % WAKE;
        self.shared.metrics.begun();
        let active = Active {
            transfer,
            content,
            request,
            peer: from.peer,
            local: from.local,
            socket,
            heard: now,
            timer: None,
            _seat: seat,
        };
        self.by_peer.insert(from.peer, id);
        self.active.insert(id, active);
        self.go_on(id, now);
        Ok(())
    }

    /// Something came to a transfer's own socket.
    fn hear(&mut self, id: u64, now: Monotonic) {
        let mut buffer = [0; RECEIVE_BYTES];
        let Some(socket) = self
            .active
            .get(&id)
            .and_then(|active| active.socket.as_ref())
        else {
            return;
        };
        match socket.recv(&mut buffer) {
            Ok(bytes) => self.take(id, buffer.get(..bytes).unwrap_or_default(), now),
            // The client's port is closed, or it is not there: as good as a lost
            // packet, and the deadline ends it.
            Err(error) => tracing::debug!(%error, "receiving from a TFTP client"),
        }
    }

    fn take(&mut self, id: u64, datagram: &[u8], now: Monotonic) {
        if let Some(active) = self.active.get_mut(&id) {
            active.heard = now;
            active.transfer.handle(datagram);
            self.go_on(id, now);
        }
    }

    /// Does what a transfer wants done until it waits or is over.
    fn go_on(&mut self, id: u64, now: Monotonic) {
        let Some(active) = self.active.get_mut(&id) else {
            return;
        };
        loop {
            let way = match &active.socket {
                Some(socket) => Way::Own(socket),
                None => Way::Shared(&self.listener, active.peer, active.local),
            };
            let sent = match active.transfer.poll(now) {
                Output::SendOptions => way.send(active.transfer.options().unwrap_or_default()),
                Output::SendBlocks { first, count } => {
                    if let Err(error) = encode(active, first, count, &mut self.window) {
                        let message = format!("reading the file: {error}");
                        let _ = way.send(&refusal(ErrorCode::Undefined, &message));
                        return self.end(id, 0, Some(message));
                    }
                    self.shared.metrics.sent(self.window.len());
                    let segment = active.transfer.packet_bytes();
                    way.send_all(&self.window, segment, &mut self.can_split)
                }
                Output::WaitUntil(deadline) => {
                    if active.timer.is_none_or(|timer| timer > deadline) {
                        active.timer = Some(deadline);
                        self.timers.push(Reverse((deadline, id)));
                    }
                    return;
                }
                Output::Done(outcome) => return self.done(id, outcome),
            };
            // What could not be sent is lost, as on the wire: it is sent again
            // when its time is up.
            if let Err(error) = sent {
                tracing::debug!(ip = %active.peer.ip(), %error, "a TFTP packet is not sent");
            }
        }
    }

    fn done(&mut self, id: u64, outcome: Outcome) {
        // A question for the size, not a transfer.
        let is_probe = outcome.bytes == 0 && matches!(outcome.error, Some(Failure::Aborted { .. }));
        if is_probe {
            self.remove(id);
            return self.shared.metrics.ended("probe");
        }
        self.end(
            id,
            outcome.bytes,
            outcome.error.map(|error| error.to_string()),
        );
    }

    fn end(&mut self, id: u64, bytes: u64, error: Option<String>) {
        let Some(active) = self.remove(id) else {
            return;
        };
        let ip = *active.peer.ip();
        tracing::info!(%ip, file = active.request.file, bytes, error, "TFTP transfer ended");
        let how = if error.is_none() { "whole" } else { "failed" };
        self.shared.metrics.ended(how);
        self.record(ip, &active.request, bytes, error);
    }

    fn record(&self, address: Ipv4Addr, request: &Request, bytes: u64, error: Option<String>) {
        self.shared.events.record(BootEvent::File {
            address,
            path: request.file.clone(),
            bytes,
            error,
        });
    }

    fn remove(&mut self, id: u64) -> Option<Active> {
        let active = self.active.remove(&id)?;
        self.by_peer.remove(&active.peer);
        Some(active)
    }
}

/// Puts the DATA packets of some blocks one behind the other.
fn encode(active: &Active, first: u64, count: u64, window: &mut Vec<u8>) -> io::Result<()> {
    window.clear();
    for number in first..first.saturating_add(count) {
        let (start, length) = active.transfer.block(number);
        let [high, low] = wire_number(number).to_be_bytes();
        window.extend_from_slice(&[0, 3, high, low]);
        active.content.append(start, length, window)?;
    }
    Ok(())
}
