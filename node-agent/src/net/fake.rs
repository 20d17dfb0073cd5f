//! Links and a DHCP server for tests.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use boot_proto::ids::MacAddr;

use super::dhcp_socket::{Dhcp, DhcpError};
use super::diff::LinkChange;
use super::{Address, Link, LinkError, Links};
use crate::clock::Clock;
use crate::dhcp_client::Lease;
use crate::log::Log;

/// Links that do what they are told.
#[derive(Debug, Default)]
pub struct FakeLinks {
    /// The links.
    pub links: Vec<Link>,
    /// Names of links whose cable is plugged in.
    pub cabled: Vec<String>,
    /// Every change in order, such as `up eth0`.
    pub calls: Vec<String>,
    /// VLANs and the links below them, by name.
    pub vlans: Vec<(String, String)>,
}

impl FakeLinks {
    /// Links named `eth0`, `eth1`, … with MACs that end in their number; all
    /// cabled.
    pub fn new(count: u8) -> Self {
        let links: Vec<Link> = (0..count)
            .map(|number| Link {
                index: u32::from(number) + 2,
                name: format!("eth{number}"),
                mac: MacAddr::new([0x52, 0x54, 0, 0, 0, number]),
                is_up: false,
                has_carrier: false,
                kind: None,
                master: None,
                mtu: 1500,
            })
            .collect();
        let cabled = links.iter().map(|link| link.name.clone()).collect();
        Self {
            links,
            cabled,
            calls: Vec::new(),
            vlans: Vec::new(),
        }
    }
}

impl FakeLinks {
    fn named(&mut self, name: &str) -> &mut Link {
        let found = self.links.iter_mut().find(|link| link.name == name);
        found.unwrap_or_else(|| panic!("no link {name}"))
    }

    fn below(&self, link: &Link) -> Vec<String> {
        let ports = self
            .links
            .iter()
            .filter(|port| port.master == Some(link.index));
        let vlans = self.vlans.iter().filter(|(name, _)| *name == link.name);
        let names = ports.map(|port| port.name.clone());
        names.chain(vlans.map(|(_, below)| below.clone())).collect()
    }
}

impl Links for FakeLinks {
    fn all(&mut self) -> Result<Vec<Link>, LinkError> {
        let mut links = self.links.clone();
        // What lies on others has carrier as long as one of them has.
        for at in 0..links.len() {
            let below = self.below(&links[at]);
            if links[at].kind.is_some() {
                let carries = |link: &Link| below.contains(&link.name) && link.has_carrier;
                links[at].has_carrier = links[at].is_up && links.iter().any(carries);
            }
        }
        Ok(links)
    }

    fn change(&mut self, change: &LinkChange) -> Result<(), LinkError> {
        self.calls.push(change.to_string());
        let first = self.links[0].mac;
        let mut made = |name: &str, kind: &str, mac: Option<MacAddr>| {
            self.links.push(Link {
                index: u32::try_from(self.links.len()).unwrap() + 2,
                name: name.to_owned(),
                mac: mac.unwrap_or(first),
                is_up: false,
                has_carrier: false,
                kind: Some(kind.to_owned()),
                master: None,
                mtu: 1500,
            });
        };
        match change {
            LinkChange::CreateBond { name, mac, .. } => made(name, "bond", *mac),
            LinkChange::CreateVlan {
                name, link, mac, ..
            } => {
                made(name, "vlan", *mac);
                self.vlans.push((name.clone(), link.clone()));
            }
            LinkChange::Enslave { port, bond } => {
                let bond = self.named(bond).index;
                let cabled = self.cabled.contains(port);
                let port = self.named(port);
                assert!(!port.is_up, "the kernel refuses a port that is up");
                port.master = Some(bond);
                port.is_up = true;
                port.has_carrier = cabled;
            }
            LinkChange::Primary { bond, port } => {
                let bond = self.named(bond).index;
                assert_eq!(self.named(port).master, Some(bond));
            }
            LinkChange::Mtu { name, mtu } if *mtu <= 9216 => self.named(name).mtu = *mtu,
            LinkChange::Mtu { .. } => {
                return Err(LinkError {
                    what: change.to_string(),
                    source: io::Error::from_raw_os_error(nix::libc::EINVAL),
                });
            }
            LinkChange::Up { name, up } => {
                let cabled = self.cabled.contains(name);
                let link = self.named(name);
                link.is_up = *up;
                link.has_carrier = *up && cabled;
            }
        }
        Ok(())
    }

    fn set_up(&mut self, link: &Link, up: bool) -> Result<(), LinkError> {
        self.calls
            .push(format!("{} {}", if up { "up" } else { "down" }, link.name));
        let cabled = self.cabled.contains(&link.name);
        for own in self.links.iter_mut().filter(|own| own.index == link.index) {
            own.is_up = up;
            own.has_carrier = up && cabled;
        }
        Ok(())
    }

    fn add_address(&mut self, link: &Link, address: &Address) -> Result<(), LinkError> {
        self.calls.push(format!(
            "address {} {}/{}",
            link.name, address.address, address.prefix
        ));
        Ok(())
    }

    fn flush_addresses(&mut self, link: &Link) -> Result<(), LinkError> {
        self.calls.push(format!("flush {}", link.name));
        Ok(())
    }
}

/// A DHCP server that answers on some links.
#[derive(Debug)]
pub struct FakeDhcp {
    /// The lease it gives.
    pub lease: Lease,
    /// Names of links it hears.
    pub heard: Vec<String>,
    /// Names of links that were asked on.
    pub asked: RefCell<Vec<String>>,
    /// Names of links whose lease is kept.
    pub kept: RefCell<Vec<String>>,
}

impl Dhcp for FakeDhcp {
    fn ask(&self, link: &Link, patience: Duration, clock: &dyn Clock) -> Result<Lease, DhcpError> {
        self.asked.borrow_mut().push(link.name.clone());
        if !link.has_carrier {
            let source = io::Error::other("no carrier");
            return Err(DhcpError::Socket {
                link: link.name.clone(),
                source,
            });
        }
        if self.heard.contains(&link.name) {
            return Ok(self.lease.clone());
        }
        clock.sleep(patience);
        Err(DhcpError::TimedOut {
            link: link.name.clone(),
            secs: patience.as_secs(),
            complaint: "no DHCP server answered".to_owned(),
        })
    }

    fn keep(&self, link: &Link, _: Lease, _: &Log) {
        self.kept.borrow_mut().push(link.name.clone());
    }
}
