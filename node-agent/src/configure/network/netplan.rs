//! Interfaces as netplan YAML, for the renderer systemd-networkd.

use std::fmt::Write as _;

use boot_proto::boot_config::NetworkConfig;
use boot_proto::resources::{
    AdSelect, ArpAllTargets, ArpValidate, BondSpec, FailOverMac, LacpRate, PrimaryReselect,
    RouteSpec, RouteTarget, TransmitHashPolicy,
};

use super::resolve::{Interface, Kind};

/// The YAML.
pub(super) fn render(interfaces: &[Interface], network: &NetworkConfig) -> String {
    let mut text = String::from("network:\n  version: 2\n  renderer: networkd\n");
    for (section, word) in [(0, "ethernets"), (1, "bonds"), (2, "vlans"), (3, "bridges")] {
        let mut of_kind = interfaces
            .iter()
            .filter(|one| section_of(one) == section)
            .peekable();
        if of_kind.peek().is_some() {
            let _ = writeln!(text, "  {word}:");
        }
        for one in of_kind {
            let _ = writeln!(text, "    {:?}:", one.id);
            kind_keys(&mut text, one);
            common_keys(&mut text, one, network);
        }
    }
    text
}

const fn section_of(one: &Interface) -> u8 {
    match one.kind {
        Kind::Nic { .. } => 0,
        Kind::Bond { .. } => 1,
        Kind::Vlan { .. } => 2,
        Kind::Bridge { .. } => 3,
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

fn kind_keys(text: &mut String, one: &Interface) {
    match &one.kind {
        Kind::Nic { mac } => {
            let _ = writeln!(text, "      match:\n        macaddress: \"{mac}\"");
        }
        Kind::Bond {
            options,
            ports,
            primary,
        } => {
            let _ = writeln!(text, "      interfaces: [{}]", quoted(ports));
            bond_keys(text, options, primary.as_deref());
        }
        Kind::Vlan { link, id } => {
            let _ = writeln!(text, "      link: {link:?}\n      id: {id}");
        }
        Kind::Bridge { options, ports } => {
            let _ = writeln!(text, "      interfaces: [{}]", quoted(ports));
            let _ = writeln!(text, "      parameters:\n        stp: {}", options.stp);
            if let Some(secs) = options.forward_delay {
                let _ = writeln!(text, "        forward-delay: {secs}");
            }
        }
    }
}

fn bond_keys(text: &mut String, bond: &BondSpec, primary: Option<&str>) {
    let mut key = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "        {key}: {value}");
        }
    };
    let word = |word: Option<&'static str>| word.map(str::to_owned);
    key("mode", Some(bond.mode.word().to_owned()));
    if bond.watches_by_arp() {
        key("arp-interval", bond.arp_interval.map(|ms| ms.to_string()));
        let targets: Vec<String> = bond.arp_targets.iter().map(ToString::to_string).collect();
        key("arp-ip-targets", Some(format!("[{}]", targets.join(", "))));
        let validate = bond.arp_validate.map(ArpValidate::word);
        key("arp-validate", word(validate));
        let all_targets = bond.arp_all_targets.map(ArpAllTargets::word);
        key("arp-all-targets", word(all_targets));
    } else {
        key(
            "mii-monitor-interval",
            Some(bond.miimon.unwrap_or(100).to_string()),
        );
        key("up-delay", bond.up_delay.map(|ms| ms.to_string()));
        key("down-delay", bond.down_delay.map(|ms| ms.to_string()));
    }
    key("lacp-rate", word(bond.lacp_rate.map(LacpRate::word)));
    let policy = bond.transmit_hash_policy.map(TransmitHashPolicy::word);
    key("transmit-hash-policy", word(policy));
    key("ad-select", word(bond.ad_select.map(AdSelect::word)));
    key("min-links", bond.min_links.map(|count| count.to_string()));
    key("primary", primary.map(|name| format!("{name:?}")));
    let reselect = bond.primary_reselect.map(PrimaryReselect::word);
    key("primary-reselect-policy", word(reselect));
    let choice = bond.fail_over_mac.map(FailOverMac::word);
    key("fail-over-mac-policy", word(choice));
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    key("gratuitous-arp", number(bond.gratuitous_arp.map(u32::from)));
    key("resend-igmp", number(bond.resend_igmp.map(u32::from)));
    key("learn-packet-interval", number(bond.learn_packet_interval));
    // Later releases have other words for these two, and take the old ones.
    let packets = bond.packets_per_port.map(u32::from);
    key("packets-per-slave", number(packets));
    let all = bond.all_ports_active.map(|all| all.to_string());
    key("all-slaves-active", all);
    let at = text.rfind("        mode: ").unwrap_or(text.len());
    text.insert_str(at, "      parameters:\n");
}

fn common_keys(text: &mut String, one: &Interface, network: &NetworkConfig) {
    let mut key = |line: &str| {
        let _ = writeln!(text, "      {line}");
    };
    if let Some(mac) = one.mac {
        key(&format!("macaddress: \"{mac}\""));
    }
    if let Some(mtu) = one.mtu {
        key(&format!("mtu: {mtu}"));
    }
    if one.optional {
        key("optional: true");
    }
    if let Some(accepts) = one.accept_ra {
        key(&format!("accept-ra: {accepts}"));
    }
    key(&format!("dhcp4: {}", one.dhcp));
    if one.dhcp {
        // By its MAC the server knows the machine; the name is ours to give.
        key("dhcp-identifier: mac");
        key("dhcp4-overrides:\n        use-hostname: false");
        if !one.is_boot {
            key(&format!("  route-metric: {}", super::FURTHER_METRIC));
        }
    }
    if one.master.is_some() {
        key("link-local: []");
    }
    // Neither address nor link go away while systemd-networkd starts or stops.
    if one.is_kept || one.is_boot && one.dhcp {
        key("critical: true");
    }
    if !one.addresses.is_empty() {
        key("addresses:");
        for address in &one.addresses {
            key(&format!("  - \"{address}\""));
        }
    }
    if !one.routes.is_empty() {
        key("routes:");
        for route in &one.routes {
            route_keys(&mut key, route);
        }
    }
    let dns = super::dns(network);
    let search = super::search(network);
    if one.is_boot && !(dns.is_empty() && search.is_empty()) {
        key("nameservers:");
        if !dns.is_empty() {
            let dns: Vec<String> = dns.iter().map(|ip| format!("\"{ip}\"")).collect();
            key(&format!("  addresses: [{}]", dns.join(", ")));
        }
        // Quoted: `no` and `1.10` are names too.
        if !search.is_empty() {
            key(&format!("  search: [{}]", quoted(search)));
        }
    }
}

fn route_keys(key: &mut impl FnMut(&str), route: &RouteSpec) {
    let to = match route.to {
        RouteTarget::Default => "default".to_owned(),
        RouteTarget::Network(network) => format!("\"{network}\""),
    };
    key(&format!("  - to: {to}"));
    match route.via {
        Some(via) => key(&format!("    via: \"{via}\"")),
        None => key("    scope: link"),
    }
    if route.on_link {
        key("    on-link: true");
    }
    if let Some(metric) = route.metric {
        key(&format!("    metric: {metric}"));
    }
    if let Some(table) = route.table {
        key(&format!("    table: {table}"));
    }
}
