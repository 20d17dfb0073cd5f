//! Which address a machine may have, and why not another.

use std::net::Ipv4Addr;

use boot_proto::dhcp::code;
use boot_proto::resources::{AddressRange, Object, SubnetSpec};

use super::super::leases::{Lease, LeaseKind, LeaseTable};
use super::super::limits::Rate;
use super::{Exchange, Refusal, Why, link};
use crate::inventory::MatchedBy;

/// An address with what it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub address: Ipv4Addr,
    pub subnet: &'a Object<SubnetSpec>,
    pub kind: LeaseKind,
}

impl<'a> Exchange<'a> {
    /// The address to offer: reserved, had before, asked for, or any.
    pub(super) fn choose(&mut self, leases: &mut LeaseTable) -> Result<Choice<'a>, Why> {
        if let Some(reserved) = self.reservation() {
            if self.may_take_reservation(leases, reserved.address) {
                return Ok(reserved);
            }
            tracing::warn!(mac = %self.mac, ip = %reserved.address, machine = self.assignment.machine,
                "the reserved address is held by another client; a dynamic one is given meanwhile");
        }
        let before = self.had_before(leases).or_else(|| {
            let offered = leases.offer_to(self.mac, self.now)?;
            self.dynamic(leases, offered)
        });
        if let Some(choice) = before {
            return Ok(choice);
        }
        self.admit()?;
        if let Some(choice) = self.asked_for(leases) {
            return Ok(choice);
        }
        let first = self
            .subnets
            .first()
            .map(|subnet| subnet.name().to_owned())
            .unwrap_or_default();
        for subnet in &self.subnets {
            let ranges = &subnet.spec.ranges;
            let picked = leases.pick(ranges, self.mac, self.now, |address| {
                self.may_be_dynamic(address, subnet)
            });
            if let Some(address) = picked.or_else(|| self.offered_to_stranger(leases, subnet)) {
                return Ok(Choice {
                    address,
                    subnet,
                    kind: LeaseKind::Dynamic,
                });
            }
        }
        let has_range = self
            .subnets
            .iter()
            .any(|subnet| !subnet.spec.ranges.is_empty());
        Err(if has_range {
            Why::Exhausted(first)
        } else {
            Why::NoRange(first)
        })
    }

    /// Strangers get new addresses at a bounded rate only.
    fn admit(&mut self) -> Result<(), Why> {
        if self.assignment.matched != MatchedBy::CatchAll {
            return Ok(());
        }
        let Some(subnet) = self.subnets.first() else {
            return Ok(());
        };
        let port = self.message.options.has(code::RELAY_AGENT);
        let port = port.then(|| link::port(self.message));
        let limit = stranger_limit(&subnet.spec);
        let at = self.ingress.at;
        if self
            .limits
            .stranger(subnet.name(), limit, port.as_ref(), at)
        {
            Ok(())
        } else {
            Err(Why::TooManyStrangers(subnet.name().to_owned()))
        }
    }

    /// For a machine that is declared or was met before, where nothing is free:
    /// an address that was only offered, to a client that nobody knows.
    fn offered_to_stranger(
        &self,
        leases: &LeaseTable,
        subnet: &Object<SubnetSpec>,
    ) -> Option<Ipv4Addr> {
        if self.assignment.matched == MatchedBy::CatchAll {
            return None;
        }
        let ranges = &subnet.spec.ranges;
        leases.take_offer(ranges, self.mac, self.now, |address, to| {
            self.inventory.machine_of_mac(to).is_none() && self.may_be_dynamic(address, subnet)
        })
    }

    /// The machine's reserved address, where it lies on this link.
    pub(super) fn reservation(&self) -> Option<Choice<'a>> {
        let address = self.assignment.address?;
        let subnet = self.subnet_of(address)?;
        Some(Choice {
            address,
            subnet,
            kind: LeaseKind::Reserved,
        })
    }

    pub(super) fn subnet_of(&self, address: Ipv4Addr) -> Option<&'a Object<SubnetSpec>> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.spec.cidr.contains(&address))
    }

    /// Whether this NIC may have the machine's reserved address. Where another
    /// NIC of the same machine holds it, firmware and boot loaders take it
    /// over: while they run, the system that held it does not. A running
    /// system's second NIC does not.
    fn may_take_reservation(&self, leases: &LeaseTable, address: Ipv4Addr) -> bool {
        let Some(lease) = leases
            .get(address)
            .filter(|lease| lease.is_active(self.now))
        else {
            return true;
        };
        if lease.kind == LeaseKind::Declined {
            return false;
        }
        let is_same_machine = self.assignment.macs.contains(&lease.mac)
            || lease.machine.as_ref() == Some(&self.assignment.machine);
        lease.mac == self.mac || (is_same_machine && self.facts.is_booting())
    }

    /// The address this client holds or held last.
    fn had_before(&self, leases: &LeaseTable) -> Option<Choice<'a>> {
        let mut own: Vec<&Lease> = leases.of_mac(self.mac).collect();
        own.sort_by_key(|lease| {
            std::cmp::Reverse(
                lease
                    .expires
                    .unwrap_or(boot_proto::time::WallClock(u64::MAX)),
            )
        });
        own.iter()
            .find_map(|lease| self.dynamic(leases, lease.address))
    }

    fn asked_for(&self, leases: &LeaseTable) -> Option<Choice<'a>> {
        self.dynamic(leases, self.requested()?)
    }

    fn dynamic(&self, leases: &LeaseTable, address: Ipv4Addr) -> Option<Choice<'a>> {
        let subnet = self.subnet_of(address)?;
        let is_ok = is_in_range(subnet, address)
            && self.may_be_dynamic(address, subnet)
            && leases.is_free_for(address, self.mac, self.now);
        is_ok.then_some(Choice {
            address,
            subnet,
            kind: LeaseKind::Dynamic,
        })
    }

    /// Whether an address of a range may be given at all: it is not reserved,
    /// not the server's, the router's or a DNS server's, and no network or
    /// broadcast address.
    fn may_be_dynamic(&self, address: Ipv4Addr, subnet: &Object<SubnetSpec>) -> bool {
        let spec = &subnet.spec;
        let is_edge = spec.cidr.prefix_len() < 31
            && (address == spec.cidr.network() || address == spec.cidr.broadcast());
        let is_in_use = spec.gateway == Some(address)
            || spec.relay == Some(address)
            || spec.dns.contains(&address)
            || self.ingress.own.contains(&address)
            || self.message.giaddr == address;
        !is_edge && !is_in_use && self.inventory.reservation_of(address).is_none()
    }

    /// Whether an address may be granted, as RFC 2131 §4.3.2 has it for a
    /// client that selects or comes back.
    pub(super) fn check(
        &self,
        leases: &LeaseTable,
        address: Ipv4Addr,
    ) -> Result<Choice<'a>, Refusal> {
        let subnet = self
            .subnet_of(address)
            .ok_or(Refusal::WrongNetwork(address))?;
        if let Some(reserved) = self.reservation()
            && self.may_take_reservation(leases, reserved.address)
        {
            return if reserved.address == address {
                Ok(reserved)
            } else {
                Err(Refusal::HasReservation(reserved.address))
            };
        }
        self.check_dynamic(leases, address, subnet, false)
    }

    /// The same for a client that goes on with its address. Its lease goes on
    /// although the machine has another reservation by now or the range was
    /// moved: that takes effect with its next boot, not under a running node.
    pub(super) fn check_renewal(
        &self,
        leases: &LeaseTable,
        address: Ipv4Addr,
    ) -> Result<Choice<'a>, Refusal> {
        let subnet = self
            .subnet_of(address)
            .ok_or(Refusal::WrongNetwork(address))?;
        if let Some(reserved) = self
            .reservation()
            .filter(|reserved| reserved.address == address)
        {
            let is_held = leases
                .get(address)
                .is_some_and(|lease| lease.is_active(self.now) && lease.mac != self.mac);
            return if is_held {
                Err(Refusal::Taken(address))
            } else {
                Ok(reserved)
            };
        }
        self.check_dynamic(leases, address, subnet, true)
    }

    fn check_dynamic(
        &self,
        leases: &LeaseTable,
        address: Ipv4Addr,
        subnet: &'a Object<SubnetSpec>,
        is_renewal: bool,
    ) -> Result<Choice<'a>, Refusal> {
        let reserved_for = self.inventory.reservation_of(address);
        if reserved_for.is_some_and(|machine| machine != self.assignment.machine) {
            return Err(Refusal::Reserved(address));
        }
        let active = leases
            .get(address)
            .filter(|lease| lease.is_active(self.now));
        match active {
            Some(lease) if lease.kind == LeaseKind::Declined => {
                return Err(Refusal::Resting(address));
            }
            Some(lease) if lease.mac != self.mac => return Err(Refusal::Taken(address)),
            Some(_) if is_renewal => {
                return Ok(Choice {
                    address,
                    subnet,
                    kind: LeaseKind::Dynamic,
                });
            }
            _ => {}
        }
        if leases
            .offered_to(address, self.now)
            .is_some_and(|to| to != self.mac)
        {
            return Err(Refusal::Taken(address));
        }
        if reserved_for.is_some()
            || !is_in_range(subnet, address)
            || !self.may_be_dynamic(address, subnet)
        {
            return Err(Refusal::NoRange(address));
        }
        Ok(Choice {
            address,
            subnet,
            kind: LeaseKind::Dynamic,
        })
    }
}

fn is_in_range(subnet: &Object<SubnetSpec>, address: Ipv4Addr) -> bool {
    subnet
        .spec
        .ranges
        .iter()
        .any(|range| range.contains(address))
}

/// As declared, else three quarters of the ranges in a row, and a hundredth of
/// them each minute; a small range may be filled by the rack it is for.
fn stranger_limit(subnet: &SubnetSpec) -> Rate {
    let addresses: u64 = subnet.ranges.iter().map(AddressRange::count).sum();
    let share = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
    match subnet.strangers {
        Some(limit) => Rate {
            burst: limit.burst,
            per_minute: limit.per_minute,
        },
        None => Rate {
            burst: share(addresses / 4 * 3).max(256),
            per_minute: share(addresses / 100).max(4),
        },
    }
}
