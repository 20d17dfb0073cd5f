//! Links and a DHCP server for tests.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::dhcp_socket::{Dhcp, DhcpError};
use super::{Address, Link, LinkError, Links};
use crate::clock::Clock;
use crate::dhcp_client::Lease;

/// Links that do what they are told.
#[derive(Debug, Default)]
pub struct FakeLinks {
    /// The links.
    pub links: Vec<Link>,
    /// Names of links whose cable is plugged in.
    pub cabled: Vec<String>,
    /// Every change in order, such as `up eth0`.
    pub calls: Vec<String>,
}

impl FakeLinks {
    /// Links named `eth0`, `eth1`, … with MACs that end in their number; all
    /// cabled.
    pub fn new(count: u8) -> Self {
        let links: Vec<Link> = (0..count)
            .map(|number| Link {
                index: u32::from(number) + 2,
                name: format!("eth{number}"),
                mac: boot_proto::ids::MacAddr::new([0x52, 0x54, 0, 0, 0, number]),
                is_up: false,
                has_carrier: false,
            })
            .collect();
        let cabled = links.iter().map(|link| link.name.clone()).collect();
        Self {
            links,
            cabled,
            calls: Vec::new(),
        }
    }
}

impl Links for FakeLinks {
    fn list(&mut self) -> Result<Vec<Link>, LinkError> {
        Ok(self.links.clone())
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
}
