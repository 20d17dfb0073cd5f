//! Unicast to a client that has no address yet and answers no ARP (RFC 2131
//! §4.1): the whole Ethernet frame is written here and sent on a packet socket.
//!
//! That needs CAP_NET_RAW alone. An entry in the kernel's neighbour table would
//! need CAP_NET_ADMIN, and would stay behind for a client that may never come.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, OwnedFd};

use boot_proto::ids::MacAddr;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const UDP: u8 = 17;
const IP_HEADER_BYTES: u16 = 20;
const UDP_HEADER_BYTES: u16 = 8;
const TTL: u8 = 64;

/// Sends frames.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: OwnedFd,
}

/// Where frames can go out: interfaces with an Ethernet address, by index.
pub(super) type Links = BTreeMap<u32, LinkAddr>;

impl PacketSocket {
    pub fn open() -> io::Result<Self> {
        // Without a protocol it hears nothing.
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        Ok(Self { socket })
    }

    /// Sends a UDP datagram to a MAC on a link.
    pub fn send(
        &self,
        link: &LinkAddr,
        mac: MacAddr,
        (from, to): (SocketAddrV4, SocketAddrV4),
        payload: &[u8],
    ) -> io::Result<()> {
        let own = link
            .addr()
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let frame = frame(mac.octets(), own, from, to, payload)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        sendto(
            self.socket.as_raw_fd(),
            &frame,
            link,
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(())
    }
}

fn frame(
    to_mac: [u8; 6],
    from_mac: [u8; 6],
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_bytes = u16::try_from(payload.len())
        .ok()?
        .checked_add(UDP_HEADER_BYTES)?;
    let ip_bytes = udp_bytes.checked_add(IP_HEADER_BYTES)?;
    let mut udp = Vec::with_capacity(usize::from(udp_bytes));
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(udp_bytes.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend_from_slice(payload);
    let ends = [from.ip().octets(), to.ip().octets()].concat();
    let [high, low] = udp_bytes.to_be_bytes();
    let pseudo = [&ends[..], &[0, UDP, high, low]].concat();
    // A sum of zero would say that there is none (RFC 768).
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp.get_mut(6..8)?.copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend(ip_bytes.to_be_bytes());
    // No identification, no fragments.
    ip.extend([0, 0, 0x40, 0, TTL, UDP, 0, 0]);
    ip.extend_from_slice(&ends);
    let sum = checksum(&[&ip]);
    ip.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some([&to_mac[..], &from_mac, &ETHERTYPE_IPV4, &ip, &udp].concat())
}

/// The Internet checksum (RFC 1071); all parts but the last are of even length.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                [high] => u16::from_be_bytes([*high, 0]),
                _ => 0,
            };
            sum = sum.wrapping_add(u32::from(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The links of this host, for frames.
pub(super) fn links() -> io::Result<Links> {
    let entries = nix::ifaddrs::getifaddrs()?;
    let links = entries.filter_map(|entry| {
        let link = *entry.address?.as_link_addr()?;
        Some((u32::try_from(link.ifindex()).ok()?, link))
    });
    Ok(links.collect())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_frame_as_a_client_reads_it() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 50), 68);
        let frame = frame([1; 6], [2; 6], from, to, b"abc").unwrap();
        assert_eq!(frame[..14], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0]);
        assert_eq!(frame.len(), 14 + 20 + 8 + 3);
        // A receiver sums header and checksum up to nothing.
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let pseudo = [&frame[26..34], &[0, 17, 0, 11]].concat();
        assert_eq!(checksum(&[&pseudo, &frame[34..]]), 0);
        assert_eq!(frame[34..38], [0, 67, 0, 68]);
        assert!(super::frame([1; 6], [2; 6], from, to, &vec![0; 70_000]).is_none());
    }
}
