//! Subnets: their own sums, and that no two share an address.

use std::net::Ipv4Addr;

use super::forms;
use super::{Notes, Read, World};
use crate::manifest::node::path;
use crate::resources::{AddressRange, SubnetSpec};

/// Each subnet for itself.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    for subnet in world.subnets() {
        check_cidr(notes, subnet);
        check_gateway(notes, subnet);
        for (at, range) in subnet.spec().ranges.iter().enumerate() {
            check_range(notes, subnet, at, *range);
        }
        check_rest(notes, subnet);
    }
}

fn check_cidr(notes: &mut Notes, subnet: Read<'_, SubnetSpec>) {
    let cidr = subnet.spec().cidr;
    let path = path!["spec", "cidr"];
    if cidr.network() != cidr.addr() {
        let hint = format!("write the network's own address: {}", cidr.trunc());
        notes.add(
            subnet,
            &path,
            format!("{cidr} is an address in a network, not a network"),
            hint,
        );
    } else if cidr.prefix_len() > 30 || cidr.prefix_len() == 0 {
        notes.add(
            subnet,
            &path,
            format!("{cidr} has no room for machines, or is the whole Internet"),
            "write a prefix length from 1 to 30",
        );
    }
}

fn check_gateway(notes: &mut Notes, subnet: Read<'_, SubnetSpec>) {
    let spec = subnet.spec();
    let Some(gateway) = spec.gateway else { return };
    let path = path!["spec", "gateway"];
    if !subnet.is_sound(&path!["spec", "cidr"]) {
        return;
    }
    if !spec.cidr.contains(&gateway) {
        let message = format!("gateway {gateway} lies outside of {}", spec.cidr);
        notes.add(
            subnet,
            &path,
            message,
            "machines reach a gateway in their own network only",
        );
    } else if let Some(role) = special(spec, gateway) {
        notes.add(
            subnet,
            &path,
            format!("gateway {gateway} is the {role} of {}", spec.cidr),
            "write the router's own address",
        );
    }
}

/// What an address of the subnet is that no machine may have.
pub(super) fn special(spec: &SubnetSpec, address: Ipv4Addr) -> Option<&'static str> {
    if spec.cidr.prefix_len() > 30 {
        return None;
    }
    if address == spec.cidr.network() {
        Some("network address")
    } else if address == spec.cidr.broadcast() {
        Some("broadcast address")
    } else {
        None
    }
}

fn check_range(notes: &mut Notes, subnet: Read<'_, SubnetSpec>, at: usize, range: AddressRange) {
    let spec = subnet.spec();
    let (from, to) = (
        path!["spec", "ranges", at, "from"],
        path!["spec", "ranges", at, "to"],
    );
    if !subnet.is_sound(&from) || !subnet.is_sound(&to) {
        return;
    }
    if range.from > range.to {
        let message = format!(
            "the range begins at {} and ends before that, at {}",
            range.from, range.to
        );
        return notes.add(subnet, &from, message, "swap from and to");
    }
    if !subnet.is_sound(&path!["spec", "cidr"]) {
        return;
    }
    for (path, address) in [(&from, range.from), (&to, range.to)] {
        if !spec.cidr.contains(&address) {
            let message = format!("{address} lies outside of {}", spec.cidr);
            notes.add(
                subnet,
                path,
                message,
                format!(
                    "a range lies between {} and {}",
                    first_host(spec),
                    last_host(spec)
                ),
            );
        } else if let Some(role) = special(spec, address) {
            let message = format!("{address} is the {role} of {}", spec.cidr);
            notes.add(
                subnet,
                path,
                message,
                format!(
                    "a range lies between {} and {}",
                    first_host(spec),
                    last_host(spec)
                ),
            );
        }
    }
    if let Some(gateway) = spec.gateway.filter(|gateway| range.contains(*gateway)) {
        let message = format!("the range holds the gateway {gateway}");
        notes.add(
            subnet,
            &from,
            message,
            "its address would be given to a machine; begin after it or end before it",
        );
    }
}

fn first_host(spec: &SubnetSpec) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(spec.cidr.network()).saturating_add(1))
}

fn last_host(spec: &SubnetSpec) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(spec.cidr.broadcast()).saturating_sub(1))
}

fn check_rest(notes: &mut Notes, subnet: Read<'_, SubnetSpec>) {
    let spec = subnet.spec();
    if spec.lease_time.0 < 60 {
        let message = format!(
            "leases of {} keep clients renewing all the time",
            spec.lease_time
        );
        notes.add(
            subnet,
            &path!["spec", "leaseTime"],
            message,
            "write 60s or more",
        );
    }
    for (at, dns) in spec.dns.iter().enumerate() {
        if dns.is_unspecified() || dns.is_broadcast() || dns.is_multicast() {
            notes.add(
                subnet,
                &path!["spec", "dns", at],
                format!("{dns} is no server's address"),
                "",
            );
        }
    }
    for (at, domain) in spec.search.iter().enumerate() {
        if let Some(why) = crate::ids::name_mistake(domain) {
            notes.add(
                subnet,
                &path!["spec", "search", at],
                format!("search domain {domain:?}: {why}"),
                "",
            );
        }
    }
    if let Some(interface) = &spec.interface
        && !forms::is_interface(interface)
    {
        let message = format!("{interface:?} is no name of an interface");
        notes.add(
            subnet,
            &path!["spec", "interface"],
            message,
            "1 to 15 characters without blanks, '/' and ':'",
        );
    }
    forms::check_dhcp_options(notes, subnet, &spec.dhcp_options);
}

/// Ranges that share addresses, and subnets that do.
pub(super) fn check_overlaps(world: &World<'_>, notes: &mut Notes) {
    let subnets: Vec<Read<'_, SubnetSpec>> = world
        .subnets()
        .filter(|subnet| subnet.is_sound(&path!["spec", "cidr"]))
        .collect();
    for (at, subnet) in subnets.iter().enumerate() {
        for other in &subnets[..at] {
            let (one, two) = (subnet.spec().cidr, other.spec().cidr);
            if one.contains(&two.network()) || two.contains(&one.network()) {
                let message = format!(
                    "{one} overlaps {two} of Subnet {:?} at {}",
                    other.name(),
                    other.line(&path!["spec", "cidr"])
                );
                notes.add(
                    *subnet,
                    &path!["spec", "cidr"],
                    message,
                    "an address belongs to one subnet; make one of them smaller",
                );
            }
        }
    }
    let mut seen: Vec<(AddressRange, Read<'_, SubnetSpec>, usize)> = Vec::new();
    for subnet in world.subnets() {
        for (at, range) in subnet.spec().ranges.iter().enumerate() {
            let from = path!["spec", "ranges", at, "from"];
            if !subnet.is_sound(&from)
                || !subnet.is_sound(&path!["spec", "ranges", at, "to"])
                || range.from > range.to
            {
                continue;
            }
            let overlapping = seen
                .iter()
                .find(|(other, ..)| range.from <= other.to && other.from <= range.to);
            if let Some((other, of, index)) = overlapping {
                let line = of.line(&path!["spec", "ranges", *index, "from"]);
                let message = format!(
                    "the range {}–{} overlaps {}–{} of Subnet {:?} at {line}",
                    range.from,
                    range.to,
                    other.from,
                    other.to,
                    of.name()
                );
                notes.add(
                    subnet,
                    &from,
                    message,
                    "an address would be given twice; make one of them smaller",
                );
            }
            seen.push((*range, subnet, at));
        }
    }
}
