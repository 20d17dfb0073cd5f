//! What the network is to be: the operator's names become the kernel's. Pure.

use boot_proto::ids::MacAddr;
use boot_proto::resources::{BondSpec, InterfaceSpec, MacChoice, NetworkSpec};

use super::nics::{Nic, fits};

/// How deep interfaces may lie on each other.
const DEEPEST: usize = 8;

/// Interfaces in the order they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Those that the boot goes over.
    pub interfaces: Vec<Wanted>,
    /// Kernel name of the one that gets the address.
    pub top: String,
    /// Names of NIC entries that no NIC fits.
    pub missing: Vec<String>,
}

/// One interface as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Kernel name.
    pub name: String,
    /// What it is.
    pub kind: WantedKind,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// MAC, where it is not the driver's choice.
    pub mac: Option<MacAddr>,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedKind {
    /// A NIC that is there.
    Nic,
    /// A bond of these links, by kernel name.
    Bond {
        /// Its options; the names of its ports are not the kernel's.
        options: BondSpec,
        /// Its ports.
        ports: Vec<String>,
        /// The preferred port.
        primary: Option<String>,
    },
    /// A VLAN of this link, by kernel name.
    Vlan {
        /// The link below.
        link: String,
        /// VLAN identifier.
        id: u16,
    },
}

/// Why the wanted network cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// A name leads nowhere.
    #[error("the network's {0:?} is not declared")]
    Unknown(String),
    /// No NIC fits.
    #[error("no network card fits {0:?}")]
    NoNic(String),
    /// A bond without any port.
    #[error("none of the ports of {0} is there")]
    NoPort(String),
    /// An interface lies on itself.
    #[error("{0} is made of itself")]
    Ring(String),
}

/// Works out what the boot goes over; `boot` is the MAC of the NIC that booted.
///
/// # Errors
/// When NICs are missing that it cannot do without.
pub fn work_out(
    network: &NetworkSpec,
    nics: &[Nic],
    boot: Option<MacAddr>,
) -> Result<Option<Desired>, Impossible> {
    let Some(top) = network.boot_interface() else {
        return Ok(None);
    };
    let mut work = Work {
        network,
        nics,
        boot,
        desired: Desired::default(),
    };
    work.desired.top = work.one(top, 0)?;
    Ok(Some(work.desired))
}

struct Work<'a> {
    network: &'a NetworkSpec,
    nics: &'a [Nic],
    boot: Option<MacAddr>,
    desired: Desired,
}

impl Work<'_> {
    /// Adds the interface of this name; its kernel name comes back.
    fn one(&mut self, name: &str, depth: usize) -> Result<String, Impossible> {
        if depth > DEEPEST {
            return Err(Impossible::Ring(name.to_owned()));
        }
        let network = self.network;
        let spec = network.interfaces.get(name);
        let spec = spec.ok_or_else(|| Impossible::Unknown(name.to_owned()))?;
        if spec.matches.is_some() {
            let found = self.nics_of(name, spec);
            // Of several the one that booted is the one that surely works.
            let chosen = found
                .iter()
                .find(|nic| Some(nic.link.mac) == self.boot)
                .or_else(|| found.iter().find(|nic| nic.link.has_carrier))
                .or_else(|| found.first());
            let chosen = chosen.ok_or_else(|| Impossible::NoNic(name.to_owned()))?;
            let kernel_name = chosen.link.name.clone();
            self.add(&kernel_name, WantedKind::Nic, spec, None);
            return Ok(kernel_name);
        }
        if let Some(bond) = &spec.bond {
            return self.bond(name, spec, bond);
        }
        if let Some(vlan) = &spec.vlan {
            let link = self.one(&vlan.link, depth + 1)?;
            let kind = WantedKind::Vlan { link, id: vlan.id };
            self.add(name, kind, spec, None);
            return Ok(name.to_owned());
        }
        Err(Impossible::Unknown(name.to_owned()))
    }

    fn bond(
        &mut self,
        name: &str,
        spec: &InterfaceSpec,
        bond: &BondSpec,
    ) -> Result<String, Impossible> {
        let mut ports = Vec::new();
        let mut primary = None;
        let mut has_boot = false;
        for port in &bond.ports {
            let entry = self.network.interfaces.get(port);
            let entry = entry.ok_or_else(|| Impossible::Unknown(port.clone()))?;
            let found = self.nics_of(port, entry);
            if found.is_empty() {
                self.desired.missing.push(port.clone());
            }
            for nic in found {
                let kernel_name = nic.link.name.clone();
                if ports.contains(&kernel_name) {
                    continue;
                }
                has_boot |= Some(nic.link.mac) == self.boot;
                if bond.primary.as_ref() == Some(port) && primary.is_none() {
                    primary = Some(kernel_name.clone());
                }
                // The bond gives its ports its own MTU.
                self.add(
                    &kernel_name,
                    WantedKind::Nic,
                    &InterfaceSpec::default(),
                    None,
                );
                ports.push(kernel_name);
            }
        }
        if ports.is_empty() {
            return Err(Impossible::NoPort(name.to_owned()));
        }
        // The lease is for the NIC that booted, and so has to be the bond's MAC.
        let mac = self.boot.filter(|_| has_boot);
        let kind = WantedKind::Bond {
            options: bond.clone(),
            ports,
            primary,
        };
        self.add(name, kind, spec, mac);
        Ok(name.to_owned())
    }

    fn nics_of(&self, _name: &str, spec: &InterfaceSpec) -> Vec<Nic> {
        let Some(matches) = &spec.matches else {
            return Vec::new();
        };
        let nics = self.nics.iter();
        nics.filter(|nic| fits(matches, nic, self.boot))
            .cloned()
            .collect()
    }

    fn add(&mut self, name: &str, kind: WantedKind, spec: &InterfaceSpec, mac: Option<MacAddr>) {
        let mac = match spec.mac_address {
            Some(MacChoice::Fixed(mac)) => Some(mac),
            Some(MacChoice::Boot) => self.boot,
            None => mac,
        };
        self.desired.interfaces.push(Wanted {
            name: name.to_owned(),
            kind,
            mtu: spec.mtu,
            mac,
        });
    }
}
