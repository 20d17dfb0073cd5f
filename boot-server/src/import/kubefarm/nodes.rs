//! `nodePools[]`: subnets, pools and machines.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use boot_proto::ids::{MacAddr, name_mistake};
use boot_proto::resources::{AddressRange, DhcpMode, MachineSpec, SubnetSpec};
use ipnet::Ipv4Net;
use serde_json::Value;

use super::ranges::{self, Range};
use super::values::{at, entries, items, text, text_at};
use crate::import::Findings;

/// A pool as the values have it, read.
#[derive(Debug)]
pub(super) struct Pool {
    /// `nodePools[0]`.
    pub path: String,
    /// Networks of its range and its nodes' addresses.
    pub networks: Vec<Ipv4Net>,
    /// Whether its range gives addresses to machines nobody declared.
    pub takes_newcomers: bool,
    pub tags: Vec<String>,
    pub machines: Vec<(String, MachineSpec)>,
}

/// What all pools say of networks.
#[derive(Debug, Default)]
pub(super) struct Networks(BTreeMap<Ipv4Net, SubnetSpec>);

impl Networks {
    pub fn into_specs(self) -> impl Iterator<Item = SubnetSpec> {
        self.0.into_values()
    }

    pub fn specs_mut(&mut self) -> impl Iterator<Item = &mut SubnetSpec> {
        self.0.values_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks in order; a subnet is named by its place.
    pub fn index_of(&self, network: &Ipv4Net) -> Option<usize> {
        self.0.keys().position(|known| known == network)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, range: &Range, path: &str, findings: &mut Findings) -> Ipv4Net {
        // Networks that overlap are one: dnsmasq has one context for a wire.
        let wider = self
            .0
            .keys()
            .find(|known| known.contains(&range.cidr.network()))
            .copied();
        let cidr = wider.unwrap_or(range.cidr);
        let narrower: Vec<Ipv4Net> = self
            .0
            .keys()
            .filter(|known| cidr.contains(&known.network()) && **known != cidr)
            .copied()
            .collect();
        let mut spec = self.0.remove(&cidr).unwrap_or_else(|| subnet(cidr, range));
        for narrow in narrower {
            let ranges = self.0.remove(&narrow).map(|old| old.ranges);
            spec.ranges.extend(ranges.unwrap_or_default());
        }
        self.join(&mut spec, range, path, findings);
        self.0.insert(cidr, spec);
        cidr
    }

    fn join(&self, spec: &mut SubnetSpec, range: &Range, path: &str, findings: &mut Findings) {
        if let Some(addresses) = range.addresses {
            // A lease with an end is for addresses that are given and taken back.
            if spec.ranges.is_empty() {
                spec.lease_time = range.lease_time;
            }
            let overlaps =
                |known: &AddressRange| addresses.from <= known.to && known.from <= addresses.to;
            if spec.ranges.iter().any(overlaps) {
                findings.left_out(path, "its addresses are in another range already");
            } else {
                spec.ranges.push(addresses);
            }
        }
        if spec.lease_time != range.lease_time {
            findings.changed(
                path,
                format!(
                    "a subnet has one lease time: {} instead of {}",
                    spec.lease_time, range.lease_time
                ),
            );
        }
    }

    /// The network of a reserved address, made up where no range has it.
    fn holding(&mut self, address: Ipv4Addr, path: &str, findings: &mut Findings) -> Ipv4Net {
        if let Some(network) = self.0.keys().find(|network| network.contains(&address)) {
            return *network;
        }
        let cidr = ranges::small_network(address, address);
        findings.changed(
            path,
            format!("{address} lies in no range; Subnet {cidr} is written for it, check its size"),
        );
        let range = Range {
            cidr,
            addresses: None,
            mode: DhcpMode::Full,
            lease_time: ranges::INFINITE,
            is_guess: false,
            odd_broadcast: None,
            ignored: Vec::new(),
        };
        self.add(&range, path, findings)
    }
}

fn subnet(cidr: Ipv4Net, range: &Range) -> SubnetSpec {
    SubnetSpec {
        cidr,
        gateway: None,
        dns: Vec::new(),
        search: Vec::new(),
        ranges: Vec::new(),
        lease_time: range.lease_time,
        mode: range.mode,
        interface: None,
        relay: None,
        authoritative: true,
        probe: true,
        strangers: None,
        dhcp_options: BTreeMap::new(),
    }
}

/// Reads all pools; those that say nothing are passed over.
pub(super) fn read(values: &Value, findings: &mut Findings) -> (Vec<Pool>, Networks) {
    let mut networks = Networks::default();
    let pools = items(at(values, &["nodePools"]));
    // All ranges first: a node's address may lie in the range of another pool.
    let ranges: Vec<Option<(Ipv4Net, bool)>> = pools
        .iter()
        .enumerate()
        .map(|(index, pool)| range(pool, index, &mut networks, findings))
        .collect();
    let mut read = Vec::new();
    let mut taken = BTreeMap::new();
    for (index, (pool, range)) in pools.iter().zip(ranges).enumerate() {
        let path = format!("nodePools[{index}]");
        extra_options(pool, &path, findings);
        let tags: Vec<String> = items(at(pool, &["tags"])).iter().filter_map(text).collect();
        let mut machines = Vec::new();
        for (at_node, node) in items(at(pool, &["nodes"])).iter().enumerate() {
            let path = format!("{path}.nodes[{at_node}]");
            machines.extend(machine(node, &path, &mut taken, findings));
        }
        let mut its_networks: Vec<Ipv4Net> = range.iter().map(|(network, _)| *network).collect();
        for (name, spec) in &machines {
            let path = format!("{path}.nodes ({name})");
            let network = spec.address.map(|it| networks.holding(it, &path, findings));
            its_networks.extend(network.filter(|network| !its_networks.contains(network)));
        }
        if range.is_some() || !machines.is_empty() {
            read.push(Pool {
                path,
                networks: its_networks,
                takes_newcomers: range.is_some_and(|(_, is_dynamic)| is_dynamic),
                tags,
                machines,
            });
        }
    }
    (read, networks)
}

fn range(
    pool: &Value,
    index: usize,
    networks: &mut Networks,
    findings: &mut Findings,
) -> Option<(Ipv4Net, bool)> {
    let text = text_at(pool, &["range"])?;
    let path = format!("nodePools[{index}].range");
    let range = match ranges::parse(&text) {
        Ok(range) => range,
        Err(reason) => {
            findings.left_out(path, reason);
            return None;
        }
    };
    if range.is_guess {
        findings.changed(
            &path,
            format!("it has no netmask; {} is a guess", range.cidr),
        );
    }
    if let Some(broadcast) = range.odd_broadcast {
        findings.changed(
            &path,
            format!(
                "clients are told {} as broadcast address, which follows from the netmask, not {broadcast}",
                range.cidr.broadcast()
            ),
        );
    }
    for field in &range.ignored {
        findings.left_out(&path, format!("{field} has no counterpart"));
    }
    let network = networks.add(&range, &path, findings);
    Some((network, range.addresses.is_some()))
}

/// Options that dnsmasq takes and boot-server does by itself.
const AS_EVER: [&str; 2] = ["dhcp-generate-names", "dhcp-ignore-names"];

fn extra_options(pool: &Value, path: &str, findings: &mut Findings) {
    for option in items(at(pool, &["extraOpts"])) {
        for (key, value) in entries(option).filter(|(key, _)| !AS_EVER.contains(&key.as_str())) {
            let value = text(value).unwrap_or_default();
            let reason = match key.as_str() {
                "dhcp-circuitid" | "dhcp-remoteid" | "dhcp-subscrid" | "tag-if" => {
                    "machines are recognised by MAC, UUID or slot, not by the switch port they ask through"
                }
                "dhcp-range" => "write it as range of a pool, or add it to the Subnet's ranges",
                "dhcp-option" | "dhcp-option-force" => {
                    "write it under tags.dhcpOptions, or as dhcpOptions of a Profile or Subnet"
                }
                "dhcp-host" => "write it as nodes of a pool",
                _ => "options of dnsmasq itself have no counterpart",
            };
            findings.left_out(
                format!("{path}.extraOpts.{key}"),
                format!("{value:?}: {reason}"),
            );
        }
    }
}

fn machine(
    node: &Value,
    path: &str,
    taken: &mut BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<(String, MachineSpec)> {
    let macs = macs(node, path, taken, findings);
    let wanted = text_at(node, &["name"]);
    if macs.is_empty() {
        let name = wanted.unwrap_or_default();
        findings.left_out(
            path,
            format!("node {name:?} has no MAC, and machines are not recognised by client identifier or address"),
        );
        return None;
    }
    let wanted = wanted.or_else(|| macs.first().map(|mac| mac.dashed()))?;
    let name = valid_name(&wanted);
    if name_mistake(&name).is_some() {
        findings.left_out(path, format!("{wanted:?} can be made no name of a node"));
        return None;
    }
    if name != wanted {
        findings.changed(
            path,
            format!("{wanted:?} is no name of a node; {name} is written"),
        );
    }
    if let Some(other) = taken.insert(format!("name {name}"), path.to_owned()) {
        findings.left_out(path, format!("the name {name} is given to {other} already"));
        return None;
    }
    for key in ["clientID", "clientIDs"] {
        if !at(node, &[key]).is_null() {
            findings.left_out(
                format!("{path}.{key}"),
                "a client is its MAC: firmware, loader and system each send another identifier",
            );
        }
    }
    if text_at(node, &["leaseTime"]).is_some_and(|time| time != "infinite") {
        findings.left_out(
            format!("{path}.leaseTime"),
            "the lease time is the subnet's; a reserved address is given to nobody else in any case",
        );
    }
    let spec = MachineSpec {
        address: address(node, path, taken, findings),
        macs,
        ..MachineSpec::default()
    };
    Some((name, spec))
}

fn macs(
    node: &Value,
    path: &str,
    taken: &mut BTreeMap<String, String>,
    findings: &mut Findings,
) -> Vec<MacAddr> {
    let mut macs: Vec<MacAddr> = Vec::new();
    let path = format!("{path}.mac");
    let text = text_at(node, &["mac"]).unwrap_or_default();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match word.parse::<MacAddr>() {
            Ok(mac) if macs.contains(&mac) => {}
            Ok(mac) if mac.is_usable() => match taken.insert(format!("MAC {mac}"), path.clone()) {
                Some(other) => {
                    findings.left_out(&path, format!("{mac} is given at {other} already"))
                }
                None => macs.push(mac),
            },
            _ => findings.left_out(&path, format!("{word:?} is no address of one NIC")),
        }
    }
    macs
}

fn address(
    node: &Value,
    path: &str,
    taken: &mut BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<Ipv4Addr> {
    let text = text_at(node, &["ip"])?;
    let path = format!("{path}.ip");
    let Ok(address) = text.trim().parse::<Ipv4Addr>() else {
        findings.left_out(path, format!("{text:?} is no IPv4 address"));
        return None;
    };
    match taken.insert(format!("address {address}"), path.clone()) {
        Some(other) => {
            findings.left_out(path, format!("{address} is given at {other} already"));
            None
        }
        None => Some(address),
    }
}

/// Lower case, and dashes for what a node's name may not hold.
pub(super) fn valid_name(text: &str) -> String {
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        let is_plain = c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if is_plain { c } else { '-' }
    };
    let name: String = text.trim().chars().map(plain).collect();
    name.trim_matches(['-', '.']).to_owned()
}
