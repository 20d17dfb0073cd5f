//! The operator's network and the NICs of this machine become one list of
//! interfaces, which both renderers write down. Pure.

use std::net::{IpAddr, Ipv4Addr};

use boot_proto::cmdline::netmask;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{
    BondSpec, BridgeSpec, InterfaceSpec, LeaseUse, MacChoice, NetworkSpec, RouteSpec, RouteTarget,
};
use ipnet::IpNet;

use super::super::Machine;
use crate::net::nics::{Nic, fits};

/// One interface of the booted system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Kernel name of what is made; for a NIC only a name in the files.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    pub mtu: Option<u32>,
    pub mac: Option<MacAddr>,
    pub dhcp: bool,
    pub addresses: Vec<IpNet>,
    pub routes: Vec<RouteSpec>,
    pub optional: bool,
    pub accept_ra: Option<bool>,
    /// Whether it has the machine's own address, and so DNS.
    pub is_boot: bool,
    /// Whether the initramfs has made it and leaves it up.
    pub is_kept: bool,
    /// The bond or bridge it is a port of.
    pub master: Option<(String, &'static str)>,
}

/// What an interface is, with the identifiers of what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nic {
        mac: MacAddr,
    },
    Bond {
        options: BondSpec,
        ports: Vec<String>,
        primary: Option<String>,
    },
    Vlan {
        link: String,
        id: u16,
    },
    Bridge {
        options: BridgeSpec,
        ports: Vec<String>,
    },
}

/// All interfaces, those that others are made of first.
pub(super) fn resolve(machine: &Machine<'_>) -> Vec<Interface> {
    let network = &machine.config.network.spec;
    let boot = network.boot_interface();
    let mut list = Vec::new();
    for (name, spec) in &network.interfaces {
        match kind(network, machine, name, spec) {
            None => list.extend(nics_of(machine, name, spec).into_iter().map(|(id, mac)| {
                let is_boot = boot == Some(name) && mac == machine.mac;
                interface(machine, id, Kind::Nic { mac }, spec, is_boot)
            })),
            Some(kind) => {
                list.push(interface(
                    machine,
                    name.clone(),
                    kind,
                    spec,
                    boot == Some(name),
                ));
            }
        }
    }
    let has_boot = list.iter().any(|one: &Interface| one.is_boot);
    if !has_boot {
        let kind = Kind::Nic { mac: machine.mac };
        let spec = InterfaceSpec::default();
        // The entry of a NIC that is also named otherwise would be there twice.
        list.retain(|one| one.kind != kind);
        list.push(interface(machine, "boot".to_owned(), kind, &spec, true));
    }
    let masters: Vec<(String, String, &'static str)> = list.iter().flat_map(ports).collect();
    for one in &mut list {
        let found = masters.iter().find(|(port, ..)| *port == one.id);
        one.master = found.map(|(_, master, word)| (master.clone(), *word));
    }
    keep(&mut list);
    list
}

/// What the boot goes over, if that is more than a NIC, stays as it is.
fn keep(list: &mut [Interface]) {
    let boot = list.iter().find(|one| one.is_boot);
    let Some(boot) = boot.filter(|one| !matches!(one.kind, Kind::Nic { .. } | Kind::Bridge { .. }))
    else {
        return;
    };
    let mut kept = vec![boot.id.clone()];
    while let Some(name) = kept.pop() {
        let found = list.iter_mut().find(|one| one.id == name);
        if let Some(one) = found.filter(|one| !one.is_kept) {
            one.is_kept = true;
            kept.extend(ports(one).into_iter().map(|(port, ..)| port));
            if let Kind::Vlan { link, .. } = &one.kind {
                kept.push(link.clone());
            }
        }
    }
}

fn ports(one: &Interface) -> Vec<(String, String, &'static str)> {
    let (ports, word) = match &one.kind {
        Kind::Bond { ports, .. } => (ports, "Bond"),
        Kind::Bridge { ports, .. } => (ports, "Bridge"),
        Kind::Nic { .. } | Kind::Vlan { .. } => return Vec::new(),
    };
    let ports = ports.iter();
    ports
        .map(|port| (port.clone(), one.id.clone(), word))
        .collect()
}

fn kind(
    network: &NetworkSpec,
    machine: &Machine<'_>,
    _name: &str,
    spec: &InterfaceSpec,
) -> Option<Kind> {
    let ids = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .flat_map(|name| ids_of(network, machine, name))
            .collect()
    };
    if let Some(bond) = &spec.bond {
        let primary = bond.primary.as_ref();
        let primary = primary.and_then(|name| ids_of(network, machine, name).into_iter().next());
        let (options, ports) = (bond.clone(), ids(&bond.ports));
        return Some(Kind::Bond {
            options,
            ports,
            primary,
        });
    }
    if let Some(vlan) = &spec.vlan {
        let link = ids_of(network, machine, &vlan.link).into_iter().next();
        let link = link.unwrap_or_else(|| vlan.link.clone());
        return Some(Kind::Vlan { link, id: vlan.id });
    }
    let bridge = spec.bridge.as_ref()?;
    let (options, ports) = (bridge.clone(), ids(&bridge.ports));
    Some(Kind::Bridge { options, ports })
}

/// What the files call the interfaces that one name stands for.
fn ids_of(network: &NetworkSpec, machine: &Machine<'_>, name: &str) -> Vec<String> {
    match network.interfaces.get(name) {
        Some(spec) if spec.matches.is_some() => nics_of(machine, name, spec)
            .into_iter()
            .map(|(id, _)| id)
            .collect(),
        Some(_) => vec![name.to_owned()],
        None => Vec::new(),
    }
}

/// The MACs of an entry's NICs, the one that booted first, and what the files call
/// them. One that is named by its MAC and not there yet may have a driver that only
/// the booted system has.
fn nics_of(machine: &Machine<'_>, name: &str, spec: &InterfaceSpec) -> Vec<(String, MacAddr)> {
    let Some(matches) = &spec.matches else {
        return Vec::new();
    };
    let nics = machine.nics.iter();
    let mut found: Vec<&Nic> = nics
        .filter(|nic| fits(matches, nic, Some(machine.mac)))
        .collect();
    found.sort_by_key(|nic| nic.link.mac != machine.mac);
    let is_there = |mac: &MacAddr| machine.nics.iter().any(|nic| nic.link.mac == *mac);
    let to_come = matches
        .mac
        .filter(|mac| !is_there(mac) && matches.boot != Some(true));
    if let Some(mac) = to_come {
        return vec![(name.to_owned(), mac)];
    }
    let is_one = found.len() == 1;
    let named = found.into_iter().enumerate().map(|(at, nic)| {
        let id = if is_one {
            name.to_owned()
        } else {
            format!("{name}-{at}")
        };
        (id, nic.link.mac)
    });
    named.collect()
}

fn interface(
    machine: &Machine<'_>,
    id: String,
    kind: Kind,
    spec: &InterfaceSpec,
    is_boot: bool,
) -> Interface {
    let network = &machine.config.network;
    let own = own_address(machine);
    let mut one = Interface {
        id,
        mtu: spec.mtu.or(network.mtu.filter(|_| is_boot)),
        mac: mac_of(machine, spec, &kind, is_boot),
        kind,
        dhcp: spec.dhcp,
        addresses: Vec::new(),
        routes: spec.routes.clone(),
        optional: spec.optional,
        accept_ra: spec.accept_ra,
        is_boot,
        is_kept: false,
        master: None,
    };
    if is_boot {
        let asked = spec.lease.unwrap_or(match (network.dhcp, own) {
            (false, Some(_)) => LeaseUse::Static,
            _ => LeaseUse::Dhcp,
        });
        match (asked, own) {
            (LeaseUse::Static, Some(own)) => take_static(&mut one, &own),
            (LeaseUse::Static | LeaseUse::Dhcp, _) => one.dhcp = true,
            (LeaseUse::Drop, _) => {}
        }
    }
    one.addresses.extend(spec.addresses.iter().copied());
    if let Some(own) = own {
        let derived = spec.derived_addresses.iter();
        one.addresses
            .extend(derived.map(|rule| IpNet::V4(rule.of(own.address))));
    }
    one
}

#[derive(Clone, Copy)]
struct Own {
    address: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
}

/// The machine's own address, by boot-server; where that knows no subnet, by
/// DHCP.
fn own_address(machine: &Machine<'_>) -> Option<Own> {
    let network = &machine.config.network;
    let told = network.address.map(|address| Own {
        address,
        prefix: network.prefix,
        gateway: network.gateway,
    });
    let leased = machine.own.map(|own| Own {
        address: own.address,
        prefix: own.prefix,
        gateway: own.gateway,
    });
    let is_whole = told
        .as_ref()
        .is_some_and(|own| own.prefix < 32 || own.gateway.is_some());
    if is_whole { told } else { leased.or(told) }
}

fn take_static(one: &mut Interface, own: &Own) {
    let net = ipnet::Ipv4Net::new(own.address, own.prefix.min(32));
    one.addresses.extend(net.ok().map(IpNet::V4));
    let has_default = one
        .routes
        .iter()
        .any(|route| route.to == RouteTarget::Default);
    let Some(gateway) = own.gateway.filter(|_| !has_default) else {
        return;
    };
    let mask = u32::from(netmask(own.prefix));
    let on_link = u32::from(own.address) & mask != u32::from(gateway) & mask;
    let via = Some(IpAddr::V4(gateway));
    let to = RouteTarget::Default;
    one.routes.insert(
        0,
        RouteSpec {
            to,
            via,
            metric: None,
            on_link,
            table: None,
        },
    );
}

fn mac_of(
    machine: &Machine<'_>,
    spec: &InterfaceSpec,
    kind: &Kind,
    is_boot: bool,
) -> Option<MacAddr> {
    match (spec.mac_address, kind) {
        (Some(MacChoice::Fixed(mac)), _) => Some(mac),
        (Some(MacChoice::Boot), _) => Some(machine.mac),
        // The lease belongs to this MAC.
        (None, Kind::Bond { .. } | Kind::Bridge { .. }) if is_boot => Some(machine.mac),
        (None, _) => None,
    }
}
