//! From the links there are to those wanted: the changes, in order. Pure, and
//! nothing where all is well, so that it can be asked again after every look.

use std::fmt;

use boot_proto::ids::MacAddr;
use boot_proto::resources::BondSpec;

use super::Link;
use super::desired::{Desired, Wanted, WantedKind};

/// One change of one link, all by kernel name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Makes a bond.
    CreateBond {
        /// Its name.
        name: String,
        /// Its options.
        options: BondSpec,
        /// Its MAC.
        mac: Option<MacAddr>,
    },
    /// Makes a VLAN.
    CreateVlan {
        /// Its name.
        name: String,
        /// The link below.
        link: String,
        /// VLAN identifier.
        id: u16,
        /// Its MAC.
        mac: Option<MacAddr>,
    },
    /// Makes a link a port of a bond. The link has to be down for it.
    Enslave {
        /// The link.
        port: String,
        /// The bond.
        bond: String,
    },
    /// Prefers a port.
    Primary {
        /// The bond.
        bond: String,
        /// The port.
        port: String,
    },
    /// Sets the MTU.
    Mtu {
        /// The link.
        name: String,
        /// In bytes.
        mtu: u32,
    },
    /// Sets a link up or down.
    Up {
        /// The link.
        name: String,
        /// Up, else down.
        up: bool,
    },
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBond { name, options, .. } => {
                write!(f, "making the bond {name} ({})", options.mode.word())
            }
            Self::CreateVlan { name, link, id, .. } => {
                write!(f, "making {name}, VLAN {id} of {link}")
            }
            Self::Enslave { port, bond } => write!(f, "making {port} a port of {bond}"),
            Self::Primary { bond, port } => write!(f, "preferring {port} in {bond}"),
            Self::Mtu { name, mtu } => write!(f, "setting the MTU of {name} to {mtu}"),
            Self::Up { name, up } => {
                write!(f, "setting {name} {}", if *up { "up" } else { "down" })
            }
        }
    }
}

/// The changes that lead from `links` to `desired`.
#[must_use]
pub fn changes(desired: &Desired, links: &[Link]) -> Vec<LinkChange> {
    let mut list = Vec::new();
    let find = |name: &str| links.iter().find(|link| link.name == name);
    for wanted in &desired.interfaces {
        let link = find(&wanted.name);
        match &wanted.kind {
            WantedKind::Nic => {}
            WantedKind::Bond {
                options,
                ports,
                primary,
            } => {
                bond(wanted, options, ports, primary.as_deref(), links, &mut list);
            }
            WantedKind::Vlan { link: below, id } if link.is_none() => {
                list.push(LinkChange::CreateVlan {
                    name: wanted.name.clone(),
                    link: below.clone(),
                    id: *id,
                    mac: wanted.mac,
                });
            }
            WantedKind::Vlan { .. } => {}
        }
        if let Some(mtu) = wanted
            .mtu
            .filter(|mtu| link.is_none_or(|link| link.mtu != *mtu))
        {
            list.push(LinkChange::Mtu {
                name: wanted.name.clone(),
                mtu,
            });
        }
        // A port is set up by its bond.
        let is_port = desired.interfaces.iter().any(|other| {
            matches!(&other.kind, WantedKind::Bond { ports, .. } if ports.contains(&wanted.name))
        });
        if !is_port && !link.is_some_and(|link| link.is_up) {
            list.push(LinkChange::Up {
                name: wanted.name.clone(),
                up: true,
            });
        }
    }
    list
}

fn bond(
    wanted: &Wanted,
    options: &BondSpec,
    ports: &[String],
    primary: Option<&str>,
    links: &[Link],
    list: &mut Vec<LinkChange>,
) {
    let own = links.iter().find(|link| link.name == wanted.name);
    if own.is_none() {
        list.push(LinkChange::CreateBond {
            name: wanted.name.clone(),
            options: options.clone(),
            mac: wanted.mac,
        });
    }
    for port in ports {
        let link = links.iter().find(|link| link.name == *port);
        let master = link.and_then(|link| link.master);
        if master.is_some() && master == own.map(|own| own.index) {
            // A port that somebody set down is set up again.
            if link.is_some_and(|link| !link.is_up) {
                list.push(LinkChange::Up {
                    name: port.clone(),
                    up: true,
                });
            }
            continue;
        }
        if link.is_some_and(|link| link.is_up) {
            list.push(LinkChange::Up {
                name: port.clone(),
                up: false,
            });
        }
        list.push(LinkChange::Enslave {
            port: port.clone(),
            bond: wanted.name.clone(),
        });
        if primary == Some(port) && options.mode.has_primary() {
            list.push(LinkChange::Primary {
                bond: wanted.name.clone(),
                port: port.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
