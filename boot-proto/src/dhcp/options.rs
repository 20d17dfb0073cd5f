//! DHCP options as bytes by code, read leniently and written within a limit.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::DhcpOptionIterator;

/// Option codes (RFC 2132 and those named).
pub mod code {
    #![allow(missing_docs, reason = "the names are the registry's")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const RENEWAL_T1: u8 = 58;
    pub const REBINDING_T2: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4578.
    pub const CLIENT_ARCH: u8 = 93;
    /// RFC 4578.
    pub const CLIENT_NDI: u8 = 94;
    /// RFC 4578.
    pub const CLIENT_UUID: u8 = 97;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    /// RFC 3397.
    pub const DOMAIN_SEARCH: u8 = 119;
    /// RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
    /// iPXE's encapsulated options.
    pub const IPXE: u8 = 175;
}

/// Sub-options of relay agent information (82).
pub mod relay {
    /// Circuit the client hangs on (RFC 3046 §3.1).
    pub const CIRCUIT_ID: u8 = 1;
    /// The far end of that circuit (RFC 3046 §3.2).
    pub const REMOTE_ID: u8 = 2;
    /// Address in the client's subnet, where giaddr is not (RFC 3527).
    pub const LINK_SELECTION: u8 = 5;
    /// Address that clients shall take for the server (RFC 5107).
    pub const SERVER_ID_OVERRIDE: u8 = 11;
}

const PAD: u8 = 0;
const END: u8 = 255;

/// The order options are written in, and the order in which they matter when
/// space runs out; what is not named follows by code.
const FIRST: [u8; 18] = [
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::LEASE_TIME,
    code::SUBNET_MASK,
    code::ROUTER,
    code::VENDOR_CLASS,
    code::BOOT_FILE,
    code::TFTP_SERVER,
    code::VENDOR,
    code::CLIENT_UUID,
    code::CLIENT_ID,
    code::RENEWAL_T1,
    code::REBINDING_T2,
    code::DNS,
    code::HOSTNAME,
    code::DOMAIN,
    code::BROADCAST,
    code::MESSAGE,
];

/// How many of [`FIRST`] no client can do without: relay agent information that
/// leaves them no room is left out instead.
const ESSENTIAL: usize = 5;

/// Options by code. An option that comes in parts is one (RFC 3396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Adds what an option field holds. Parts of one option are joined even
    /// where others lie between them; an option cut off by the field's end is
    /// dropped.
    pub fn read(&mut self, field: &[u8]) {
        for option in DhcpOptionIterator::new(field) {
            self.0
                .entry(option.code().into())
                .or_default()
                .extend_from_slice(option.data());
        }
    }

    /// Sets an option.
    pub fn put(&mut self, code: u8, value: Vec<u8>) {
        if code != PAD && code != END {
            self.0.insert(code, value);
        }
    }

    /// Sets an option made of addresses.
    pub fn put_addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            self.put(code, addresses.iter().flat_map(Ipv4Addr::octets).collect());
        }
    }

    /// Sets an option made of one 32-bit number.
    pub fn put_number32(&mut self, code: u8, value: u32) {
        self.put(code, value.to_be_bytes().to_vec());
    }

    /// Copies an option from another message, where that has it.
    pub fn copy(&mut self, code: u8, from: &Self) {
        if let Some(value) = from.get(code) {
            self.put(code, value.to_vec());
        }
    }

    /// An option's bytes.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// Removes an option.
    pub fn remove(&mut self, code: u8) {
        self.0.remove(&code);
    }

    /// Whether the option is there.
    #[must_use]
    pub fn has(&self, code: u8) -> bool {
        self.0.contains_key(&code)
    }

    /// Codes and bytes by rising code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.0.iter().map(|(code, value)| (*code, value.as_slice()))
    }

    /// The first byte of an option.
    #[must_use]
    pub fn first(&self, code: u8) -> Option<u8> {
        self.get(code)?.first().copied()
    }

    /// An option of exactly two bytes as a number.
    #[must_use]
    pub fn number16(&self, code: u8) -> Option<u16> {
        self.get(code)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// An option of exactly four bytes as a number.
    #[must_use]
    pub fn number32(&self, code: u8) -> Option<u32> {
        self.get(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// An option of exactly four bytes as an address; 0.0.0.0 is none.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.number32(code)
            .map(Ipv4Addr::from)
            .filter(|address| !address.is_unspecified())
    }

    /// Whether the client asks for an option (55). One without a list asks for all.
    #[must_use]
    pub fn requests(&self, code: u8) -> bool {
        self.get(code::PARAMETER_LIST)
            .is_none_or(|list| list.contains(&code))
    }

    /// A sub-option of an option that holds options, such as 82 or 175.
    #[must_use]
    pub fn sub_option(&self, outer: u8, inner: u8) -> Option<&[u8]> {
        let mut rest = self.get(outer)?;
        while let [code, length, tail @ ..] = rest {
            let (value, next) = tail.split_at_checked(usize::from(*length))?;
            if *code == inner {
                return Some(value);
            }
            rest = next;
        }
        None
    }

    /// Writes the options and the end mark, `bytes` never growing beyond
    /// `limit` except for what is in it already. Relay agent information that
    /// does not fit whole is not sent at all (RFC 3046 §2.2). Returns the codes of
    /// what was left out.
    pub(super) fn write(&self, bytes: &mut Vec<u8>, limit: usize) -> Vec<u8> {
        let mut omitted = Vec::new();
        let encoded = |code: u8| {
            self.get(code)
                .map(|value| encoded(code, value))
                .unwrap_or_default()
        };
        let mut relay = encoded(code::RELAY_AGENT);
        let essential = FIRST.iter().take(ESSENTIAL);
        let essential: usize = essential.map(|code| encoded(*code).len()).sum();
        if bytes.len() + essential + relay.len() + 1 > limit {
            relay.clear();
            omitted.extend(self.has(code::RELAY_AGENT).then_some(code::RELAY_AGENT));
        }
        // Room for the relay's option and the end mark.
        let room = limit.saturating_sub(relay.len() + 1);
        let rest = self
            .0
            .keys()
            .filter(|code| !FIRST.contains(code) && **code != code::RELAY_AGENT);
        for code in FIRST.iter().chain(rest) {
            let option = encoded(*code);
            if bytes.len() + option.len() <= room {
                bytes.extend_from_slice(&option);
            } else if !option.is_empty() {
                omitted.push(*code);
            }
        }
        bytes.extend_from_slice(&relay);
        bytes.push(END);
        omitted
    }
}

/// One option with code and length, in parts of 255 bytes (RFC 3396).
fn encoded(code: u8, value: &[u8]) -> Vec<u8> {
    if value.is_empty() {
        return vec![code, 0];
    }
    let mut bytes = Vec::with_capacity(value.len() + 2);
    for part in value.chunks(255) {
        bytes.push(code);
        bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(part);
    }
    bytes
}
