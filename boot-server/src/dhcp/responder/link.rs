//! Which declared subnets a message comes from, and which address of ours
//! speaks to them.

use std::net::Ipv4Addr;

use boot_proto::dhcp::{Message, code, relay};
use boot_proto::resources::{DhcpMode, Object, SubnetSpec};

use super::super::limits::Port;
use super::{Exchange, Ingress, Why};
use crate::inventory::{Assignment, Client, Inventory, MatchedBy};

/// The subnets of the link a message was sent on, those of the strongest mode
/// alone: a network served in full is not also served as proxy.
pub(super) fn subnets<'a>(
    inventory: &'a Inventory,
    ingress: &Ingress,
    message: &Message,
) -> Result<(DhcpMode, Vec<&'a Object<SubnetSpec>>), Why> {
    let mut found = on_link(inventory, ingress, message);
    for mode in [DhcpMode::Full, DhcpMode::Proxy] {
        if found.iter().any(|subnet| subnet.spec.mode == mode) {
            found.retain(|subnet| subnet.spec.mode == mode);
            return Ok((mode, found));
        }
    }
    match (found.first(), message.relay()) {
        (Some(subnet), _) => Err(Why::ModeOff(subnet.name().to_owned())),
        (None, Some(giaddr)) => Err(
            match link_selection(message).or_else(|| subnet_selection(message)) {
                Some(selected) => Why::UnknownSelection(selected),
                None => Why::UnknownRelay(giaddr),
            },
        ),
        (None, None) => Err(Why::UnknownLink(ingress.interface.to_string())),
    }
}

fn on_link<'a>(
    inventory: &'a Inventory,
    ingress: &Ingress,
    message: &Message,
) -> Vec<&'a Object<SubnetSpec>> {
    let holding = |address: Ipv4Addr| {
        inventory
            .subnets()
            .filter(move |subnet| subnet.spec.cidr.contains(&address))
    };
    if let Some(giaddr) = message.relay() {
        // RFC 3527: the relay's own address may be on another network than
        // its clients; then it says which link it means, or the client does
        // (RFC 3011). The relay's word comes first (RFC 3527 §3).
        return match link_selection(message).or_else(|| subnet_selection(message)) {
            Some(link) => holding(link).collect(),
            None => inventory
                .subnets()
                .filter(|subnet| {
                    subnet.spec.relay == Some(giaddr) || subnet.spec.cidr.contains(&giaddr)
                })
                .collect(),
        };
    }
    let link: Vec<_> = inventory
        .subnets()
        .filter(|subnet| is_on(ingress, &subnet.spec))
        .collect();
    // Without a relay a client may choose among the networks of its own link
    // alone: whoever could name any would empty the ranges of all.
    if let Some(wanted) = subnet_selection(message) {
        let on_it = |subnet: &&&Object<SubnetSpec>| subnet.spec.cidr.contains(&wanted);
        let chosen: Vec<_> = link.iter().filter(on_it).copied().collect();
        if !chosen.is_empty() {
            return chosen;
        }
    }
    let has = |subnet: &&Object<SubnetSpec>| subnet.spec.cidr.contains(&message.ciaddr);
    // A client that renews sends unicast, through routers where need be, and
    // no relay adds giaddr (RFC 2131 §4.3.2).
    let is_routed = ingress.local.is_some() && !message.ciaddr.is_unspecified();
    if is_routed && !link.iter().any(has) {
        return holding(message.ciaddr).collect();
    }
    link
}

fn is_on(ingress: &Ingress, subnet: &SubnetSpec) -> bool {
    match &subnet.interface {
        Some(interface) => **interface == *ingress.interface,
        None => ingress
            .networks
            .iter()
            .any(|network| subnet.cidr.contains(&network.addr())),
    }
}

/// The network that the client itself asks for an address of (RFC 3011).
pub(super) fn subnet_selection(message: &Message) -> Option<Ipv4Addr> {
    message.options.address(code::SUBNET_SELECTION)
}

fn link_selection(message: &Message) -> Option<Ipv4Addr> {
    sub_option_address(message, relay::LINK_SELECTION)
}

/// Server identifier that the relay wants clients to see (RFC 5107), so that
/// renewals go through it too.
pub(super) fn server_id_override(message: &Message) -> Option<Ipv4Addr> {
    message.relay()?;
    sub_option_address(message, relay::SERVER_ID_OVERRIDE)
}

fn sub_option_address(message: &Message, sub_option: u8) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = message
        .options
        .sub_option(code::RELAY_AGENT, sub_option)?
        .try_into()
        .ok()?;
    Some(Ipv4Addr::from(octets)).filter(|address| !address.is_unspecified())
}

/// Which machine a client is: the one on its relay port, else the one that has
/// its MAC or UUID, else the one that has its client identifier.
///
/// A machine that is bound to a port renews its lease past the relay, by unicast
/// (RFC 2131 §4.3.2), and nothing then tells the port: `holds` says whether the
/// lease is its own.
pub(super) fn assignment(
    inventory: &Inventory,
    message: &Message,
    client: &Client,
    holds: impl FnOnce(&str) -> bool,
) -> Result<Assignment, Why> {
    let port = message
        .options
        .has(code::RELAY_AGENT)
        .then(|| port(message));
    let on_port = port.and_then(|port| inventory.machine_of_port(&port.circuit, &port.remote));
    let as_machine = |machine: &str, by| inventory.assign_as(machine, by, client);
    if let Some(found) = on_port.and_then(|machine| as_machine(machine, MatchedBy::RelayPort)) {
        return Ok(found);
    }
    let assigned = inventory.assign(client);
    let is_stranger = |found: &Assignment| found.matched == MatchedBy::CatchAll;
    let by_id = || {
        let id = message.options.get(code::CLIENT_ID)?;
        as_machine(inventory.machine_of_client_id(id)?, MatchedBy::ClientId)
    };
    let assigned = match assigned {
        Ok(found) if !is_stranger(&found) => found,
        other => match by_id() {
            Some(found) => found,
            None => other?,
        },
    };
    let is_past_relay = !message.options.has(code::RELAY_AGENT) && message.relay().is_none();
    if inventory.is_bound_to_port(&assigned.machine) && !(is_past_relay && holds(&assigned.machine))
    {
        return Err(Why::OtherPort(assigned.machine));
    }
    Ok(assigned)
}

/// The relay port a message came through.
pub(super) fn port(message: &Message) -> Port {
    let part = |inner| {
        let part = message.options.sub_option(code::RELAY_AGENT, inner);
        part.unwrap_or_default().to_vec()
    };
    Port {
        relay: message.giaddr,
        circuit: part(relay::CIRCUIT_ID),
        remote: part(relay::REMOTE_ID),
    }
}

impl Exchange<'_> {
    /// The address of ours that clients of `subnet` reach: the one they wrote
    /// to, else the one in their subnet, else the interface's first.
    pub(super) fn server_address(&self, subnet: &SubnetSpec) -> Result<Ipv4Addr, Why> {
        let addresses = || self.ingress.networks.iter().map(ipnet::Ipv4Net::addr);
        let in_subnet = addresses().find(|address| subnet.cidr.contains(address));
        let is_direct = self.message.relay().is_none();
        in_subnet
            .filter(|_| is_direct)
            .or(self.ingress.local)
            .or(in_subnet)
            .or_else(|| addresses().next())
            .ok_or_else(|| Why::NoServerAddress(self.ingress.interface.to_string()))
    }
}
