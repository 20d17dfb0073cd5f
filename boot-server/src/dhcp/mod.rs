//! DHCP: addresses and boot information for machines on the provisioning network.
//!
//! `responder` decides, `leases` remembers, `socket` hears, `committer` makes
//! leases durable, `sender` answers.

mod committer;
pub mod custom;
mod datagram;
mod echo;
mod interfaces;
pub mod leases;
pub mod limits;
mod log;
mod packet;
mod probe;
mod probing;
pub mod responder;
mod router;
mod sender;
mod socket;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use boot_proto::dhcp::{PXE_PORT, SERVER_PORT};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, sockopt};

pub use leases::{Lease, LeaseKind, LeaseStore, LeaseStoreError, Leases};

use crate::clock;
use crate::events::EventSink;
use crate::farm::Farm;
use crate::metrics::DhcpMetrics;
use committer::Committer;
use interfaces::Interfaces;
use limits::Limits;
use log::Talk;
use packet::PacketSocket;
use probing::Probing;
use responder::Responder;
use router::Solicitations;
use sender::Sender;
use socket::Service;

/// Datagrams that the kernel holds for us while a commit is on its way to disk.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// How DHCP is served.
#[derive(Clone, Debug)]
pub struct DhcpOptions {
    /// Interfaces to serve; empty means all that have an IPv4 address in a
    /// declared subnet, or are named by one.
    pub interfaces: Vec<String>,
    /// Port of the HTTP boot face, for the URLs given to clients.
    pub http_port: u16,
}

impl Default for DhcpOptions {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            http_port: 8080,
        }
    }
}

/// Why DHCP cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// Port 67 cannot be had.
    #[error(
        "listening for DHCP on port {port}; is another DHCP server running, or the right to bind ports below 1024 missing?"
    )]
    Listen {
        /// Port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread or its means could be had.
    #[error("starting the DHCP thread")]
    Thread(#[source] io::Error),
}

/// The running DHCP server; stops when dropped.
#[derive(Debug)]
pub struct DhcpServer {
    /// Dropping it wakes the thread up for its end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl DhcpServer {
    /// Stops and waits for the batch that is being answered.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the DHCP thread had panicked");
        }
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts serving DHCP on a thread of its own.
///
/// # Errors
/// When port 67 or a thread cannot be had.
pub fn spawn(
    farm: Arc<Farm>,
    leases: Arc<Leases>,
    events: Arc<dyn EventSink>,
    metrics: DhcpMetrics,
    options: DhcpOptions,
) -> Result<DhcpServer, DhcpError> {
    let mut sockets = vec![listen(SERVER_PORT).map_err(|source| DhcpError::Listen {
        port: SERVER_PORT,
        source,
    })?];
    // Only proxyDHCP clients come to this one; all else works without it.
    match listen(PXE_PORT) {
        Ok(socket) => sockets.push(socket),
        Err(error) => {
            tracing::warn!(port = PXE_PORT, %error, "proxyDHCP's second port is not served")
        }
    }
    let sockets: Arc<[UdpSocket]> = sockets.into();
    let sender = || {
        Sender {
        sockets: Arc::clone(&sockets),
        packets: PacketSocket::open()
            .inspect_err(|error| tracing::warn!(%error, "no packet socket; answers to clients without an address are broadcast"))
            .ok(),
        farm: Arc::clone(&farm),
        metrics: metrics.clone(),
        events: Arc::clone(&events),
    }
    };
    let solicitations = Solicitations::open()
        .inspect_err(|error| tracing::debug!(%error, "router solicitations are not answered"))
        .ok();
    let (stop, stopped) = UnixStream::pair().map_err(DhcpError::Thread)?;
    let committer = Committer::spawn(Arc::clone(&leases), sender()).map_err(DhcpError::Thread)?;
    let mut service = Service {
        sender: sender(),
        sockets,
        committer,
        stop: stopped,
        farm,
        leases,
        responder: Responder {
            http_port: options.http_port,
        },
        served: options.interfaces,
        interfaces: Interfaces::scan().map_err(DhcpError::Thread)?,
        scanned: clock::monotonic(),
        solicitations,
        checked: None,
        talk: Talk::default(),
        limits: Limits::default(),
        probing: Probing::open(),
    };
    service.listen_for_solicitations();
    let thread = std::thread::Builder::new().name("dhcp".to_owned());
    let thread = thread
        .spawn(move || service.run())
        .map_err(DhcpError::Thread)?;
    Ok(DhcpServer {
        stop: Some(stop),
        thread: Some(thread),
    })
}

fn listen(port: u16) -> io::Result<UdpSocket> {
    let socket = nix::sys::socket::socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // Beside a server that is bound to addresses or interfaces of its own.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    // The kernel gives what it allows; less is no reason to fail.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES);
    let any = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &any)?;
    Ok(UdpSocket::from(socket))
}
