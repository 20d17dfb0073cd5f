//! The network of a machine as data: links, bonds, VLANs, bridges, addresses.
//!
//! The words are those of the kernel and of netplan. Brought up over netlink in
//! the initramfs as far as the boot needs it, and written into the new root.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::BondSpec;
use crate::ids::MacAddr;

/// All of a machine's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct NetworkSpec {
    /// The interface that the machine boots over and that has its address. When
    /// left out: the bond or VLAN that all else leads to, where there is just
    /// one, else the NIC that booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Interfaces by name. A bond, VLAN or bridge gets that name in the kernel;
    /// a NIC keeps its own, and the name is only for referring to it here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, InterfaceSpec>,
    /// DNS servers instead of the Subnet's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// DNS search domains instead of the Subnet's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
}

/// One interface: a NIC (`match`), a bond, a VLAN or a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct InterfaceSpec {
    /// It is every NIC that this fits.
    #[serde(skip_serializing_if = "Option::is_none", rename = "match")]
    pub matches: Option<LinkMatch>,
    /// It is a bond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bond: Option<BondSpec>,
    /// It is a VLAN of another interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanSpec>,
    /// It is a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeSpec>,
    /// MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MAC address: one, or that of the NIC that booted. A bond or VLAN that is
    /// booted over has the booting NIC's when left out, as its lease is for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<MacChoice>,
    /// What becomes of the address that the machine was given at its boot; only
    /// of use for the interface that is booted over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseUse>,
    /// Asks for an address by DHCP in the booted system.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
    /// Further addresses with their prefix length, such as `10.30.0.5/16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(with = "Vec<String>"))]
    pub addresses: Vec<IpNet>,
    /// Addresses made of the machine's own by a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived_addresses: Vec<DerivedAddress>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// The booted system does not wait for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Whether it takes IPv6 router advertisements; the kernel decides when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_ra: Option<bool>,
}

/// Which NICs are meant; everything that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LinkMatch {
    /// Its (permanent) MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its driver, such as `mlx4_en`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Its name with `*` and `?`: the kernel's (`eth0`) or a predictable one
    /// (`eno1`, `ens3f0`, `enp3s0*`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true`: the NIC that booted, whichever it was; `false`: every other NIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<bool>,
}

/// A MAC address or where to take it from. Written as `boot` or as the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub enum MacChoice {
    /// That of the NIC that booted.
    Boot,
    /// This one.
    Fixed(MacAddr),
}

impl TryFrom<String> for MacChoice {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "boot" {
            return Ok(Self::Boot);
        }
        let address = text.parse().map(Self::Fixed);
        address.map_err(|_| format!("{text:?} is neither \"boot\" nor a MAC address"))
    }
}

impl From<MacChoice> for String {
    fn from(choice: MacChoice) -> Self {
        match choice {
            MacChoice::Boot => "boot".to_owned(),
            MacChoice::Fixed(mac) => mac.to_string(),
        }
    }
}

/// What becomes of the address that the machine booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum LeaseUse {
    /// It is kept as a static address.
    Static,
    /// It is asked for again and renewed by DHCP.
    Dhcp,
    /// The booted system does not use it.
    Drop,
}

/// An address whose first octets are another network's and whose rest is that
/// of the machine's own address: own 10.28.36.5 in `10.30.0.0/16` is 10.30.36.5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DerivedAddress {
    /// The network that replaces the front of the machine's own address.
    #[cfg_attr(feature = "crd", schemars(with = "String"))]
    pub network: Ipv4Net,
    /// Prefix length of the new address; that of `network` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u8>,
}

impl DerivedAddress {
    /// The address for a machine whose own is `own`.
    #[must_use]
    pub fn of(&self, own: Ipv4Addr) -> Ipv4Net {
        let front = u32::from(self.network.netmask());
        let bits = u32::from(self.network.network()) & front | u32::from(own) & !front;
        let prefix = self.prefix.unwrap_or(self.network.prefix_len()).min(32);
        Ipv4Net::new(Ipv4Addr::from(bits), prefix).unwrap_or(self.network)
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteSpec {
    /// Where to: `default` or a network.
    pub to: RouteTarget,
    /// By which router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Metric; the smallest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The router is on this link although no prefix of it says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_link: bool,
    /// Routing table, the main one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub enum RouteTarget {
    /// Everywhere.
    Default,
    /// A network.
    Network(IpNet),
}

impl TryFrom<String> for RouteTarget {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let network = text.parse().map(Self::Network);
        network.map_err(|_| format!("{text:?} is neither \"default\" nor a network"))
    }
}

impl From<RouteTarget> for String {
    fn from(target: RouteTarget) -> Self {
        match target {
            RouteTarget::Default => "default".to_owned(),
            RouteTarget::Network(network) => network.to_string(),
        }
    }
}

/// A VLAN (IEEE 802.1Q).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VlanSpec {
    /// Name of the interface whose packets are tagged.
    pub link: String,
    /// VLAN identifier, 1 to 4094.
    pub id: u16,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BridgeSpec {
    /// Names of the interfaces it connects.
    pub ports: Vec<String>,
    /// Speaks the spanning tree protocol.
    pub stp: bool,
    /// Seconds before a port forwards, where `stp` is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_delay: Option<u32>,
}

impl NetworkSpec {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lays `later` over it: interfaces by name, single values and lists whole.
    pub fn merge(&mut self, later: &Self) {
        self.interfaces.extend(later.interfaces.clone());
        if later.boot.is_some() {
            self.boot.clone_from(&later.boot);
        }
        if !later.dns.is_empty() {
            self.dns.clone_from(&later.dns);
        }
        if !later.search.is_empty() {
            self.search.clone_from(&later.search);
        }
    }

    /// Name of the interface that is booted over; none where it is simply the
    /// NIC that booted and nothing here speaks of it.
    #[must_use]
    pub fn boot_interface(&self) -> Option<&str> {
        if let Some(name) = &self.boot {
            return Some(name);
        }
        let with_lease = |(name, spec): (&'_ String, &'_ InterfaceSpec)| {
            matches!(spec.lease, Some(LeaseUse::Static | LeaseUse::Dhcp)).then(|| name.clone())
        };
        let names: Vec<String> = self.interfaces.iter().filter_map(with_lease).collect();
        let wanted = match names.as_slice() {
            [one] => one.clone(),
            _ => self.only_top()?,
        };
        self.interfaces
            .get_key_value(&wanted)
            .map(|(name, _)| name.as_str())
    }

    /// The one interface that is made (not a NIC) and that no other is made of,
    /// else the one NIC entry that fits the booting NIC by its nature.
    fn only_top(&self) -> Option<String> {
        let is_used = |name: &str| {
            self.interfaces
                .values()
                .any(|spec| spec.lower().contains(&name))
        };
        let mut bonds = self
            .interfaces
            .iter()
            .filter(|(_, spec)| spec.bond.is_some());
        if let (Some((name, _)), None) = (bonds.next(), bonds.next()) {
            // VLANs on a bond are further networks: the bond itself boots.
            return Some(name.clone());
        }
        let mut tops = self
            .interfaces
            .iter()
            .filter(|(name, spec)| spec.matches.is_none() && !is_used(name));
        if let (Some((name, _)), None) = (tops.next(), tops.next()) {
            return Some(name.clone());
        }
        let booting =
            |spec: &InterfaceSpec| spec.matches.as_ref().is_some_and(|m| m.boot == Some(true));
        let found = self.interfaces.iter().find(|(_, spec)| booting(spec));
        found.map(|(name, _)| name.clone())
    }
}

impl InterfaceSpec {
    /// Names of the interfaces that it is made of.
    #[must_use]
    pub fn lower(&self) -> Vec<&str> {
        let ports = self.bond.iter().flat_map(|bond| &bond.ports);
        let ports = ports.chain(self.bridge.iter().flat_map(|bridge| &bridge.ports));
        let links = self.vlan.iter().map(|vlan| &vlan.link);
        ports.chain(links).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_address_has_anothers_front() {
        for (network, prefix, own, expected) in [
            ("10.30.0.0/16", None, "10.28.36.5", "10.30.36.5/16"),
            ("10.30.0.0/16", Some(20), "10.28.36.5", "10.30.36.5/20"),
            ("192.168.7.0/24", None, "10.28.36.5", "192.168.7.5/24"),
            ("0.0.0.0/0", Some(32), "10.28.36.5", "10.28.36.5/32"),
        ] {
            let network = network.parse().unwrap();
            let derived = DerivedAddress { network, prefix };
            let address = derived.of(own.parse().unwrap());
            assert_eq!(address.to_string(), expected);
        }
    }

    fn spec(json: serde_json::Value) -> NetworkSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_interface_that_is_booted_over() {
        let nics = serde_json::json!({"match": {"boot": true}});
        let bond = serde_json::json!({"bond": {"ports": ["a"]}});
        let vlan = |link: &str| serde_json::json!({"vlan": {"link": link, "id": 2}});
        let of = |interfaces: serde_json::Value| {
            spec(serde_json::json!({"interfaces": interfaces}))
                .boot_interface()
                .map(str::to_owned)
        };
        assert_eq!(of(serde_json::json!({})), None);
        assert_eq!(of(serde_json::json!({"a": nics})).as_deref(), Some("a"));
        assert_eq!(
            of(serde_json::json!({"a": nics, "v": vlan("a")})).as_deref(),
            Some("v")
        );
        // A VLAN on a bond is a second network, as in kubefarm's example.
        let all = serde_json::json!({"a": nics, "bond0": bond, "v": vlan("bond0")});
        assert_eq!(of(all).as_deref(), Some("bond0"));
    }
}
