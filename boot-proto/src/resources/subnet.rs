//! `Subnet`: a network that boot-server serves.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// A network that boot-server serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Subnet",
        plural = "subnets",
        shortname = "sn",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SubnetSpec {
    /// Network address and prefix length, such as `10.28.0.0/16`.
    #[cfg_attr(feature = "crd", schemars(with = "String"))]
    pub cidr: Ipv4Net,
    /// Default gateway, option 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers, option 6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
    /// Domain name and search list, options 15 and 119.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Addresses for machines without a reservation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<AddressRange>,
    /// How long a lease is good for.
    #[serde(default = "lease_time")]
    pub lease_time: Span,
    /// What boot-server does on this network.
    #[serde(default)]
    pub mode: DhcpMode,
    /// Interface that the network is on; without it the one with an address in
    /// the CIDR, or a relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Address of the relay agent (giaddr) that serves this network, where that
    /// address does not lie in the CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
    /// Whether a client that asks for an address which is not right here is told
    /// so with a NAK. `false` where other DHCP servers give addresses of this
    /// network, too.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub authoritative: bool,
    /// Whether an address of the ranges is asked for a sign of life before it is
    /// given to a client that did not have it before.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub probe: bool,
    /// How many machines that nobody declared may get an address for the first
    /// time; without it three quarters of the ranges, but 256 at least, in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strangers: Option<StrangerLimit>,
    /// DHCP options by number or name, values as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dhcp_options: BTreeMap<String, String>,
}

/// A bound on machines that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StrangerLimit {
    /// So many in a row.
    pub burst: u32,
    /// And so many more each minute.
    pub per_minute: u32,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// Addresses from `from` to `to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddressRange {
    /// First address.
    pub from: Ipv4Addr,
    /// Last address.
    pub to: Ipv4Addr,
}

impl AddressRange {
    /// How many addresses it has; none where it runs backwards.
    #[must_use]
    pub fn count(&self) -> u64 {
        let (from, to) = (u32::from(self.from), u32::from(self.to));
        (u64::from(to) + 1).saturating_sub(u64::from(from))
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.from..=self.to).contains(&address)
    }
}

/// What boot-server does on a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// Gives addresses and boot information.
    #[default]
    Full,
    /// Gives boot information beside a foreign DHCP server (proxyDHCP).
    Proxy,
    /// Answers no DHCP; TFTP and HTTP only.
    Off,
}

const fn lease_time() -> Span {
    Span(43_200)
}
