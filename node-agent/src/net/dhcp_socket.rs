//! Runs a [`DhcpClient`] over a UDP socket that is bound to one link.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use boot_proto::time::Monotonic;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use super::Link;
use crate::clock::{Clock, SystemClock, random_u32};
use crate::dhcp_client::{DhcpClient, Lease, Output, Renewal, Upkeep};
use crate::log::{Log, chain};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// Why a link has no lease.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The socket failed.
    #[error("asking for an address on {link}")]
    Socket {
        /// Name of the link.
        link: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Time is over.
    #[error("no address on {link} within {secs} s: {complaint}")]
    TimedOut {
        /// Name of the link.
        link: String,
        /// Seconds waited.
        secs: u64,
        /// What the servers said.
        complaint: String,
    },
}

/// Asks for an address.
pub trait Dhcp {
    /// Asks on `link`, which is up, for at most `patience`.
    ///
    /// # Errors
    /// When the socket fails or nobody gave an address in time.
    fn ask(&self, link: &Link, patience: Duration, clock: &dyn Clock) -> Result<Lease, DhcpError>;

    /// Keeps a lease that was given just now, from a thread of its own, until this
    /// program ends.
    fn keep(&self, link: &Link, lease: Lease, log: &Log);
}

/// [`Dhcp`] over the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct DhcpOverUdp;

impl Dhcp for DhcpOverUdp {
    fn ask(&self, link: &Link, patience: Duration, clock: &dyn Clock) -> Result<Lease, DhcpError> {
        let failed = |source| DhcpError::Socket {
            link: link.name.clone(),
            source,
        };
        let socket = open(&link.name).map_err(failed)?;
        let begin = clock.now();
        let end = begin.after(patience);
        let mut client = DhcpClient::new(link.mac, random_u32(), begin);
        let mut buffer = [0; 2048];
        loop {
            let now = clock.now();
            if now >= end {
                let complaint = client.complaint();
                let (link, secs) = (link.name.clone(), patience.as_secs());
                return Err(DhcpError::TimedOut {
                    link,
                    secs,
                    complaint,
                });
            }
            match client.poll(now) {
                Output::Bound(lease) => return Ok(lease),
                Output::Send(datagram) => {
                    send(&socket, &datagram, Ipv4Addr::BROADCAST).map_err(failed)?;
                }
                Output::WaitUntil(deadline) => {
                    let length = receive(&socket, &mut buffer, deadline.min(end), now);
                    if let Some(datagram) = buffer.get(..length.map_err(failed)?) {
                        client.handle(clock.now(), datagram);
                    }
                }
            }
        }
    }

    fn keep(&self, link: &Link, lease: Lease, log: &Log) {
        let now = SystemClock.now();
        let Some(renewal) = Renewal::new(link.mac, random_u32(), lease, now) else {
            return;
        };
        let (name, log_of_thread) = (link.name.clone(), log.clone());
        let started = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                if let Err(error) = keep(&name, renewal, &SystemClock, &log_of_thread) {
                    log_of_thread.warn(&format!("{name}: the lease is not renewed: {error}"));
                }
            });
        if let Err(error) = started {
            log.warn(&format!("the lease is not renewed: {}", chain(&error)));
        }
    }
}

/// Until the lease is lost. Not even then is the address taken away: the boot may be
/// all but over, and an image is checked whoever it came from.
fn keep(link: &str, mut renewal: Renewal, clock: &dyn Clock, log: &Log) -> io::Result<()> {
    let socket = open(link)?;
    let mut buffer = [0; 2048];
    loop {
        let now = clock.now();
        match renewal.poll(now) {
            Upkeep::Send { to, datagram } => send(&socket, &datagram, to)?,
            Upkeep::WaitUntil(deadline) => {
                let length = receive(&socket, &mut buffer, deadline, now)?;
                if renewal.handle(buffer.get(..length).unwrap_or_default()) {
                    log.info(&format!("{link}: the address is leased for longer"));
                }
            }
            Upkeep::Lost(why) => {
                let text =
                    format!("{link}: the address may be given to another machine now: {why}");
                log.warn(&text);
                return Ok(());
            }
        }
    }
}

/// A socket that sends from `0.0.0.0:68` out of one link, whatever the routes
/// say: there are none yet.
fn open(link: &str) -> io::Result<UdpSocket> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::Broadcast, &true)?;
    setsockopt(&socket, sockopt::BindToDevice, &link.into())?;
    let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd()), &any)?;
    Ok(UdpSocket::from(socket))
}

fn send(socket: &UdpSocket, datagram: &[u8], to: Ipv4Addr) -> io::Result<()> {
    match socket.send_to(datagram, SocketAddrV4::new(to, SERVER_PORT)) {
        Ok(_) => Ok(()),
        // The link lost its carrier for a moment, or its queue is full: the
        // next attempt is due in seconds anyway.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(
                    nix::libc::ENETDOWN
                        | nix::libc::ENETUNREACH
                        | nix::libc::EHOSTUNREACH
                        | nix::libc::ENOBUFS
                )
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Receives one datagram; none, and so length 0, when it is `until` first.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    until: Monotonic,
    now: Monotonic,
) -> io::Result<usize> {
    let wait = until.since(now).max(Duration::from_millis(1));
    socket.set_read_timeout(Some(wait))?;
    match socket.recv(buffer) {
        Ok(length) => Ok(length),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::NetworkDown
            ) =>
        {
            Ok(0)
        }
        Err(error) => Err(error),
    }
}
