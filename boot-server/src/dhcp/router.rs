//! "There is no IPv6 router here": answers to the router solicitations of our
//! own DHCP clients.
//!
//! iPXE configures IPv4 and IPv6 at the same time and goes on only when both
//! have come to an end; on a network without an IPv6 router it waits nineteen
//! seconds for one, each time it starts. A router advertisement with lifetime
//! 0, no flags and no prefix (RFC 4861 §4.2: "not a default router") ends that
//! wait and changes nothing else, on this host or the client.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use boot_proto::ids::MacAddr;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Neighbour discovery is believed only with this hop limit (RFC 4861 §6.1).
const HOP_LIMIT: i32 = 255;

/// An ICMPv6 socket that hears router solicitations.
#[derive(Debug)]
pub(super) struct Solicitations {
    /// A raw socket; the standard library's methods do for it what is needed.
    socket: UdpSocket,
    joined: BTreeSet<u32>,
}

/// One solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Solicitation {
    from: SocketAddr,
    /// Interface it came in on.
    pub interface: u32,
    /// MAC of the client.
    pub mac: MacAddr,
}

impl Solicitations {
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Inet6,
            SockType::Raw,
            flags,
            SockProtocol::IcmpV6,
        )?;
        setsockopt(&socket, sockopt::Ipv6Ttl, &HOP_LIMIT)?;
        Ok(Self {
            socket: UdpSocket::from(socket),
            joined: BTreeSet::new(),
        })
    }

    /// Listens on these interfaces, and forgets those that are gone.
    pub fn listen(&mut self, interfaces: impl Iterator<Item = u32>) {
        let interfaces: BTreeSet<u32> = interfaces.collect();
        self.joined.retain(|joined| interfaces.contains(joined));
        for interface in interfaces {
            // One without IPv6 has nobody on it who solicits.
            if !self.joined.contains(&interface)
                && self
                    .socket
                    .join_multicast_v6(&ALL_ROUTERS, interface)
                    .is_ok()
            {
                self.joined.insert(interface);
            }
        }
    }

    /// The next solicitation that tells who sent it; `None` when there is none.
    pub fn receive(&self) -> Option<Solicitation> {
        let mut buffer = [0; 256];
        loop {
            let (bytes, from) = self.socket.recv_from(&mut buffer).ok()?;
            let SocketAddr::V6(source) = from else {
                continue;
            };
            let mac = buffer.get(..bytes).and_then(solicitor);
            if let Some(mac) = mac.filter(|_| source.ip().is_unicast_link_local()) {
                return Some(Solicitation {
                    from,
                    interface: source.scope_id(),
                    mac,
                });
            }
        }
    }

    /// Tells the client that this is no router.
    pub fn answer(&self, solicitation: &Solicitation) -> io::Result<()> {
        // The kernel fills the checksum in.
        let mut advertisement = [0; 16];
        advertisement[0] = ROUTER_ADVERTISEMENT;
        self.socket
            .send_to(&advertisement, solicitation.from)
            .map(drop)
    }
}

impl AsFd for Solicitations {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The source link-layer address of a router solicitation.
fn solicitor(message: &[u8]) -> Option<MacAddr> {
    let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = message else {
        return None;
    };
    let mut rest = options;
    while let [kind, length, ..] = rest {
        let (option, next) = rest.split_at_checked(usize::from(*length) * 8)?;
        if let (SOURCE_LINK_LAYER_ADDRESS, [_, _, a, b, c, d, e, f]) = (*kind, option) {
            return Some(MacAddr::new([*a, *b, *c, *d, *e, *f])).filter(|mac| mac.is_usable());
        }
        if option.is_empty() {
            return None;
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_solicits() {
        let header = [133, 0, 0xaa, 0xbb, 0, 0, 0, 0];
        let mac = [1, 1, 0x52, 0x54, 0, 0xaa, 0, 1];
        let mtu = [5, 1, 0, 0, 0, 0, 5, 0xdc];
        let found = "52:54:00:aa:00:01".parse().ok();
        for (parts, expected) in [
            (&[&header[..], &mac[..]][..], found),
            (&[&header, &mtu, &mac], found),
            (&[&header], None),
            (&[&header, &mac[..7]], None),
            (&[&header, &[9, 0], &mac], None),
            (&[&[134], &header[1..], &mac], None),
        ] {
            assert_eq!(solicitor(&parts.concat()), expected, "{parts:?}");
        }
    }
}
