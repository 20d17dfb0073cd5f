//! ICMP echo: asks an address whether somebody uses it already. What comes
//! back is given as addresses; whom to ask, and for how long, is
//! [`super::probe`]'s.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::packet::checksum;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Tells our probes from other programs' pings.
const IDENTIFIER: [u8; 2] = *b"mf";

/// A raw ICMP socket; needs CAP_NET_RAW.
#[derive(Debug)]
pub(super) struct Echo {
    /// The standard library's methods do for a raw socket what is needed.
    socket: UdpSocket,
}

impl Echo {
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            flags,
            SockProtocol::Icmp,
        )?;
        Ok(Self {
            socket: UdpSocket::from(socket),
        })
    }

    /// Asks.
    pub fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let mut message = vec![ECHO_REQUEST, 0, 0, 0];
        message.extend(IDENTIFIER);
        message.extend([0, 1]);
        message.extend(b"is this address in use?");
        let sum = checksum(&[&message]);
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        self.socket.send_to(&message, (address, 0)).map(drop)
    }

    /// The next address that answered us; `None` when there is none now.
    pub fn answered(&self) -> Option<Ipv4Addr> {
        let mut buffer = [0; 1500];
        loop {
            let (bytes, from) = self.socket.recv_from(&mut buffer).ok()?;
            if let (SocketAddr::V4(from), true) =
                (from, is_answer(buffer.get(..bytes).unwrap_or_default()))
            {
                return Some(*from.ip());
            }
        }
    }
}

impl AsFd for Echo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a packet, with its IP header, is the answer to a probe of ours.
fn is_answer(packet: &[u8]) -> bool {
    let Some(first) = packet.first() else {
        return false;
    };
    let header = usize::from(first & 0x0f) * 4;
    let icmp = packet.get(header..).unwrap_or_default();
    matches!(icmp, [ECHO_REPLY, 0, _, _, a, b, ..] if [*a, *b] == IDENTIFIER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_other_packets() {
        let ip = |icmp: &[u8]| [&[0x45; 20][..], icmp].concat();
        assert!(is_answer(&ip(b"\x00\x00\x12\x34mf\x00\x01")));
        for other in [
            &b"\x08\x00\x12\x34mf\x00\x01"[..],
            b"\x00\x00\x12\x34xx\x00\x01",
            b"\x03",
            b"",
        ] {
            assert!(!is_answer(&ip(other)));
        }
        assert!(!is_answer(&[]));
        assert!(!is_answer(&[0x4f]));
    }
}
