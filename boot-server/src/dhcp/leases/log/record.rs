//! One lease as bytes. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use super::super::{Lease, LeaseKind};

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// All that older files say is void: begins a merged file.
const FORGET_ALL: u8 = 3;
const NEVER: u64 = u64::MAX;

/// A record of a kind that is not known here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownKind(pub u8);

pub(super) fn put(out: &mut Vec<u8>, lease: &Lease) {
    out.push(PUT);
    out.extend_from_slice(&lease.address.octets());
    out.extend_from_slice(&lease.mac.octets());
    out.push(match lease.kind {
        LeaseKind::Reserved => 0,
        LeaseKind::Dynamic => 1,
        LeaseKind::Declined => 2,
    });
    out.extend_from_slice(&lease.since.0.to_le_bytes());
    let expires = lease.expires.map_or(NEVER, |at| at.0);
    out.extend_from_slice(&expires.to_le_bytes());
    text(out, &lease.subnet);
    text(out, lease.machine.as_deref().unwrap_or_default());
}

pub(super) fn delete(out: &mut Vec<u8>, address: Ipv4Addr) {
    out.push(DELETE);
    out.extend_from_slice(&address.octets());
}

pub(super) fn forget_all(out: &mut Vec<u8>) {
    out.push(FORGET_ALL);
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Names have 253 letters at most.
    let bytes = text.as_bytes();
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(bytes.iter().take(usize::from(length)));
}

/// Applies the records of a frame.
pub(super) fn apply(
    mut body: &[u8],
    leases: &mut BTreeMap<Ipv4Addr, Lease>,
) -> Result<(), UnknownKind> {
    while let Some((kind, rest)) = body.split_first() {
        body = match *kind {
            PUT => {
                let (lease, rest) = read(rest).ok_or(UnknownKind(PUT))?;
                leases.insert(lease.address, lease);
                rest
            }
            DELETE => {
                let (octets, rest) = rest.split_first_chunk::<4>().ok_or(UnknownKind(DELETE))?;
                leases.remove(&Ipv4Addr::from(*octets));
                rest
            }
            FORGET_ALL => {
                leases.clear();
                rest
            }
            other => return Err(UnknownKind(other)),
        };
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Option<(Lease, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<4>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (kind, rest) = rest.split_first()?;
    let (since, rest) = rest.split_first_chunk()?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (subnet, rest) = read_text(rest)?;
    let (machine, rest) = read_text(rest)?;
    let kind = match kind {
        0 => LeaseKind::Reserved,
        1 => LeaseKind::Dynamic,
        2 => LeaseKind::Declined,
        _ => return None,
    };
    let expires = u64::from_le_bytes(*expires);
    let lease = Lease {
        address: Ipv4Addr::from(*address),
        mac: MacAddr::new(*mac),
        machine: (!machine.is_empty()).then_some(machine),
        subnet,
        kind,
        since: WallClock(u64::from_le_bytes(*since)),
        expires: (expires != NEVER).then_some(WallClock(expires)),
    };
    Some((lease, rest))
}

fn read_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}
