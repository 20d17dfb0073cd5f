//! [`Links`] over rtnetlink.

use std::io;
use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;
use futures_util::TryStreamExt as _;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use super::{Address, Link, LinkError, Links};

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

impl Links for Netlink {
    fn list(&mut self) -> Result<Vec<Link>, LinkError> {
        let links = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect::<Vec<LinkMessage>>();
        let links = self.ask(|| "listing the links".to_owned(), links)?;
        Ok(links.iter().filter_map(ethernet_link).collect())
    }

    fn set_up(&mut self, link: &Link, up: bool) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(link.index);
        let change = if up { change.up() } else { change.down() };
        let request = self.handle.link().set(change.build()).execute();
        let state = if up { "up" } else { "down" };
        self.ask(|| format!("setting {} {state}", link.name), request)
    }

    fn add_address(&mut self, link: &Link, address: &Address) -> Result<(), LinkError> {
        if let Some(mtu) = address.mtu {
            let change = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
            let request = self.handle.link().set(change).execute();
            self.ask(
                || format!("setting the MTU of {} to {mtu}", link.name),
                request,
            )?;
        }
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

/// The link, if it is a NIC: an Ethernet device that is no bridge, bond, VLAN
/// or the like (those carry a kind, even where nobody asked for them).
fn ethernet_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    if !is_ethernet || flags.contains(LinkFlags::Loopback) || is_virtual(message) {
        return None;
    }
    let mut name = None;
    let mut mac = None;
    let mut has_carrier = flags.contains(LinkFlags::LowerUp);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Carrier(carrier) => has_carrier &= *carrier != 0,
            _ => {}
        }
    }
    Some(Link {
        index: message.header.index,
        name: name?,
        mac: MacAddr::new(mac?),
        is_up: flags.contains(LinkFlags::Up),
        has_carrier,
    })
}

fn is_virtual(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
            if infos.iter().any(|info| matches!(info, LinkInfo::Kind(_))))
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
    fn the_loopback_is_no_ethernet_link() {
        // Every Linux machine answers this without privileges.
        let links = Netlink::open().unwrap().list().unwrap();
        assert!(links.iter().all(|link| link.name != "lo"));
    }
}
