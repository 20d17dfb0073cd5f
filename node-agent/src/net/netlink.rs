//! [`Links`] over rtnetlink.

use std::io;
use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;
use boot_proto::resources::{BondMode, BondSpec};
use futures_util::TryStreamExt as _;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use rtnetlink::{Handle, LinkBond, LinkMessageBuilder, LinkUnspec, LinkVlan, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use super::diff::LinkChange;
use super::{Address, Link, LinkError, Links};

/// How often a bond looks at the carrier of its ports, in milliseconds, where
/// nobody says; the driver's own default is never.
const DEFAULT_MIIMON: u32 = 100;

/// The links of the running kernel. Its runtime lives on the calling thread
/// and only turns while a request is under way.
#[derive(Debug)]
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens a netlink socket.
    ///
    /// # Errors
    /// When the kernel has none to give.
    pub fn open() -> Result<Self, LinkError> {
        let error = |source| LinkError {
            what: "opening a netlink socket".to_owned(),
            source,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(error)?;
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().map_err(error)?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    fn ask<T>(
        &self,
        what: impl Fn() -> String,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, LinkError> {
        self.runtime.block_on(request).map_err(|error| LinkError {
            what: what(),
            source: io::Error::other(error.to_string()),
        })
    }
}

impl Netlink {
    fn index_of(&mut self, name: &str) -> Result<u32, LinkError> {
        let found = self.all()?.into_iter().find(|link| link.name == name);
        found.map(|link| link.index).ok_or_else(|| LinkError {
            what: format!("looking for the link {name}"),
            source: io::Error::from(io::ErrorKind::NotFound),
        })
    }
}

/// A bond that is down and has no ports. Options that the mode does not know
/// are left out, as the driver would refuse the whole bond.
fn bond_message(name: &str, options: &BondSpec) -> LinkMessage {
    let mut bond = LinkMessageBuilder::<LinkBond>::new(name).mode(options.mode.number().into());
    // ARP and MII monitors exclude each other.
    if options.watches_by_arp() && options.mode.takes_arp() {
        bond = bond.arp_interval(options.arp_interval.unwrap_or_default());
        if !options.arp_targets.is_empty() {
            bond = bond.arp_ip_target(options.arp_targets.clone());
        }
        if let Some(validate) = options.arp_validate {
            bond = bond.arp_validate(u32::from(validate.number()).into());
        }
        if let Some(all) = options.arp_all_targets {
            bond = bond.arp_all_targets(u32::from(all.number()).into());
        }
    } else {
        bond = bond.miimon(options.miimon.unwrap_or(DEFAULT_MIIMON));
        if let Some(delay) = options.up_delay {
            bond = bond.updelay(delay);
        }
        if let Some(delay) = options.down_delay {
            bond = bond.downdelay(delay);
        }
        // The driver counts it by its looks at the carrier, and refuses it without.
        if let Some(delay) = options.peer_notify_delay {
            bond = bond.peer_notif_delay(delay);
        }
    }
    if let Some(policy) = options.transmit_hash_policy {
        bond = bond.xmit_hash_policy(policy.number().into());
    }
    if let Some(count) = options.min_links {
        bond = bond.min_links(count);
    }
    bond = of_some_modes(bond, options);
    if options.mode == BondMode::Lacp {
        bond = lacp(bond, options);
    }
    bond.build()
}

/// Options of LACP, which other modes refuse.
fn lacp(
    mut bond: LinkMessageBuilder<LinkBond>,
    options: &BondSpec,
) -> LinkMessageBuilder<LinkBond> {
    if let Some(rate) = options.lacp_rate {
        bond = bond.ad_lacp_rate(rate.number().into());
    }
    if let Some(select) = options.ad_select {
        bond = bond.ad_select(select.number().into());
    }
    if let Some(priority) = options.ad_actor_system_priority {
        bond = bond.ad_actor_sys_prio(priority);
    }
    if let Some(system) = options.ad_actor_system {
        bond = bond.ad_actor_system(system.octets());
    }
    if let Some(key) = options.ad_user_port_key {
        bond = bond.ad_user_port_key(key);
    }
    bond
}

/// Options that only some modes know, and those about what a change of ports tells
/// the network.
fn of_some_modes(
    mut bond: LinkMessageBuilder<LinkBond>,
    options: &BondSpec,
) -> LinkMessageBuilder<LinkBond> {
    let mode = options.mode;
    if let Some(reselect) = options.primary_reselect.filter(|_| mode.has_primary()) {
        bond = bond.primary_reselect(reselect.number().into());
    }
    if let Some(choice) = options.fail_over_mac {
        bond = bond.fail_over_mac(choice.number().into());
    }
    if let Some(count) = options.gratuitous_arp {
        bond = bond.num_peer_notif(count);
    }
    if let Some(count) = options.resend_igmp {
        bond = bond.resend_igmp(count.into());
    }
    if let Some(secs) = options.learn_packet_interval {
        bond = bond.lp_interval(secs);
    }
    let dynamic = options.dynamic_load_balancing;
    if let Some(dynamic) = dynamic.filter(|_| mode.balances_by_load()) {
        bond = bond.tlb_dynamic_lb(dynamic);
    }
    let packets = options.packets_per_port;
    if let Some(packets) = packets.filter(|_| mode == BondMode::BalanceRr) {
        bond = bond.packets_per_port(packets.into());
    }
    if let Some(all) = options.all_ports_active {
        bond = bond.all_ports_active(u8::from(all).into());
    }
    bond
}

fn set_mac(message: &mut LinkMessage, mac: Option<MacAddr>) {
    if let Some(mac) = mac {
        let address = LinkAttribute::Address(mac.octets().to_vec());
        message.attributes.push(address);
    }
}

impl Links for Netlink {
    fn all(&mut self) -> Result<Vec<Link>, LinkError> {
        let links = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect::<Vec<LinkMessage>>();
        let links = self.ask(|| "listing the links".to_owned(), links)?;
        Ok(links.iter().filter_map(ethernet_link).collect())
    }

    fn change(&mut self, change: &LinkChange) -> Result<(), LinkError> {
        let what = || change.to_string();
        let request = match change {
            LinkChange::CreateBond { name, options, mac } => {
                let mut message = bond_message(name, options);
                set_mac(&mut message, *mac);
                return self.ask(what, self.handle.link().add(message).execute());
            }
            LinkChange::CreateVlan {
                name,
                link,
                id,
                mac,
            } => {
                let below = self.index_of(link)?;
                let mut message = LinkVlan::new(name, below, *id).build();
                set_mac(&mut message, *mac);
                return self.ask(what, self.handle.link().add(message).execute());
            }
            LinkChange::Enslave { port, bond } => {
                let bond = self.index_of(bond)?;
                LinkUnspec::new_with_index(self.index_of(port)?)
                    .controller(bond)
                    .build()
            }
            LinkChange::Primary { bond, port } => {
                let port = self.index_of(port)?;
                let builder = LinkMessageBuilder::<LinkBond>::new(bond);
                builder.index(self.index_of(bond)?).primary(port).build()
            }
            LinkChange::Mtu { name, mtu } => LinkUnspec::new_with_index(self.index_of(name)?)
                .mtu(*mtu)
                .build(),
            LinkChange::Up { name, up } => {
                let change = LinkUnspec::new_with_index(self.index_of(name)?);
                if *up {
                    change.up().build()
                } else {
                    change.down().build()
                }
            }
        };
        self.ask(what, self.handle.link().set(request).execute())
    }

    fn set_up(&mut self, link: &Link, up: bool) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(link.index);
        let change = if up { change.up() } else { change.down() };
        let request = self.handle.link().set(change.build()).execute();
        let state = if up { "up" } else { "down" };
        self.ask(|| format!("setting {} {state}", link.name), request)
    }

    fn add_address(&mut self, link: &Link, address: &Address) -> Result<(), LinkError> {
        let own = address.address;
        let add = self
            .handle
            .address()
            .add(link.index, own.into(), address.prefix);
        let what = || format!("giving {} the address {own}/{}", link.name, address.prefix);
        self.ask(what, add.replace().execute())?;
        let Some(gateway) = address.gateway else {
            return Ok(());
        };
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(link.index);
        // A gateway outside the own prefix is usual with /32 addresses.
        if !is_within(gateway, own, address.prefix) {
            route = route.onlink();
        }
        let add = self.handle.route().add(route.build()).replace().execute();
        self.ask(|| format!("adding the default route by {gateway}"), add)
    }

    fn flush_addresses(&mut self, link: &Link) -> Result<(), LinkError> {
        let what = || format!("taking the addresses from {}", link.name);
        let addresses = self
            .handle
            .address()
            .get()
            .set_link_index_filter(link.index)
            .execute()
            .try_collect::<Vec<AddressMessage>>();
        for address in self.ask(what, addresses)? {
            self.ask(what, self.handle.address().del(address).execute())?;
        }
        Ok(())
    }
}

fn is_within(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::from(boot_proto::cmdline::netmask(prefix));
    u32::from(address) & mask == u32::from(network) & mask
}

/// The link, if it is an Ethernet device. One that is no NIC has a kind, even
/// where nobody asked for it.
fn ethernet_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    if !is_ethernet || flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let mut name = None;
    let mut mac = None;
    let mut permanent = None;
    let mut has_carrier = flags.contains(LinkFlags::LowerUp);
    let (mut master, mut mtu, mut kind) = (None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            // A port of a bond has the bond's address as its own.
            LinkAttribute::PermAddress(bytes) => {
                permanent = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            LinkAttribute::Controller(index) => master = Some(*index).filter(|index| *index > 0),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::LinkInfo(infos) => kind = kind_of(infos),
            LinkAttribute::Carrier(carrier) => has_carrier &= *carrier != 0,
            _ => {}
        }
    }
    Some(Link {
        index: message.header.index,
        name: name?,
        mac: permanent
            .map(MacAddr::new)
            .filter(|mac| mac.is_usable())
            .or(mac.map(MacAddr::new))?,
        is_up: flags.contains(LinkFlags::Up),
        has_carrier,
        kind,
        master,
        mtu,
    })
}

fn kind_of(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_inside_or_outside_the_prefix() {
        let own = Ipv4Addr::new(10, 0, 0, 5);
        assert!(is_within(Ipv4Addr::new(10, 0, 0, 1), own, 24));
        assert!(!is_within(Ipv4Addr::new(10, 0, 0, 1), own, 32));
        assert!(is_within(Ipv4Addr::new(9, 9, 9, 9), own, 0));
    }

    #[test]
    fn what_a_mode_does_not_know_is_not_said() {
        let mut options = BondSpec {
            mode: BondMode::Lacp,
            ad_actor_system_priority: Some(7),
            ad_actor_system: Some(MacAddr::new([2, 0, 0, 0, 0, 9])),
            ad_user_port_key: Some(1023),
            peer_notify_delay: Some(200),
            ..BondSpec::default()
        };
        let said = |options: &BondSpec| format!("{:?}", bond_message("bond0", options));
        let words = [
            "AdActorSysPrio(7)",
            "AdActorSystem([2, 0, 0, 0, 0, 9])",
            "AdUserPortKey(1023)",
            "PeerNotifDelay(200)",
        ];
        for word in words {
            assert!(said(&options).contains(word), "{}", said(&options));
        }
        options.mode = BondMode::ActiveBackup;
        options.arp_interval = Some(100);
        options.arp_targets = vec![Ipv4Addr::LOCALHOST];
        for word in words {
            assert!(!said(&options).contains(word), "{}", said(&options));
        }
    }

    #[test]
    fn the_loopback_is_no_ethernet_link() {
        // Every Linux machine answers this without privileges.
        let links = Netlink::open().unwrap().list().unwrap();
        assert!(links.iter().all(|link| link.name != "lo"));
    }
}
