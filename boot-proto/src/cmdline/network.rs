//! The part of a network that the boot itself goes over, as words of the kernel
//! command line: the initramfs brings up a bond or a VLAN before it can ask
//! anybody for its boot config.
//!
//! `moonfarm.link=NAME:boot=1,mtu=9000`, `moonfarm.bond=NAME:ports=a+b,mode=802.3ad,…`,
//! `moonfarm.vlan=NAME:link=bond0,id=20`, `moonfarm.boot=NAME`. The options of a
//! bond have the names of the bonding driver's own.

use std::fmt::Display;

use crate::resources::{
    AdSelect, ArpAllTargets, ArpValidate, BondMode, BondSpec, FailOverMac, InterfaceSpec, LacpRate,
    LinkMatch, MacChoice, NetworkSpec, PrimaryReselect, TransmitHashPolicy, VlanSpec,
};

/// How deep interfaces may lie on each other.
const DEEPEST: usize = 8;

/// The words for what the boot goes over; none where that is the booting NIC as
/// it is.
#[must_use]
pub fn render(network: &NetworkSpec) -> Vec<String> {
    let Some(boot) = network.boot_interface() else {
        return Vec::new();
    };
    let boot = below_bridges(network, boot);
    let mut names = Vec::new();
    collect(network, boot, 0, &mut names);
    let mut words: Vec<String> = names
        .iter()
        .filter_map(|name| interface(name, network.interfaces.get(*name)?))
        .collect();
    words.push(format!("moonfarm.boot={boot}"));
    words
}

/// A bridge is for guests of the booted system: its first port does for a boot.
fn below_bridges<'a>(network: &'a NetworkSpec, mut name: &'a str) -> &'a str {
    for _ in 0..DEEPEST {
        let spec = network.interfaces.get(name);
        match spec.and_then(|spec| spec.bridge.as_ref()?.ports.first()) {
            Some(port) => name = port,
            None => break,
        }
    }
    name
}

/// What `name` is made of, then it.
fn collect<'a>(network: &'a NetworkSpec, name: &'a str, depth: usize, names: &mut Vec<&'a str>) {
    let Some(spec) = network.interfaces.get(name) else {
        return;
    };
    if depth < DEEPEST && !names.contains(&name) {
        for lower in spec.lower() {
            collect(network, lower, depth + 1, names);
        }
        names.push(name);
    }
}

fn interface(name: &str, spec: &InterfaceSpec) -> Option<String> {
    let mut options = Options::default();
    let kind = if let Some(matches) = &spec.matches {
        link_options(matches, &mut options);
        "link"
    } else if let Some(bond) = &spec.bond {
        bond_options(bond, &mut options);
        "bond"
    } else if let Some(vlan) = &spec.vlan {
        options.push("link", Some(&vlan.link));
        options.push("id", Some(vlan.id));
        "vlan"
    } else {
        return None;
    };
    options.push("mtu", spec.mtu);
    if let Some(MacChoice::Fixed(mac)) = spec.mac_address {
        options.push("mac", Some(mac.dashed()));
    }
    Some(format!("moonfarm.{kind}={name}:{}", options.0.join(",")))
}

#[derive(Default)]
struct Options(Vec<String>);

impl Options {
    fn push(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.0.push(format!("{key}={value}"));
        }
    }
}

fn link_options(matches: &LinkMatch, options: &mut Options) {
    options.push("match-mac", matches.mac.map(|mac| mac.dashed()));
    options.push("driver", matches.driver.as_ref());
    options.push("name", matches.name.as_ref());
    options.push("boot", matches.boot.map(u8::from));
}

fn bond_options(bond: &BondSpec, options: &mut Options) {
    options.push("ports", Some(bond.ports.join("+")));
    options.push("mode", Some(bond.mode.word()));
    options.push("miimon", bond.miimon);
    options.push("updelay", bond.up_delay);
    options.push("downdelay", bond.down_delay);
    options.push("lacp_rate", bond.lacp_rate.map(LacpRate::word));
    let policy = bond.transmit_hash_policy.map(TransmitHashPolicy::word);
    options.push("xmit_hash_policy", policy);
    options.push("primary", bond.primary.as_ref());
    options.push("min_links", bond.min_links);
    options.push("ad_select", bond.ad_select.map(AdSelect::word));
    let priority = bond.ad_actor_system_priority;
    options.push("ad_actor_sys_prio", priority);
    let system = bond.ad_actor_system.map(|mac| mac.dashed());
    options.push("ad_actor_system", system);
    options.push("ad_user_port_key", bond.ad_user_port_key);
    options.push("arp_interval", bond.arp_interval);
    if !bond.arp_targets.is_empty() {
        let targets: Vec<String> = bond.arp_targets.iter().map(ToString::to_string).collect();
        options.push("arp_ip_target", Some(targets.join("+")));
    }
    let validate = bond.arp_validate.map(ArpValidate::word);
    options.push("arp_validate", validate);
    let all_targets = bond.arp_all_targets.map(ArpAllTargets::word);
    options.push("arp_all_targets", all_targets);
    let reselect = bond.primary_reselect.map(PrimaryReselect::word);
    options.push("primary_reselect", reselect);
    options.push("fail_over_mac", bond.fail_over_mac.map(FailOverMac::word));
    options.push("num_grat_arp", bond.gratuitous_arp);
    options.push("peer_notif_delay", bond.peer_notify_delay);
    options.push("resend_igmp", bond.resend_igmp);
    options.push("lp_interval", bond.learn_packet_interval);
    let dynamic = bond.dynamic_load_balancing.map(u8::from);
    options.push("tlb_dynamic_lb", dynamic);
    options.push("packets_per_slave", bond.packets_per_port);
    options.push("all_slaves_active", bond.all_ports_active.map(u8::from));
}

/// Reads one word into `network`; `false` where it is not one of ours.
pub(super) fn parse(key: &str, value: &str, network: &mut NetworkSpec) -> bool {
    if key == "moonfarm.boot" {
        network.boot = (!value.is_empty()).then(|| value.to_owned());
        return true;
    }
    let Some(kind) = key.strip_prefix("moonfarm.") else {
        return false;
    };
    let mut spec = match kind {
        "link" => InterfaceSpec {
            matches: Some(LinkMatch::default()),
            ..InterfaceSpec::default()
        },
        "bond" => InterfaceSpec {
            bond: Some(BondSpec::default()),
            ..InterfaceSpec::default()
        },
        "vlan" => InterfaceSpec {
            vlan: Some(VlanSpec {
                link: String::new(),
                id: 0,
            }),
            ..InterfaceSpec::default()
        },
        _ => return false,
    };
    let (name, options) = value.split_once(':').unwrap_or((value, ""));
    for option in options.split(',') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        read_option(&mut spec, key, value);
    }
    if !name.is_empty() {
        network.interfaces.insert(name.to_owned(), spec);
    }
    true
}

fn read_option(spec: &mut InterfaceSpec, key: &str, value: &str) {
    match key {
        "mtu" => spec.mtu = value.parse().ok(),
        "mac" => spec.mac_address = value.parse().ok().map(MacChoice::Fixed),
        _ => {}
    }
    if let Some(matches) = &mut spec.matches {
        match key {
            "match-mac" => matches.mac = value.parse().ok(),
            "driver" => matches.driver = Some(value.to_owned()),
            "name" => matches.name = Some(value.to_owned()),
            "boot" => matches.boot = Some(value != "0"),
            _ => {}
        }
    }
    if let Some(vlan) = &mut spec.vlan {
        match key {
            "link" => value.clone_into(&mut vlan.link),
            "id" => vlan.id = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    if let Some(bond) = &mut spec.bond {
        read_bond_option(bond, key, value);
    }
}

fn read_bond_option(bond: &mut BondSpec, key: &str, value: &str) {
    let number = value.parse().ok();
    match key {
        "ports" => {
            let ports = value.split('+').filter(|port| !port.is_empty());
            bond.ports = ports.map(str::to_owned).collect();
        }
        "mode" => bond.mode = BondMode::from_word(value).unwrap_or_default(),
        "miimon" => bond.miimon = number,
        "updelay" => bond.up_delay = number,
        "downdelay" => bond.down_delay = number,
        "lacp_rate" => bond.lacp_rate = LacpRate::from_word(value),
        "xmit_hash_policy" => bond.transmit_hash_policy = TransmitHashPolicy::from_word(value),
        "primary" => bond.primary = Some(value.to_owned()),
        "min_links" => bond.min_links = number,
        "ad_select" => bond.ad_select = AdSelect::from_word(value),
        "ad_actor_sys_prio" => bond.ad_actor_system_priority = value.parse().ok(),
        "ad_actor_system" => bond.ad_actor_system = value.parse().ok(),
        "ad_user_port_key" => bond.ad_user_port_key = value.parse().ok(),
        "arp_interval" => bond.arp_interval = number,
        "arp_ip_target" => {
            bond.arp_targets = value.split('+').filter_map(|ip| ip.parse().ok()).collect();
        }
        "arp_validate" => bond.arp_validate = ArpValidate::from_word(value),
        "arp_all_targets" => bond.arp_all_targets = ArpAllTargets::from_word(value),
        "primary_reselect" => bond.primary_reselect = PrimaryReselect::from_word(value),
        "fail_over_mac" => bond.fail_over_mac = FailOverMac::from_word(value),
        "num_grat_arp" => bond.gratuitous_arp = value.parse().ok(),
        "peer_notif_delay" => bond.peer_notify_delay = number,
        "resend_igmp" => bond.resend_igmp = value.parse().ok(),
        "lp_interval" => bond.learn_packet_interval = number,
        "tlb_dynamic_lb" => bond.dynamic_load_balancing = Some(value != "0"),
        "packets_per_slave" => bond.packets_per_port = value.parse().ok(),
        "all_slaves_active" => bond.all_ports_active = Some(value != "0"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::BootArguments;

    fn network(json: serde_json::Value) -> NetworkSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_bond_with_all_options_and_back() {
        let spec = network(serde_json::json!({
            "boot": "vlan20",
            "interfaces": {
                "nic0": {"match": {"boot": true}, "mtu": 9000},
                "nic1": {"match": {"boot": false, "driver": "mlx4_en", "name": "en*", "mac": "94:57:a5:d3:ec:f2"}},
                "bond0": {"mtu": 9000, "macAddress": "02:00:00:00:00:01", "bond": {
                    "ports": ["nic0", "nic1"], "mode": "802.3ad", "lacpRate": "fast", "miimon": 50,
                    "upDelay": 100, "downDelay": 200, "transmitHashPolicy": "layer3+4",
                    "adSelect": "bandwidth", "minLinks": 1, "adActorSystemPriority": 1,
                    "adActorSystem": "02:00:00:00:00:02", "adUserPortKey": 0,
                    "gratuitousArp": 2, "peerNotifyDelay": 250}},
                "vlan20": {"vlan": {"link": "bond0", "id": 20}},
            },
        }));
        let words = render(&spec);
        assert_eq!(
            words,
            [
                "moonfarm.link=nic0:boot=1,mtu=9000",
                "moonfarm.link=nic1:match-mac=94-57-a5-d3-ec-f2,driver=mlx4_en,name=en*,boot=0",
                "moonfarm.bond=bond0:ports=nic0+nic1,mode=802.3ad,miimon=50,updelay=100,downdelay=200,\
                 lacp_rate=fast,xmit_hash_policy=layer3+4,min_links=1,ad_select=bandwidth,\
                 ad_actor_sys_prio=1,ad_actor_system=02-00-00-00-00-02,ad_user_port_key=0,\
                 num_grat_arp=2,peer_notif_delay=250,mtu=9000,\
                 mac=02-00-00-00-00-01",
                "moonfarm.vlan=vlan20:link=bond0,id=20",
                "moonfarm.boot=vlan20",
            ]
        );
        assert_eq!(BootArguments::parse(&words.join(" ")).network, spec);
    }

    #[test]
    fn what_each_mode_has_of_its_own_comes_back() {
        for (mode, options) in [
            (
                "balance-alb",
                r#""primary": "nic0", "primaryReselect": "better", "learnPacketInterval": 5, "dynamicLoadBalancing": false, "transmitHashPolicy": "layer2+3""#,
            ),
            (
                "balance-tlb",
                r#""dynamicLoadBalancing": true, "resendIgmp": 0"#,
            ),
            (
                "active-backup",
                r#""failOverMac": "follow", "gratuitousArp": 3, "allPortsActive": true, "arpInterval": 100, "arpTargets": ["10.0.0.1"], "arpValidate": "backup", "arpAllTargets": "all""#,
            ),
            ("balance-rr", r#""packetsPerPort": 0, "resendIgmp": 255"#),
        ] {
            let text = format!(
                r#"{{"boot": "bond0", "interfaces": {{"nic0": {{"match": {{"boot": true}}}},
                "bond0": {{"bond": {{"ports": ["nic0"], "mode": "{mode}", {options}}}}}}}}}"#
            );
            let spec = network(serde_json::from_str(&text).unwrap());
            let words = render(&spec).join(" ");
            assert_eq!(BootArguments::parse(&words).network, spec, "{words}");
        }
    }

    #[test]
    fn only_what_the_boot_goes_over_is_told() {
        let spec = network(serde_json::json!({"interfaces": {
            "nic": {"match": {"name": "eno*"}},
            "bond0": {"bond": {"ports": ["nic"], "mode": "active-backup", "primary": "nic",
                "arpInterval": 100, "arpTargets": ["10.0.0.1", "10.0.0.2"]}},
            "vlan2": {"vlan": {"link": "bond0", "id": 2}},
        }}));
        let words = render(&spec);
        assert_eq!(words.len(), 3, "{words:?}");
        assert!(words[1].contains("primary=nic,arp_interval=100,arp_ip_target=10.0.0.1+10.0.0.2"));
        assert_eq!(words[2], "moonfarm.boot=bond0");
        assert!(render(&NetworkSpec::default()).is_empty());
        let bridged = network(serde_json::json!({"boot": "br0", "interfaces": {
            "nic": {"match": {"boot": true}}, "br0": {"bridge": {"ports": ["nic"]}},
        }}));
        assert_eq!(render(&bridged).last().unwrap(), "moonfarm.boot=nic");
    }

    #[test]
    fn damaged_words_are_passed_over() {
        let text = "moonfarm.bond=b:mode=fast,ports=,x moonfarm.vlan=v:id=99999 moonfarm.link= moonfarm.boot=";
        let network = BootArguments::parse(text).network;
        assert_eq!(network.boot, None);
        assert_eq!(network.interfaces.len(), 2);
        let bond = network.interfaces["b"].bond.as_ref().unwrap();
        assert!(bond.ports.is_empty(), "{:?}", bond.ports);
    }
}
