//! Threads that serve one transfer at a time each, for as long as there are few.
//! Such a thread waits in the call that takes the client's answer, awake where
//! that comes quickly, and a block costs it two system calls. Many transfers are
//! served cheaper together, by the listening threads.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use boot_proto::tftp::Request;
use boot_proto::time::Monotonic;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use super::active::{Active, Packets, QUICK, Shared, Step};
use super::datagram::{RECEIVE_BYTES, Way};
use crate::clock;

/// What such a thread needs at most.
const STACK_BYTES: usize = 128 << 10;

/// A transfer as those see it who do not serve it.
pub(super) struct Apart {
    request: Request,
    socket: UdpSocket,
    /// When the client last said something, in milliseconds.
    heard: AtomicU64,
    is_underway: AtomicBool,
    is_given_up: AtomicBool,
}

impl Apart {
    /// Whether this request is the network's copy of the transfer's own, at a
    /// moment when the client's last word was at most `alive` ago.
    pub(super) fn is_copy(&self, request: &Request, now: Monotonic, alive: Duration) -> bool {
        let heard = Monotonic(Duration::from_millis(self.heard.load(Ordering::Relaxed)));
        // Until the client has answered, the transfer repeats its first packet
        // by itself.
        self.request == *request
            && (!self.is_underway.load(Ordering::Relaxed) || now.since(heard) < alive)
    }

    /// Ends the transfer, whose client wants another one.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        // It wakes the thread that receives.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    fn hear(&self, now: Monotonic) {
        let millis = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
    }
}

/// A transfer that is to be served, by a thread of its own if there is one.
pub(super) struct Job {
    pub active: Active,
    pub socket: UdpSocket,
}

/// The threads, which begin as they are needed.
pub(super) struct Crew {
    state: Mutex<State>,
    wake: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Active, Arc<Apart>)>,
    running: HashMap<SocketAddrV4, Arc<Apart>>,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    is_stopped: bool,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// At most so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            most,
        })
    }

    /// The transfer to a client that has a thread of its own.
    pub(super) fn find(&self, peer: SocketAddrV4) -> Option<Arc<Apart>> {
        self.lock().running.get(&peer).cloned()
    }

    /// Has a transfer served, or gives it back where no thread is free.
    pub(super) fn take(self: &Arc<Self>, job: Job, shared: &Arc<Shared>) -> Option<Job> {
        let mut state = self.lock();
        let has_idle = state.idle > state.waiting.len();
        if state.is_stopped || !(has_idle || self.begin(&mut state, shared)) {
            return Some(job);
        }
        if let Err(error) = job.socket.set_nonblocking(false) {
            tracing::debug!(%error, "a TFTP transfer gets no thread of its own");
            return Some(job);
        }
        let apart = Arc::new(Apart {
            request: job.active.request.clone(),
            socket: job.socket,
            heard: AtomicU64::default(),
            is_underway: AtomicBool::default(),
            is_given_up: AtomicBool::default(),
        });
        apart.hear(clock::monotonic());
        state.running.insert(job.active.peer, Arc::clone(&apart));
        state.waiting.push_back((job.active, apart));
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Begins one more thread, if there may be one.
    fn begin(self: &Arc<Self>, state: &mut State, shared: &Arc<Shared>) -> bool {
        if state.threads.len() >= self.most {
            return false;
        }
        let (crew, shared) = (Arc::clone(self), Arc::clone(shared));
        let thread = std::thread::Builder::new()
            .name("tftp-transfer".into())
            .stack_size(STACK_BYTES)
            .spawn(move || crew.work(&shared));
        match thread {
            Ok(thread) => state.threads.push(thread),
            Err(error) => {
                tracing::debug!(%error, "no thread for a TFTP transfer");
                return false;
            }
        }
        true
    }

    /// Ends all transfers and threads.
    pub(super) fn stop(&self) {
        let threads = {
            let mut state = self.lock();
            state.is_stopped = true;
            for apart in state.running.values() {
                apart.give_up();
            }
            std::mem::take(&mut state.threads)
        };
        self.wake.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn work(&self, shared: &Shared) {
        let mut packets = Packets::new();
        while let Some((active, apart)) = self.next() {
            let peer = active.peer;
            self.serve(active, &apart, shared, &mut packets);
            self.forget(peer, &apart);
        }
    }

    /// Serves a transfer to its end.
    fn serve(&self, mut active: Active, apart: &Apart, shared: &Shared, packets: &mut Packets) {
        let mut wait = Wait::default();
        let mut buffer = [0; RECEIVE_BYTES];
        let mut now = clock::monotonic();
        loop {
            let way = Way::Own(&apart.socket);
            let until = match active.go_on(way, now, packets, &shared.metrics) {
                Step::Wait(until) => until,
                Step::Over(ending) => return shared.ended(&active, ending),
            };
            let is_awake = shared.may_stay_awake();
            let received = wait.receive(apart, until.since(now), is_awake, &mut buffer);
            if apart.is_given_up.load(Ordering::Relaxed) {
                return shared.metrics.ended("replaced");
            }
            now = clock::monotonic();
            match received {
                Ok(bytes) => {
                    apart.hear(now);
                    let datagram = buffer.get(..bytes).unwrap_or_default();
                    active.transfer.handle(datagram);
                    let is_underway = active.transfer.is_underway();
                    apart.is_underway.store(is_underway, Ordering::Relaxed);
                }
                // Time is up, perhaps.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // The client's port is closed, or it is not there: as good as a
                // lost packet, and the deadline ends it.
                Err(error) => tracing::debug!(%error, "receiving from a TFTP client"),
            }
        }
    }

    fn next(&self) -> Option<(Active, Arc<Apart>)> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            if let Some(next) = state.waiting.pop_front() {
                return Some(next);
            }
            state.idle = state.idle.saturating_add(1);
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
        }
    }

    fn forget(&self, peer: SocketAddrV4, apart: &Arc<Apart>) {
        let mut state = self.lock();
        // It may be another transfer's by now.
        if state
            .running
            .get(&peer)
            .is_some_and(|own| Arc::ptr_eq(own, apart))
        {
            state.running.remove(&peer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a thread waits for its client.
#[derive(Default)]
struct Wait {
    /// How long the socket waits, as it was told last.
    told: Option<Duration>,
    /// Whether the last answer came quickly.
    is_quick: bool,
}

impl Wait {
    /// Takes what the client says within `wait`, or `EAGAIN`.
    fn receive(
        &mut self,
        apart: &Apart,
        wait: Duration,
        is_awake: bool,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let fd = apart.socket.as_raw_fd();
        let begun = clock::monotonic();
        if self.is_quick && is_awake {
            while clock::monotonic().since(begun) < QUICK {
                match recv(fd, buffer, MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EAGAIN) => std::hint::spin_loop(),
                    received => return received,
                }
            }
        }
        self.tell(&apart.socket, wait);
        let received = recv(fd, buffer, MsgFlags::empty());
        self.is_quick = clock::monotonic().since(begun) < QUICK;
        received
    }

    /// Has the socket wait no longer than that, and not much shorter: each block
    /// has about the same, and it is told once.
    fn tell(&mut self, socket: &UdpSocket, wait: Duration) {
        if self
            .told
            .is_some_and(|told| told >= wait && told / 2 <= wait)
        {
            return;
        }
        // None at all would be for ever.
        let wait = wait.max(Duration::from_millis(1));
        match socket.set_read_timeout(Some(wait)) {
            Ok(()) => self.told = Some(wait),
            Err(error) => tracing::debug!(%error, "a TFTP socket cannot be told how long to wait"),
        }
    }
}
