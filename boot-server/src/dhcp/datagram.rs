//! Datagrams with the interface and address they came by: the raw calls.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg,
};

/// A datagram's way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub bytes: usize,
    pub source: SocketAddrV4,
    pub interface: u32,
    pub to: Ipv4Addr,
}

/// The next datagram; `None` when there is none now.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
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

/// Sends through an interface; 0 leaves the way to the routing table.
pub(super) fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddrV4,
    interface: u32,
) -> io::Result<()> {
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
