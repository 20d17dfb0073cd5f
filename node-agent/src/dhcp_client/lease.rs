//! What a server gave.

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::cmdline::prefix_of;
use boot_proto::dhcp::{Message, Options, code};

/// Least MTU that is believed. RFC 2132 §5.1 allows 68; no boot works with so
/// little, and IPv4 wants 576.
const LEAST_MTU: u16 = 576;
/// A lease without end (RFC 2131 §3.3).
const FOR_EVER: u32 = u32::MAX;

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Own address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Default gateway, from option 121 or 3.
    pub gateway: Option<Ipv4Addr>,
    /// Server identifier, option 54.
    pub server: Ipv4Addr,
    /// MTU, option 26.
    pub mtu: Option<u16>,
    /// How long it may be used, and when to ask for more; `None` is for ever.
    pub times: Option<Times>,
}

/// Times since the request that was granted (RFC 2131 §4.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// T1: the server is asked for more.
    pub renew: Duration,
    /// T2: any server is asked.
    pub rebind: Duration,
    /// The end.
    pub end: Duration,
}

impl Lease {
    /// What an ACK says. Options that make no sense are as if they were not there.
    pub(super) fn of(ack: &Message, server: Ipv4Addr) -> Self {
        let options = &ack.options;
        let mask = options.number32(code::SUBNET_MASK).map(Ipv4Addr::from);
        let prefix = mask.and_then(prefix_of);
        Self {
            address: ack.yiaddr,
            prefix: prefix.unwrap_or_else(|| prefix_by_class(ack.yiaddr)),
            gateway: gateway_of(options),
            server,
            mtu: options.number16(code::MTU).filter(|mtu| *mtu >= LEAST_MTU),
            times: times_of(options),
        }
    }
}

fn times_of(options: &Options) -> Option<Times> {
    let secs = |code| options.number32(code).map(u64::from);
    let end = options
        .number32(code::LEASE_TIME)
        .filter(|secs| *secs != FOR_EVER)?;
    let end = u64::from(end);
    // Half, and seven eighths, where the server leaves it to us; in order always.
    let rebind = secs(code::REBINDING_T2).unwrap_or(end - end / 8).min(end);
    let renew = secs(code::RENEWAL_T1).unwrap_or(end / 2).min(rebind);
    Some(Times {
        renew: Duration::from_secs(renew),
        rebind: Duration::from_secs(rebind),
        end: Duration::from_secs(end),
    })
}

/// Option 121 wins over 3 where both are present (RFC 3442).
fn gateway_of(options: &Options) -> Option<Ipv4Addr> {
    let routes = options.get(code::CLASSLESS_ROUTES).and_then(routes);
    let usable = |gateway: &Ipv4Addr| !gateway.is_unspecified();
    if let Some(routes) = routes {
        let default = routes.into_iter().find(|(prefix, _)| *prefix == 0);
        return default.map(|(_, gateway)| gateway).filter(usable);
    }
    let routers = options.get(code::ROUTER).unwrap_or_default();
    let (routers, _) = routers.as_chunks::<4>();
    routers.iter().map(|octets| (*octets).into()).find(usable)
}

/// Prefix lengths and gateways of option 121; `None` where it is not one.
fn routes(mut octets: &[u8]) -> Option<Vec<(u8, Ipv4Addr)>> {
    let mut found = Vec::new();
    while let [prefix, rest @ ..] = octets {
        // Of the destination only the octets that the prefix covers are there.
        let covered = usize::from(prefix.div_ceil(8));
        let (gateway, rest) = rest.get(covered..)?.split_first_chunk::<4>()?;
        if *prefix > 32 {
            return None;
        }
        found.push((*prefix, (*gateway).into()));
        octets = rest;
    }
    Some(found)
}

/// The prefix of a server that sends no mask (RFC 2131 §4.4.1 leaves it to the
/// host, which has the classes of RFC 791 to go by).
fn prefix_by_class(address: Ipv4Addr) -> u8 {
    let [first, ..] = address.octets();
    match first {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}
