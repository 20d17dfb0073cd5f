//! The network of the initramfs: links, addresses and the DHCP exchange.

pub mod desired;
pub mod dhcp_socket;
pub mod diff;
#[cfg(test)]
pub mod fake;
pub mod netlink;
pub mod nics;

use std::io;
use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;

use self::diff::LinkChange;

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number of the kernel.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Hardware address: the permanent one, where the link has one.
    pub mac: MacAddr,
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether the cable, or what stands for it, carries a signal.
    pub has_carrier: bool,
    /// Kind of a link that is no NIC, such as `bond`.
    pub kind: Option<String>,
    /// Number of the bond or bridge it is a port of.
    pub master: Option<u32>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// An address of this machine, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
}

/// A request over netlink that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct LinkError {
    /// What was asked.
    pub what: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// The kernel's links and addresses.
pub trait Links {
    /// All Ethernet links, NICs and others, in the order of the kernel.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn all(&mut self) -> Result<Vec<Link>, LinkError>;

    /// All NICs, in the order of the kernel.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn list(&mut self) -> Result<Vec<Link>, LinkError> {
        let mut links = self.all()?;
        links.retain(|link| link.kind.is_none());
        Ok(links)
    }

    /// Makes or changes a link.
    ///
    /// # Errors
    /// What the driver says.
    fn change(&mut self, change: &LinkChange) -> Result<(), LinkError>;

    /// Sets a link up or down.
    ///
    /// # Errors
    /// What the driver says.
    fn set_up(&mut self, link: &Link, up: bool) -> Result<(), LinkError>;

    /// Gives a link an address and makes its gateway the default.
    ///
    /// # Errors
    /// What the kernel says.
    fn add_address(&mut self, link: &Link, address: &Address) -> Result<(), LinkError>;

    /// Takes all addresses from a link, and with them its routes.
    ///
    /// # Errors
    /// What the kernel says.
    fn flush_addresses(&mut self, link: &Link) -> Result<(), LinkError>;
}

/// Makes changes in their order.
///
/// # Errors
/// The first that failed; those after it are not made.
pub fn apply_all(links: &mut dyn Links, changes: &[LinkChange]) -> Result<(), LinkError> {
    changes.iter().try_for_each(|change| links.change(change))
}
