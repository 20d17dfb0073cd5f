//! One listening thread: takes requests, and waits for datagrams and deadlines
//! of all transfers that have no thread of their own at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boot_proto::tftp::{ErrorCode, FromClient, Mode, Request};
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use super::active::{Active, Packets, QUICK, Shared, Step};
use super::clients::{Full, Seat};
use super::crew::{Crew, Job};
use super::datagram::{self, RECEIVE_BYTES, Received, Way};
use super::files::{Content, FileError, Piece};
use super::transfer::{Transfer, refusal};
use crate::clock;

/// Events taken at a time.
const EVENTS: usize = 256;
/// Requests taken at a time, so that transfers under way are not kept waiting.
const REQUESTS: usize = 64;
/// A request that comes again while its transfer was alive this recently is the
/// network's copy of the first, not a client that begins anew.
const ALIVE: Duration = Duration::from_secs(2);
/// When a request that looks like such a copy is looked at once more: firmware
/// that gives up a transfer and at once begins the same one again, from the same
/// port, may be heard here before what it said to the transfer's own.
const SECOND_LOOK: Duration = Duration::from_millis(5);
/// Transfers of one thread that may read ahead, each some ten blocks.
const READ_AHEAD: usize = 256;
/// Tokens of the two descriptors that are no transfer's.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// A transfer of this thread.
struct Own {
    active: Active,
    /// Its own, unless all share one.
    socket: Option<UdpSocket>,
    /// When the client last said something.
    heard: Monotonic,
    /// When its one entry among the timers is due.
    timer: Option<Monotonic>,
}

/// A thread's sockets and transfers.
pub(super) struct Worker {
    listener: UdpSocket,
    wake: Arc<EventFd>,
    epoll: Epoll,
    shared: Arc<Shared>,
    crew: Arc<Crew>,
    stop: Arc<AtomicBool>,
    active: HashMap<u64, Own>,
    by_peer: HashMap<SocketAddrV4, u64>,
    timers: BinaryHeap<Reverse<(Monotonic, u64)>>,
    /// Requests that are looked at once more, and when.
    doubtful: VecDeque<(Monotonic, Request, Received)>,
    next_id: u64,
    packets: Packets,
    /// Whether the last event came quickly.
    is_quick: bool,
}

impl Worker {
    pub(super) fn new(
        listener: UdpSocket,
        shared: Arc<Shared>,
        crew: Arc<Crew>,
        stop: Arc<AtomicBool>,
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
            crew,
            stop,
            active: HashMap::new(),
            by_peer: HashMap::new(),
            timers: BinaryHeap::new(),
            doubtful: VecDeque::new(),
            next_id: 0,
            packets: Packets::new(),
            is_quick: false,
        })
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !self.stop.load(Ordering::Relaxed) {
            let count = match self.wait(&mut events) {
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
            self.look_again(now);
        }
    }

    /// Waits for events or for what is due, awake at first where few clients
    /// answer quickly.
    fn wait(&mut self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let begun = clock::monotonic();
        if self.is_quick && !self.active.is_empty() && self.shared.may_stay_awake() {
            while clock::monotonic().since(begun) < QUICK {
                match self.epoll.wait(events, EpollTimeout::ZERO) {
                    Ok(0) => std::hint::spin_loop(),
                    waited => return waited,
                }
            }
        }
        let waited = self.epoll.wait(events, self.patience());
        self.is_quick = clock::monotonic().since(begun) < QUICK;
        waited
    }

    /// How long nothing is due.
    fn patience(&self) -> EpollTimeout {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let doubtful = self.doubtful.front().map(|(due, ..)| *due);
        let Some(due) = timer.into_iter().chain(doubtful).min() else {
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
            let Some(own) = self.active.get_mut(&id) else {
                continue;
            };
            if own.timer == Some(due) {
                own.timer = None;
                self.go_on(id, now);
            }
        }
    }

    /// Looks again at requests that seemed to be copies.
    fn look_again(&mut self, now: Monotonic) {
        while self.doubtful.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, request, from)) = self.doubtful.pop_front() else {
                return;
            };
            let is_over =
                !self.by_peer.contains_key(&from.peer) && self.crew.find(from.peer).is_none();
            if is_over {
                self.read(request, from, now);
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
        if self.is_copy(&request, from, now) {
            if self.doubtful.len() < REQUESTS {
                let due = now.after(SECOND_LOOK);
                self.doubtful.push_back((due, request, from));
            }
            return;
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

    /// Whether the request is one of a transfer under way. One that is not ends
    /// that transfer.
    fn is_copy(&mut self, request: &Request, from: Received, now: Monotonic) -> bool {
        if let Some(apart) = self.crew.find(from.peer) {
            if apart.is_copy(request, now, ALIVE) {
                return true;
            }
            apart.give_up();
        }
        let Some(id) = self.by_peer.get(&from.peer).copied() else {
            return false;
        };
        let is_copy = self.active.get(&id).is_some_and(|own| {
            // Until the client has answered, the transfer repeats its first
            // packet by itself.
            own.active.request == *request
                && (!own.active.transfer.is_underway() || now.since(own.heard) < ALIVE)
        });
        if !is_copy {
            self.remove(id);
            self.shared.metrics.ended("replaced");
        }
        is_copy
    }

    fn refuse_file(&self, request: &Request, from: Received, error: &FileError) {
        let code = match error {
            FileError::NotFound(_) => ErrorCode::NotFound,
            FileError::Name(_) | FileError::Unsuitable { .. } => ErrorCode::Access,
            FileError::Read { .. } => ErrorCode::Undefined,
        };
        self.refuse(from, code, &error.to_string());
        let error = Some(crate::images::chain(error));
        self.shared.record(*from.peer.ip(), request, 0, error);
    }

    fn begin(
        &mut self,
        request: Request,
        content: Content,
        from: Received,
        seat: Seat,
        now: Monotonic,
    ) -> io::Result<()> {
        let socket = datagram::open(from.local, from.peer)?;
        let active = Active {
            transfer: Transfer::new(content.size(), &request, datagram::mtu(&socket)),
            content,
            ahead: (self.active.len() < READ_AHEAD).then(Piece::default),
            request,
            peer: from.peer,
            local: from.local,
            _seat: seat,
        };
        self.shared.metrics.begun();
        if self.shared.single_port {
            self.keep(active, None, now);
        } else if let Some(Job { active, socket }) =
            self.crew.take(Job { active, socket }, &self.shared)
        {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, self.next_id);
            if let Err(errno) = self.epoll.add(&socket, event) {
                self.shared.metrics.ended("failed");
                return Err(errno.into());
            }
            self.keep(active, Some(socket), now);
        }
        Ok(())
    }

    /// Serves a transfer on this thread.
    fn keep(&mut self, active: Active, socket: Option<UdpSocket>, now: Monotonic) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) % WAKE;
        self.by_peer.insert(active.peer, id);
        let own = Own {
            active,
            socket,
            heard: now,
            timer: None,
        };
        self.active.insert(id, own);
        self.go_on(id, now);
    }

    /// Something came to a transfer's own socket.
    fn hear(&mut self, id: u64, now: Monotonic) {
        let mut buffer = [0; RECEIVE_BYTES];
        let Some(socket) = self.active.get(&id).and_then(|own| own.socket.as_ref()) else {
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
        if let Some(own) = self.active.get_mut(&id) {
            own.heard = now;
            own.active.transfer.handle(datagram);
            self.go_on(id, now);
        }
    }

    /// Does what a transfer wants done until it waits or is over.
    fn go_on(&mut self, id: u64, now: Monotonic) {
        let Some(own) = self.active.get_mut(&id) else {
            return;
        };
        let way = match &own.socket {
            Some(socket) => Way::Own(socket),
            None => Way::Shared(&self.listener, own.active.peer, own.active.local),
        };
        let metrics = &self.shared.metrics;
        match own.active.go_on(way, now, &mut self.packets, metrics) {
            Step::Wait(deadline) => {
                if own.timer.is_none_or(|timer| timer > deadline) {
                    own.timer = Some(deadline);
                    self.timers.push(Reverse((deadline, id)));
                }
            }
            Step::Over(ending) => {
                if let Some(own) = self.remove(id) {
                    self.shared.ended(&own.active, ending);
                }
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<Own> {
        let own = self.active.remove(&id)?;
        self.by_peer.remove(&own.active.peer);
        Some(own)
    }
}
