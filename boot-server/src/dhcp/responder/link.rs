//! Which declared subnets a message comes from, and which address of ours
//! speaks to them.

use std::net::Ipv4Addr;

use boot_proto::dhcp::{Message, code, relay};
use boot_proto::resources::{DhcpMode, Object, SubnetSpec};

use super::{Exchange, Ingress, Why};
use crate::inventory::Inventory;

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
        (None, Some(giaddr)) => Err(Why::UnknownRelay(giaddr)),
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
        // its clients; then it says which link it means.
        return match link_selection(message) {
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
