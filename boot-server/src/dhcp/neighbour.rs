//! Entries in the kernel's neighbour table, for clients that do not answer ARP
//! because they do not have their address yet (RFC 2131 §4.1 wants replies
//! unicast to their hardware address).
//!
//! One `RTM_NEWNEIGH` message of rtnetlink(7), written by hand: the socket
//! stays blocking-free and no async runtime is needed.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use boot_proto::ids::MacAddr;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const RTM_NEWNEIGH: u16 = 28;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE`
const FLAGS: u16 = 0x1 | 0x4 | 0x100 | 0x400;
const AF_INET: u8 = 2;
/// Believed for half a minute or so, then asked for again as any other.
const NUD_REACHABLE: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const HEADER_BYTES: usize = 16;

/// Writes neighbour entries.
#[derive(Debug)]
pub(super) struct Neighbours {
    socket: OwnedFd,
}

impl Neighbours {
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self { socket })
    }

    /// Says that `address` is at `mac` on the interface.
    pub fn set(&self, interface: u32, address: Ipv4Addr, mac: MacAddr) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(
            self.socket.as_raw_fd(),
            &message(interface, address, mac),
            &kernel,
            MsgFlags::empty(),
        )?;
        // The kernel has answered by the time the message is sent.
        let mut answer = [0; 512];
        let bytes = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let error = answer
            .get(..bytes)
            .and_then(|answer| answer.get(HEADER_BYTES..HEADER_BYTES + 4));
        match error
            .and_then(|error| error.try_into().ok())
            .map(i32::from_ne_bytes)
        {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
            None => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

fn message(interface: u32, address: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    let mut body = Vec::with_capacity(48);
    // struct ndmsg
    body.extend_from_slice(&[AF_INET, 0, 0, 0]);
    body.extend_from_slice(&interface.to_ne_bytes());
    body.extend_from_slice(&NUD_REACHABLE.to_ne_bytes());
    body.extend_from_slice(&[0, 0]);
    attribute(&mut body, NDA_DST, &address.octets());
    attribute(&mut body, NDA_LLADDR, &mac.octets());
    // struct nlmsghdr
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&RTM_NEWNEIGH.to_ne_bytes());
    bytes.extend_from_slice(&FLAGS.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&body);
    bytes
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_message_as_the_kernel_reads_it() {
        let mac: MacAddr = "94:57:a5:d3:ec:f2".parse().unwrap();
        let bytes = message(3, Ipv4Addr::new(10, 0, 0, 9), mac);
        let expected = concat!(
            "30000000",
            "1c00",
            "0505",
            "00000000",
            "00000000",
            "02000000",
            "03000000",
            "0200",
            "0000",
            "0800",
            "0100",
            "0a000009",
            "0a00",
            "0200",
            "9457a5d3ecf2",
            "0000"
        );
        assert_eq!(hex::encode(bytes), expected);
    }
}
