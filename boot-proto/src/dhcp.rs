//! DHCP messages as boot-server and its tests see them: the dhcproto crate's
//! header and constants, with options kept as bytes.
//!
//! dhcproto's own option decoder gives a whole message up for one option it
//! dislikes (a host name that is not UTF-8, an odd architecture list) and
//! leaves option overload (52) aside. Firmware sends both, so options are read
//! leniently here, and each accessor judges its own option alone.

mod client;
mod options;

use std::net::Ipv4Addr;

pub use dhcproto::v4::MessageType;
use dhcproto::v4::{self, Encodable as _};

use crate::ids::MacAddr;
pub use client::{AGENT_CLASS, ClientFacts, IpxeFeatures, identifier_bytes, uuid_text};
pub use options::{Options, code, relay};

/// Port of servers and relay agents.
pub const SERVER_PORT: u16 = v4::SERVER_PORT;
/// Port of clients.
pub const CLIENT_PORT: u16 = v4::CLIENT_PORT;
/// Port of PXE boot servers and of a proxyDHCP service's second step (PXE 2.1 §2.2.3).
pub const PXE_PORT: u16 = 4011;
/// Longest message that is read; no network boots with longer ones.
pub const MAX_MESSAGE_BYTES: usize = 9000;
/// Least length of a reply: BOOTP's fixed 300 octets (RFC 1542 §2.1); some PXE
/// ROMs and relays drop anything shorter.
pub const MIN_REPLY_BYTES: usize = v4::MIN_PACKET_SIZE;

const HEADER_BYTES: usize = 240;
const IP_UDP_HEADER_BYTES: usize = 28;
/// What every client takes: an IP datagram of 576 octets (RFC 2131 §2).
const LEAST_DATAGRAM_BYTES: u16 = 576;
const ETHERNET_MTU_BYTES: u16 = 1500;
const HTYPE_ETHERNET: u8 = 1;
const BROADCAST_FLAG: u16 = 0x8000;

/// Why a datagram is no DHCP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not even a BOOTP header and the cookie.
    #[error("{0} bytes are too few for a DHCP message")]
    Short(usize),
    /// Longer than any client sends.
    #[error("{0} bytes are too many for a DHCP message")]
    Long(usize),
    /// The magic cookie (RFC 2131 §3) is missing: not DHCP, perhaps old BOOTP.
    #[error("the magic cookie is missing")]
    Cookie,
    /// `hlen` says more than `chaddr` holds.
    #[error("a hardware address of {0} octets does not fit into chaddr")]
    HardwareLength(u8),
    /// `op` is neither request nor reply.
    #[error("op {0} is neither request nor reply")]
    Op(u8),
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// From a client or its relay.
    Request,
    /// From a server.
    Reply,
}

/// A DHCP message. Field names are those of RFC 2131 §2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request or reply.
    pub op: Op,
    /// Hardware type; 1 is Ethernet.
    pub htype: u8,
    /// Length of the hardware address in octets, at most 16.
    pub hlen: u8,
    /// Relays passed so far.
    pub hops: u8,
    /// Transaction.
    pub xid: u32,
    /// Seconds the client has been trying.
    pub secs: u16,
    /// Flags; see [`Message::wants_broadcast`].
    pub flags: u16,
    /// Address the client has and answers on.
    pub ciaddr: Ipv4Addr,
    /// Address given to the client.
    pub yiaddr: Ipv4Addr,
    /// Server of the next step (TFTP).
    pub siaddr: Ipv4Addr,
    /// Relay agent.
    pub giaddr: Ipv4Addr,
    /// Hardware address, padded with zeros.
    pub chaddr: [u8; 16],
    /// Server host name; empty where the field holds options instead.
    pub sname: Vec<u8>,
    /// Boot file name; empty where the field holds options instead.
    pub file: Vec<u8>,
    /// Options, those of overloaded fields included.
    pub options: Options,
}

impl Message {
    /// An empty request of one NIC.
    #[must_use]
    pub fn request(mac: MacAddr, xid: u32, message_type: MessageType) -> Self {
        let mut chaddr = [0; 16];
        for (to, from) in chaddr.iter_mut().zip(mac.octets()) {
            *to = from;
        }
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, vec![message_type.into()]);
        Self {
            op: Op::Request,
            htype: HTYPE_ETHERNET,
            hlen: 6,
            hops: 0,
            xid,
            secs: 0,
            flags: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: Vec::new(),
            file: Vec::new(),
            options,
        }
    }

    /// An empty reply to this request: what RFC 2131 §4.3.1 (table 3) says is
    /// copied from the request is copied.
    #[must_use]
    pub fn reply(&self, message_type: MessageType) -> Self {
        let mut options = Options::default();
        options.put(code::MESSAGE_TYPE, vec![message_type.into()]);
        Self {
            op: Op::Reply,
            hops: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: Vec::new(),
            file: Vec::new(),
            options,
            ..*self
        }
    }

    /// Reads a UDP payload.
    ///
    /// # Errors
    /// When it is no DHCP message at all. Options that end early are kept as
    /// far as they go.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() > MAX_MESSAGE_BYTES {
            return Err(Malformed::Long(datagram.len()));
        }
        let header =
            v4::borrowed::Message::new(datagram).map_err(|_| Malformed::Short(datagram.len()))?;
        if datagram.get(HEADER_BYTES - 4..HEADER_BYTES) != Some(v4::MAGIC.as_slice()) {
            return Err(Malformed::Cookie);
        }
        if header.hlen() > 16 {
            return Err(Malformed::HardwareLength(header.hlen()));
        }
        let op = match header.opcode() {
            v4::Opcode::BootRequest => Op::Request,
            v4::Opcode::BootReply => Op::Reply,
            v4::Opcode::Unknown(op) => return Err(Malformed::Op(op)),
        };
        let field = |from: usize, to: usize| datagram.get(from..to).unwrap_or_default();
        let mut chaddr = [0; 16];
        for (to, from) in chaddr
            .iter_mut()
            .zip(field(28, 28 + usize::from(header.hlen())))
        {
            *to = *from;
        }
        let mut options = Options::default();
        options.read(field(HEADER_BYTES, datagram.len()));
        // RFC 3396 §5: the option field first, then file, then sname.
        let overload = options.first(code::OVERLOAD).unwrap_or(0);
        if overload & 1 != 0 {
            options.read(field(108, 236));
        }
        if overload & 2 != 0 {
            options.read(field(44, 108));
        }
        let text = |bytes: &[u8], is_overloaded: bool| {
            if is_overloaded {
                Vec::new()
            } else {
                bytes.to_vec()
            }
        };
        Ok(Self {
            op,
            htype: header.htype().into(),
            hlen: header.hlen(),
            hops: header.hops(),
            xid: header.xid(),
            secs: header.secs(),
            flags: header.flags().into(),
            ciaddr: header.ciaddr(),
            yiaddr: header.yiaddr(),
            siaddr: header.siaddr(),
            giaddr: header.giaddr(),
            chaddr,
            sname: text(header.sname(), overload & 2 != 0),
            file: text(header.fname(), overload & 1 != 0),
            options,
        })
    }

    /// The message as a UDP payload of at most `limit` bytes, padded to
    /// BOOTP's least length. What does not fit is left out, least important
    /// options first; relay agent information always comes last (RFC 3046 §2.1).
    #[must_use]
    pub fn encode(&self, limit: usize) -> Vec<u8> {
        self.encode_telling(limit).0
    }

    /// As [`Message::encode`], with the codes of the options that were left out.
    #[must_use]
    pub fn encode_telling(&self, limit: usize) -> (Vec<u8>, Vec<u8>) {
        let mut header = v4::Message::new_with_id(
            self.xid,
            self.ciaddr,
            self.yiaddr,
            self.siaddr,
            self.giaddr,
            &self.chaddr,
        );
        header
            .set_opcode(match self.op {
                Op::Request => v4::Opcode::BootRequest,
                Op::Reply => v4::Opcode::BootReply,
            })
            .set_htype(self.htype.into())
            .set_hops(self.hops)
            .set_secs(self.secs)
            .set_flags(self.flags.into())
            .set_sname(
                self.sname
                    .get(..64.min(self.sname.len()))
                    .unwrap_or_default(),
            )
            .set_fname(
                self.file
                    .get(..128.min(self.file.len()))
                    .unwrap_or_default(),
            );
        let mut bytes = Vec::with_capacity(limit.min(1500));
        // Writing into memory, with fields cut to length above, cannot fail.
        let _ = header.encode(&mut v4::Encoder::new(&mut bytes));
        if let Some(hlen) = bytes.get_mut(2) {
            *hlen = self.hlen;
        }
        let omitted = self.options.write(&mut bytes, limit);
        if bytes.len() < MIN_REPLY_BYTES {
            bytes.resize(MIN_REPLY_BYTES, 0);
        }
        (bytes, omitted)
    }

    /// Largest UDP payload the client takes (option 57, which counts the IP
    /// and UDP headers as RFC 2131 §2 does), within 576 and an Ethernet frame.
    #[must_use]
    pub fn max_payload_bytes(&self) -> usize {
        let datagram = self
            .options
            .number16(code::MAX_MESSAGE_SIZE)
            .unwrap_or(LEAST_DATAGRAM_BYTES);
        usize::from(datagram.clamp(LEAST_DATAGRAM_BYTES, ETHERNET_MTU_BYTES)) - IP_UDP_HEADER_BYTES
    }

    /// Message type, option 53; a BOOTP message has none.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        self.options
            .first(code::MESSAGE_TYPE)
            .map(MessageType::from)
    }

    /// The client's Ethernet address, where it is one that can be one NIC's.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        let [a, b, c, d, e, f, ..] = self.chaddr;
        let mac = MacAddr::new([a, b, c, d, e, f]);
        (self.htype == HTYPE_ETHERNET && self.hlen == 6 && mac.is_usable()).then_some(mac)
    }

    /// Whether replies must be broadcast: the client cannot take unicast IP
    /// before it has its address (RFC 2131 §4.1).
    #[must_use]
    pub const fn wants_broadcast(&self) -> bool {
        self.flags & BROADCAST_FLAG != 0
    }

    /// Sets the broadcast flag, as a NAK to a relay must (RFC 2131 §4.3.2).
    pub const fn set_broadcast(&mut self) {
        self.flags |= BROADCAST_FLAG;
    }

    /// Relay agent, where there is one.
    #[must_use]
    pub fn relay(&self) -> Option<Ipv4Addr> {
        (!self.giaddr.is_unspecified()).then_some(self.giaddr)
    }
}

#[cfg(test)]
mod tests;
