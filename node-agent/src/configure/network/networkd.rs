//! Interfaces as files of systemd-networkd, for images without netplan.

use std::fmt::Write as _;

use boot_proto::boot_config::NetworkConfig;
use boot_proto::resources::{
    AdSelect, ArpAllTargets, ArpValidate, BondSpec, FailOverMac, LacpRate, PrimaryReselect,
    RouteTarget, TransmitHashPolicy,
};

use super::resolve::{Interface, Kind};

/// The files by name in `/etc/systemd/network`.
pub(super) fn render(interfaces: &[Interface], network: &NetworkConfig) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for one in interfaces {
        if let Some(text) = netdev(one) {
            files.push((format!("10-moonfarm-{}.netdev", one.id), text));
        }
        let name = match (&one.kind, interfaces.len()) {
            (Kind::Nic { .. }, 1) => "10-moonfarm.network".to_owned(),
            _ => format!("10-moonfarm-{}.network", one.id),
        };
        files.push((name, network_file(one, interfaces, network)));
    }
    files
}

/// What systemd-networkd makes; none for a NIC.
fn netdev(one: &Interface) -> Option<String> {
    let (kind, options) = match &one.kind {
        Kind::Nic { .. } => return None,
        Kind::Bond { options, .. } => ("bond", bond(options)),
        Kind::Vlan { id, .. } => ("vlan", format!("[VLAN]\nId={id}\n")),
        Kind::Bridge { options, .. } => {
            let mut text = format!("[Bridge]\nSTP={}\n", if options.stp { "yes" } else { "no" });
            if let Some(secs) = options.forward_delay {
                let _ = writeln!(text, "ForwardDelaySec={secs}");
            }
            ("bridge", text)
        }
    };
    let mut text = format!("[NetDev]\nName={}\nKind={kind}\n", one.id);
    if let Some(mac) = one.mac {
        let _ = writeln!(text, "MACAddress={mac}");
    }
    if let Some(mtu) = one.mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
    Some(format!("{text}\n{options}"))
}

fn bond(bond: &BondSpec) -> String {
    let mut text = format!("[Bond]\nMode={}\n", bond.mode.word());
    let mut key = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}={value}");
        }
    };
    let ms = |value: Option<u32>| value.map(|ms| format!("{ms}ms"));
    let word = |word: Option<&'static str>| word.map(str::to_owned);
    let yes = |value: Option<bool>| value.map(|yes| if yes { "yes" } else { "no" }.to_owned());
    if bond.watches_by_arp() {
        key("ARPIntervalSec", ms(bond.arp_interval));
        let targets: Vec<String> = bond.arp_targets.iter().map(ToString::to_string).collect();
        key("ARPIPTargets", Some(targets.join(" ")));
        let validate = bond.arp_validate.map(ArpValidate::word);
        key("ARPValidate", word(validate));
        let all_targets = bond.arp_all_targets.map(ArpAllTargets::word);
        key("ARPAllTargets", word(all_targets));
    } else {
        key("MIIMonitorSec", ms(Some(bond.miimon.unwrap_or(100))));
        key("UpDelaySec", ms(bond.up_delay));
        key("DownDelaySec", ms(bond.down_delay));
    }
    key("LACPTransmitRate", word(bond.lacp_rate.map(LacpRate::word)));
    let policy = bond.transmit_hash_policy.map(TransmitHashPolicy::word);
    key("TransmitHashPolicy", word(policy));
    key("AdSelect", word(bond.ad_select.map(AdSelect::word)));
    for (name, value) in lacp_identity(bond) {
        key(name, Some(value));
    }
    key("MinLinks", bond.min_links.map(|count| count.to_string()));
    let reselect = bond.primary_reselect.map(PrimaryReselect::word);
    key("PrimaryReselectPolicy", word(reselect));
    let choice = bond.fail_over_mac.map(FailOverMac::word);
    key("FailOverMACPolicy", word(choice));
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    key("GratuitousARP", number(bond.gratuitous_arp.map(u32::from)));
    key("ResendIGMP", number(bond.resend_igmp.map(u32::from)));
    let secs = bond.learn_packet_interval;
    key("LearnPacketIntervalSec", number(secs));
    let packets = bond.packets_per_port.map(u32::from);
    key("PacketsPerSlave", number(packets));
    key("AllSlavesActive", yes(bond.all_ports_active));
    key(
        "DynamicTransmitLoadBalancing",
        yes(bond.dynamic_load_balancing),
    );
    text
}

/// What LACP tells of this end.
fn lacp_identity(bond: &BondSpec) -> Vec<(&'static str, String)> {
    let priority = bond.ad_actor_system_priority;
    let found = [
        ("AdActorSystemPriority", priority.map(|it| it.to_string())),
        (
            "AdActorSystem",
            bond.ad_actor_system.map(|it| it.to_string()),
        ),
        (
            "AdUserPortKey",
            bond.ad_user_port_key.map(|it| it.to_string()),
        ),
    ];
    let given = |(name, value): (_, Option<String>)| Some((name, value?));
    found.into_iter().filter_map(given).collect()
}

/// What netplan has no word for, as additions to the files that it makes: their
/// names in `/etc/systemd/network`, and texts.
pub(super) fn beyond_netplan(interfaces: &[Interface]) -> Vec<(String, String)> {
    let addition = |one: &Interface| {
        let Kind::Bond { options, .. } = &one.kind else {
            return None;
        };
        let mut lines = lacp_identity(options);
        if let Some(is_dynamic) = options.dynamic_load_balancing {
            let answer = if is_dynamic { "yes" } else { "no" };
            lines.push(("DynamicTransmitLoadBalancing", answer.to_owned()));
        }
        let lines: String = lines
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        let file = format!("10-netplan-{}.netdev.d/50-moonfarm.conf", one.id);
        (!lines.is_empty()).then(|| (file, format!("[Bond]\n{lines}")))
    };
    interfaces.iter().filter_map(addition).collect()
}

fn network_file(one: &Interface, all: &[Interface], network: &NetworkConfig) -> String {
    let mut text = match &one.kind {
        // A port of a bond has the bond's address; its own is the permanent one.
        Kind::Nic { mac } if one.master.is_some() => {
            format!("[Match]\nPermanentMACAddress={mac}\n")
        }
        Kind::Nic { mac } => format!("[Match]\nMACAddress={mac}\nType=ether\n"),
        _ => format!("[Match]\nName={}\n", one.id),
    };
    text.push_str("\n[Link]\n");
    if let Some(mtu) = one.mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
    if one.optional {
        text.push_str("RequiredForOnline=no\n");
    }
    text.push_str("\n[Network]\n");
    if let Some((master, word)) = &one.master {
        let _ = writeln!(text, "{word}={master}\nLinkLocalAddressing=no");
        let is_primary = all.iter().any(|bond| {
            matches!(&bond.kind, Kind::Bond { primary, .. } if primary.as_ref() == Some(&one.id))
        });
        if is_primary {
            text.push_str("PrimarySlave=yes\n");
        }
    }
    for vlan in all {
        if matches!(&vlan.kind, Kind::Vlan { link, .. } if *link == one.id) {
            let _ = writeln!(text, "VLAN={}", vlan.id);
        }
    }
    if let Some(accepts) = one.accept_ra {
        let _ = writeln!(text, "IPv6AcceptRA={}", if accepts { "yes" } else { "no" });
    }
    addresses(&mut text, one, network);
    text
}

fn addresses(text: &mut String, one: &Interface, network: &NetworkConfig) {
    if one.is_boot {
        for server in super::dns(network) {
            let _ = writeln!(text, "DNS={server}");
        }
        if !super::search(network).is_empty() {
            let _ = writeln!(text, "Domains={}", super::search(network).join(" "));
        }
    }
    for address in &one.addresses {
        let _ = writeln!(text, "Address={address}");
    }
    if one.is_kept {
        text.push_str("KeepConfiguration=yes\n");
    } else if one.dhcp {
        text.push_str("KeepConfiguration=dynamic-on-stop\n");
    }
    if one.dhcp {
        text.push_str("DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n");
        if !one.is_boot {
            let _ = writeln!(text, "RouteMetric={}", super::FURTHER_METRIC);
        }
    }
    for route in &one.routes {
        text.push_str("\n[Route]\n");
        if let RouteTarget::Network(to) = route.to {
            let _ = writeln!(text, "Destination={to}");
        }
        match route.via {
            Some(via) => {
                let on_link = if route.on_link { "yes" } else { "no" };
                let _ = writeln!(text, "Gateway={via}\nGatewayOnLink={on_link}");
            }
            None => text.push_str("Scope=link\n"),
        }
        if let Some(metric) = route.metric {
            let _ = writeln!(text, "Metric={metric}");
        }
        if let Some(table) = route.table {
            let _ = writeln!(text, "Table={table}");
        }
    }
}
