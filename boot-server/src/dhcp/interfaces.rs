//! The host's network interfaces and their IPv4 addresses, as the kernel has
//! them now.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::packet::{self, Links};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub name: Arc<str>,
    pub networks: Arc<[Ipv4Net]>,
}

/// All interfaces that have an IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interfaces {
    pub by_index: BTreeMap<u32, Interface>,
    /// Where whole frames can go out.
    pub links: Links,
    /// All addresses of this host.
    pub own: Arc<[Ipv4Addr]>,
}

impl Interfaces {
    /// Asks the kernel.
    pub fn scan() -> std::io::Result<Self> {
        let mut networks: BTreeMap<String, Vec<Ipv4Net>> = BTreeMap::new();
        for entry in nix::ifaddrs::getifaddrs()? {
            let address = entry
                .address
                .as_ref()
                .and_then(|address| address.as_sockaddr_in());
            let netmask = entry
                .netmask
                .as_ref()
                .and_then(|mask| mask.as_sockaddr_in());
            let (Some(address), Some(netmask)) = (address, netmask) else {
                continue;
            };
            if let Ok(network) = Ipv4Net::with_netmask(address.ip(), netmask.ip()) {
                // An address with a label has the name `eth0:label`.
                let name = entry
                    .interface_name
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                networks.entry(name).or_default().push(network);
            }
        }
        let own = networks.values().flatten().map(Ipv4Net::addr).collect();
        let mut by_index = BTreeMap::new();
        for (name, networks) in networks {
            // One that went away in between is left out.
            if let Ok(index) = nix::net::if_::if_nametoindex(name.as_str()) {
                by_index.insert(
                    index,
                    Interface {
                        name: name.into(),
                        networks: networks.into(),
                    },
                );
            }
        }
        let links = packet::links()?;
        Ok(Self {
            by_index,
            links,
            own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let interfaces = Interfaces::scan().unwrap();
        // A namespace of its own may have its loopback down.
        for interface in interfaces
            .by_index
            .values()
            .filter(|interface| &*interface.name == "lo")
        {
            assert!(
                interface
                    .networks
                    .iter()
                    .any(|network| network.addr().is_loopback())
            );
        }
        let all = interfaces
            .by_index
            .values()
            .flat_map(|interface| interface.networks.iter());
        assert!(
            all.map(Ipv4Net::addr)
                .all(|address| interfaces.own.contains(&address))
        );
    }
}
