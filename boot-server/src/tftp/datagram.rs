//! Datagrams in and out of the sockets: with the address of ours that was
//! asked, and whole windows in one call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, getsockopt, recvmsg, sendmsg,
    setsockopt, sockopt,
};

/// Room for any request and for what is too long to be one.
pub(super) const RECEIVE_BYTES: usize = 1024;
/// What one call may hand over: less than a UDP datagram's largest size.
const BATCH_BYTES: usize = 61_440;
/// Datagrams that one call may hand over, by any kernel that can do it.
const BATCH_DATAGRAMS: usize = 64;
/// Room for requests of a whole rack that come at once.
const RECEIVE_BUFFER: usize = 4 << 20;
/// What is taken for the MTU where the kernel does not tell.
const USUAL_MTU: usize = 1500;

/// Opens `count` sockets on one port, among which the kernel shares the clients.
pub(super) fn listen(address: SocketAddrV4, count: usize) -> io::Result<Vec<UdpSocket>> {
    // The first is bound alone, so that a second server finds the port taken.
    let first = UdpSocket::bind(address)?;
    let bound = match first.local_addr()? {
        std::net::SocketAddr::V4(bound) => bound,
        std::net::SocketAddr::V6(_) => address,
    };
    setsockopt(&first, sockopt::ReusePort, &true)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(join(bound)?);
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        // The larger room takes a capability; the other is what anybody gets.
        let _ = setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
            .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER));
    }
    Ok(sockets)
}

fn join(address: SocketAddrV4) -> io::Result<UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, socket};
    let fd = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(fd.into())
}

/// A socket for one transfer: clients take DATA only from the address they asked.
pub(super) fn open(local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The MTU towards the peer of a connected socket.
pub(super) fn mtu(socket: &UdpSocket) -> usize {
    getsockopt(socket, sockopt::IpMtu)
        .ok()
        .and_then(|mtu| usize::try_from(mtu).ok())
        .unwrap_or(USUAL_MTU)
}

/// A datagram that came to a listening socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Bytes at the beginning of the buffer.
    pub bytes: usize,
    /// Who sent it.
    pub peer: SocketAddrV4,
    /// The address of ours that it was sent to.
    pub local: Ipv4Addr,
}

/// Takes one datagram, or none where there is none.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut space = nix::cmsg_space!(in_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = match recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    ) {
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
        }
        _ => None,
    });
    Ok(message.address.map(|peer| Received {
        bytes: message.bytes,
        peer: SocketAddrV4::new(peer.ip(), peer.port()),
        local: local.unwrap_or(Ipv4Addr::UNSPECIFIED),
    }))
}

/// The way to one client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// A socket of the transfer's own, connected to the client.
    Own(&'a UdpSocket),
    /// The one port of all: to the peer, from the address that was asked.
    Shared(&'a UdpSocket, SocketAddrV4, Ipv4Addr),
}

impl Way<'_> {
    /// Sends one datagram.
    pub(super) fn send(self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Own(socket) => socket.send(datagram).map(drop),
            Self::Shared(..) => self.send_control(datagram, None),
        }
    }

    /// Sends datagrams of `segment` bytes each, the last perhaps shorter. What
    /// the kernel cannot split goes out one by one, then and from then on.
    pub(super) fn send_all(
        self,
        datagrams: &[u8],
        segment: usize,
        can_split: &mut bool,
    ) -> io::Result<()> {
        if datagrams.len() <= segment {
            return self.send(datagrams);
        }
        let whole = (BATCH_BYTES / segment).clamp(1, BATCH_DATAGRAMS);
        let split = u16::try_from(segment).ok().filter(|_| whole > 1);
        for batch in datagrams.chunks(segment.saturating_mul(whole)) {
            if let (Some(split), true) = (split, *can_split) {
                match self.send_control(batch, Some(split)) {
                    Err(error) if cannot_split(&error) => *can_split = false,
                    sent => {
                        sent?;
                        continue;
                    }
                }
            }
            for datagram in batch.chunks(segment) {
                self.send(datagram)?;
            }
        }
        Ok(())
    }

    fn send_control(self, bytes: &[u8], split: Option<u16>) -> io::Result<()> {
        let (socket, peer, local) = match self {
            Self::Own(socket) => (socket, None, None),
            Self::Shared(socket, peer, local) => {
                (socket, Some(SockaddrIn::from(peer)), Some(local))
            }
        };
        let source = local.filter(|local| !local.is_unspecified()).map(|local| {
            let from = in_addr {
                s_addr: u32::from(local).to_be(),
            };
            in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: from,
                ipi_addr: from,
            }
        });
        let control: [Option<ControlMessage<'_>>; 2] = [
            split.as_ref().map(ControlMessage::UdpGsoSegments),
            source.as_ref().map(ControlMessage::Ipv4PacketInfo),
        ];
        let (slices, flags) = ([IoSlice::new(bytes)], MsgFlags::empty());
        let fd = socket.as_raw_fd();
        match control {
            [Some(one), Some(other)] => {
                sendmsg(fd, &slices, &[one, other], flags, peer.as_ref())?;
            }
            [Some(one), None] | [None, Some(one)] => {
                sendmsg(fd, &slices, &[one], flags, peer.as_ref())?;
            }
            [None, None] => {
                sendmsg(fd, &slices, &[], flags, peer.as_ref())?;
            }
        }
        Ok(())
    }
}

/// Whether the kernel or the link does not do UDP segmentation (Linux 4.18 has
/// it, but for some tunnels), rather than having no room.
fn cannot_split(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EINVAL | Errno::EIO | Errno::EOPNOTSUPP | Errno::EMSGSIZE)
    )
}
