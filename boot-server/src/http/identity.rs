//! Who a request comes from: the address tells, by its lease or reservation;
//! what the client says of itself must fit and decides nothing.

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use boot_proto::ids::MacAddr;
use boot_proto::resources::DhcpMode;

use super::App;
use super::errors::Failure;
use super::peer::Peer;
use crate::inventory::{Assignment, Client, Inventory, Unassigned};
use crate::{clock, neighbours};

/// A client whose address tells its machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    /// What is decided for the machine.
    pub assignment: Assignment,
    /// MAC of the NIC that it boots from.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// `mac=` of the request.
    pub mac: Option<MacAddr>,
    /// `uuid=` of the request.
    pub uuid: Option<String>,
}

/// Why a client is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("only IPv4 clients can be told apart here")]
    NotIpv4,
    #[error(
        "nobody has {0} leased or reserved here; boot-server must have given the address, or see the client on one of its own links"
    )]
    NoLease(Ipv4Addr),
    #[error("{address} belongs to machine {machine}, and {claimed} is not one of its MACs")]
    Foreign {
        address: Ipv4Addr,
        machine: String,
        claimed: MacAddr,
    },
    #[error(
        "{address} is reserved for machine {machine}, and {seen}, which uses it, is not one of its MACs"
    )]
    Impostor {
        address: Ipv4Addr,
        machine: String,
        seen: MacAddr,
    },
    #[error(transparent)]
    Unassigned(#[from] Unassigned),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::FORBIDDEN, refusal.to_string())
    }
}

/// Who holds an address, by the records of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder<'a> {
    Mac(MacAddr),
    /// The address is reserved for the machine. Nobody has it leased, so that it
    /// matters whose MAC the kernel sees at it, where that is one of our links.
    Machine(&'a str, Option<MacAddr>),
}

/// Finds the client's machine and checks its claim against it. A refused claim
/// is logged.
pub(super) fn identify(
    app: &App,
    inventory: &Inventory,
    peer: Peer,
    claim: &Claim,
) -> Result<Identity, Refusal> {
    let address = peer.address().ok_or(Refusal::NotIpv4)?;
    let lease = app.leases.holder(address, clock::wall());
    let holder = holder(inventory, address, lease, || neighbours::mac_at(address));
    let decided = decide(inventory, address, holder, claim);
    match &decided {
        Err(Refusal::Foreign {
            machine, claimed, ..
        }) => {
            tracing::warn!(ip = %address, machine, mac = %claimed,
                "refused: the client claims a MAC of another machine than its address belongs to");
        }
        Err(Refusal::Impostor { machine, seen, .. }) => {
            tracing::warn!(ip = %address, machine, mac = %seen,
                "refused: the client uses an address that is reserved for another machine");
        }
        _ => {}
    }
    decided
}

/// The lease, else the reservation. On a network where another server gives the
/// addresses, what the kernel sees on the link.
fn holder<'a>(
    inventory: &'a Inventory,
    address: Ipv4Addr,
    lease: Option<MacAddr>,
    neighbour: impl FnOnce() -> Option<MacAddr>,
) -> Option<Holder<'a>> {
    if let Some(mac) = lease {
        return Some(Holder::Mac(mac));
    }
    if let Some(machine) = inventory.reservation_of(address) {
        return Some(Holder::Machine(machine, neighbour()));
    }
    let gives_addresses = inventory
        .subnet_of(address)
        .is_none_or(|subnet| subnet.spec.mode == DhcpMode::Full);
    if gives_addresses {
        return None;
    }
    neighbour().map(Holder::Mac)
}

fn decide(
    inventory: &Inventory,
    address: Ipv4Addr,
    holder: Option<Holder<'_>>,
    claim: &Claim,
) -> Result<Identity, Refusal> {
    let assignment = match holder.ok_or(Refusal::NoLease(address))? {
        Holder::Mac(mac) => inventory.assign(&Client {
            mac,
            uuid: claim.uuid.clone(),
        })?,
        Holder::Machine(name, seen) => {
            let assignment = inventory
                .assignment_of(name)
                .ok_or(Refusal::NoLease(address))?;
            // One declared by its slot alone may have MACs nobody knows yet.
            let macs = &assignment.macs;
            let impostor = seen.filter(|seen| !macs.is_empty() && !macs.contains(seen));
            if let Some(seen) = impostor {
                return Err(Refusal::Impostor {
                    address,
                    machine: assignment.machine,
                    seen,
                });
            }
            assignment
        }
    };
    let own = match holder {
        Some(Holder::Mac(mac)) => Some(mac),
        _ => assignment.macs.first().copied(),
    };
    let mac = match claim.mac {
        Some(claimed) if own == Some(claimed) || assignment.macs.contains(&claimed) => claimed,
        Some(claimed) => {
            return Err(Refusal::Foreign {
                address,
                machine: assignment.machine,
                claimed,
            });
        }
        None => own.ok_or(Refusal::NoLease(address))?,
    };
    Ok(Identity {
        assignment,
        mac,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::tests::declared;

    #[test]
    fn a_reserved_address_that_nobody_leased_is_not_for_whoever_takes_it() {
        let inventory = Inventory::new(
            declared(
                "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: lan}\n\
                 spec: {cidr: 10.0.0.0/24}\n---\n\
                 apiVersion: moonfarm.dev/v1alpha1\nkind: Machine\nmetadata: {name: one}\n\
                 spec: {macs: ['02:00:00:00:00:01'], address: 10.0.0.9}\n",
            ),
            Vec::new(),
        );
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let own = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let other = MacAddr::new([2, 0, 0, 0, 0, 2]);
        let ask = |seen: Option<MacAddr>| {
            let holder = holder(&inventory, address, None, || seen);
            decide(&inventory, address, holder, &Claim::default())
        };
        assert_eq!(ask(Some(own)).unwrap().assignment.machine, "one");
        // Behind a router the kernel sees nobody at the address itself.
        assert_eq!(ask(None).unwrap().mac, own);
        let refused = ask(Some(other)).unwrap_err().to_string();
        assert!(refused.contains("reserved for machine one"), "{refused}");
    }
}
