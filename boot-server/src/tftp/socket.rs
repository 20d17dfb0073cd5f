//! Receives requests on port 69 and runs each transfer from a port of its own.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use boot_proto::tftp::{ErrorCode, FromClient, Mode, Request};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::files::{FileCache, FileError};
use super::transfer::{Failure, Output, Transfer, refusal};
use super::{TftpFiles, TftpOptions};
use crate::clock;
use crate::events::{BootEvent, EventSink};

/// Room for any request and for what is too long to be one.
const RECEIVE_BYTES: usize = 1024;

/// The running TFTP server; stops when dropped.
#[derive(Debug)]
pub struct TftpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TftpServer {
    pub(super) fn start(
        files: TftpFiles,
        events: Arc<dyn EventSink>,
        options: &TftpOptions,
    ) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((options.address, options.port))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        let address = socket.local_addr()?;
        let listener = Listener {
            socket: UdpSocket::from_std(socket)?,
            shared: Arc::new(Shared {
                files: FileCache::new(files),
                events,
                clients: Mutex::default(),
            }),
            max_transfers: options.max_transfers,
        };
        Ok(Self {
            address,
            task: tokio::spawn(listener.run()),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; transfers under way end with it.
    pub async fn stop(mut self) {
        self.task.abort();
        // It was aborted: the only error there can be says so.
        let _ = (&mut self.task).await;
    }
}

impl Drop for TftpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listener {
    socket: UdpSocket,
    shared: Arc<Shared>,
    max_transfers: usize,
}

struct Shared {
    files: FileCache,
    events: Arc<dyn EventSink>,
    clients: Mutex<HashMap<SocketAddrV4, Running>>,
}

/// A transfer under way.
struct Running {
    request: Request,
    is_underway: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        for (_, running) in self.shared.lock().drain() {
            running.task.abort();
        }
    }
}

impl Listener {
    async fn run(self) {
        loop {
            match self.receive().await {
                Ok((datagram, peer, local)) => self.dispatch(&datagram, peer, local),
                Err(error) => {
                    tracing::error!(%error, "receiving TFTP requests");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// A request, who sent it, and the address of ours it was sent to.
    async fn receive(&self) -> io::Result<(Vec<u8>, SocketAddrV4, Ipv4Addr)> {
        loop {
            self.socket.readable().await?;
            match self
                .socket
                .try_io(Interest::READABLE, || receive_now(&self.socket))
            {
                Ok(Some(received)) => return Ok(received),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn dispatch(&self, datagram: &[u8], peer: SocketAddrV4, local: Ipv4Addr) {
        // RFC 1123 §4.2.3.2: a broadcast request is left alone.
        if local.is_broadcast() || local.is_multicast() {
            return;
        }
        let refuse = |code, message: &str| {
            tracing::info!(ip = %peer.ip(), error = message, "TFTP request refused");
            // A refusal that does not arrive is asked for again.
            let _ = self
                .socket
                .try_send_to(&refusal(code, message), peer.into());
        };
        let request = match FromClient::parse(datagram) {
            Ok(FromClient::Read(request)) => request,
            Ok(FromClient::Write(_)) => {
                return refuse(ErrorCode::Access, "nothing can be written here");
            }
            // ACKs and errors of a transfer that is over; RFC 1350 §4 lets
            // error packets go unanswered.
            Ok(FromClient::Error(..)) => return,
            Ok(_) => return refuse(ErrorCode::UnknownTransfer, "no such transfer"),
            Err(error) => return refuse(ErrorCode::Illegal, &error.to_string()),
        };
        if request.mode != Mode::Octet {
            return refuse(
                ErrorCode::Illegal,
                "files are sent in octet mode only, not as netascii or mail",
            );
        }
        let mut clients = self.shared.lock();
        clients.retain(|_, running| !running.task.is_finished());
        if let Some(running) = clients.get(&peer) {
            // The same request again, before the first answer arrived: the
            // transfer sends it again by itself.
            if running.request == request && !running.is_underway.load(Ordering::Relaxed) {
                return;
            }
            running.task.abort();
        } else if clients.len() >= self.max_transfers {
            drop(clients);
            return refuse(
                ErrorCode::Undefined,
                "too many transfers at once, try again",
            );
        }
        let is_underway = Arc::new(AtomicBool::new(false));
        let serving = serve(
            self.shared.clone(),
            request.clone(),
            peer,
            local,
            is_underway.clone(),
        );
        let task = tokio::spawn(serving);
        clients.insert(
            peer,
            Running {
                request,
                is_underway,
                task,
            },
        );
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddrV4, Running>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive_now(socket: &UdpSocket) -> io::Result<Option<(Vec<u8>, SocketAddrV4, Ipv4Addr)>> {
    let mut buffer = [0; RECEIVE_BYTES];
    let mut space = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
        }
        _ => None,
    });
    let (peer, bytes) = (message.address, message.bytes);
    Ok(peer.map(|peer| {
        let received = buffer.get(..bytes).unwrap_or_default().to_vec();
        (
            received,
            SocketAddrV4::new(peer.ip(), peer.port()),
            local.unwrap_or(Ipv4Addr::UNSPECIFIED),
        )
    }))
}

/// One request from its file to its end.
async fn serve(
    shared: Arc<Shared>,
    request: Request,
    peer: SocketAddrV4,
    local: Ipv4Addr,
    is_underway: Arc<AtomicBool>,
) {
    // Clients take DATA only from the address they asked.
    let socket = match open(local, peer).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(ip = %peer.ip(), file = request.file, %error, "no port for a TFTP transfer");
            return;
        }
    };
    let reader = shared.clone();
    let file = request.file.clone();
    let read = tokio::task::spawn_blocking(move || reader.files.read(&file)).await;
    let content = match read {
        Ok(Ok(content)) => content,
        Ok(Err(error)) => {
            let code = match error {
                FileError::NotFound(_) => ErrorCode::NotFound,
                FileError::Name(_) | FileError::Unsuitable(_) => ErrorCode::Access,
                FileError::Read { .. } => ErrorCode::Undefined,
            };
            tracing::warn!(ip = %peer.ip(), file = request.file, %error, "TFTP file not sent");
            let _ = socket.send(&refusal(code, &error.to_string())).await;
            record(&shared, &request, peer, 0, Some(error.to_string()));
            return;
        }
        // The runtime is shutting down.
        Err(_) => return,
    };
    let mut transfer = Transfer::new(content, &request);
    let (bytes, error) = match run(&mut transfer, &socket, &is_underway).await {
        Ok(Some(outcome)) => (outcome.bytes, outcome.error.map(|error| error.to_string())),
        // A question for the size, not a transfer.
        Ok(None) => return,
        Err(error) => (0, Some(format!("sending: {error}"))),
    };
    tracing::info!(ip = %peer.ip(), file = request.file, bytes, error, "TFTP transfer ended");
    record(&shared, &request, peer, bytes, error);
}

async fn open(local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

/// Runs a transfer; `None` where the client only wanted to know the options.
async fn run(
    transfer: &mut Transfer,
    socket: &UdpSocket,
    is_underway: &AtomicBool,
) -> io::Result<Option<super::transfer::Outcome>> {
    let mut buffer = [0; RECEIVE_BYTES];
    loop {
        let now = clock::monotonic();
        match transfer.poll(now) {
            Output::Send(datagram) => match socket.send(&datagram).await {
                // The client's port is closed: it will say so again, or not
                // answer at all, and the deadline ends it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                sent => drop(sent?),
            },
            Output::WaitUntil(deadline) => {
                let wait = deadline.since(now);
                match tokio::time::timeout(wait, socket.recv(&mut buffer)).await {
                    Ok(Ok(bytes)) => transfer.handle(buffer.get(..bytes).unwrap_or_default()),
                    Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        // Wait as for a lost packet, not in a busy loop.
                        tokio::time::sleep(wait).await;
                    }
                    Ok(Err(error)) => return Err(error),
                    Err(_elapsed) => {}
                }
                is_underway.store(transfer.is_underway(), Ordering::Relaxed);
            }
            Output::Done(outcome) => {
                let is_probe =
                    outcome.bytes == 0 && matches!(outcome.error, Some(Failure::Aborted { .. }));
                return Ok((!is_probe).then_some(outcome));
            }
        }
    }
}

fn record(
    shared: &Shared,
    request: &Request,
    peer: SocketAddrV4,
    bytes: u64,
    error: Option<String>,
) {
    shared.events.record(BootEvent::File {
        address: *peer.ip(),
        path: request.file.clone(),
        bytes,
        error,
    });
}

#[cfg(test)]
mod tests;
