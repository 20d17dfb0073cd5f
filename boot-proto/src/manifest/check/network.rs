//! The network of profiles: what one interface says, and, of all profiles of a
//! pool together, whether every name leads to something.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Notes, Read, World, forms};
use crate::manifest::node::path;
use crate::resources::{
    BondMode, BondSpec, InterfaceSpec, NetworkSpec, NodePoolSpec, ProfileSpec, RouteTarget,
};

/// What a link has for which nobody says one.
const ETHERNET_MTU: u32 = 1500;
/// `rtnetlink` and `bonding` take no more (`BOND_MAX_ARP_TARGETS`).
const MAX_ARP_TARGETS: usize = 16;
/// The user's part of a port's key is ten bits (kernel document networking/bonding).
const MAX_USER_PORT_KEY: u16 = 1023;

/// What one profile says of its interfaces.
pub(super) fn check_profile(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    for (name, spec) in &profile.spec().network.interfaces {
        check_interface(notes, profile, name, spec);
        if let Some(bond) = &spec.bond {
            check_bond(notes, profile, name, bond);
        }
        check_numbers(notes, profile, name, spec);
    }
}

fn check_interface(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    name: &str,
    spec: &InterfaceSpec,
) {
    let path = path!["spec", "network", "interfaces", name];
    if !forms::is_interface(name) || name.contains([',', '+', '=', ' ']) {
        notes.add_key(
            profile,
            &path,
            format!("{name:?} is no name of an interface"),
            "write at most 15 letters, digits, dots, dashes or underscores, such as bond0",
        );
    }
    let kinds = [
        spec.matches.is_some(),
        spec.bond.is_some(),
        spec.vlan.is_some(),
        spec.bridge.is_some(),
    ];
    let count = kinds.into_iter().filter(|is_given| *is_given).count();
    if count != 1 {
        let message = match count {
            0 => format!("{name} is neither a NIC nor a bond, VLAN or bridge"),
            _ => format!("{name} is more than one kind of interface"),
        };
        notes.add_key(
            profile,
            &path,
            message,
            "give one of match (for NICs), bond, vlan and bridge",
        );
    }
    let is_blank = spec.matches.as_ref().is_some_and(|m| {
        m.mac.is_none() && m.driver.is_none() && m.name.is_none() && m.boot.is_none()
    });
    if is_blank {
        notes.add(
            profile,
            &path!["spec", "network", "interfaces", name, "match"],
            format!("{name} would be every NIC"),
            "write which: boot: true, mac, driver or name; name: \"*\" where every NIC is meant",
        );
    }
}

fn check_numbers(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    name: &str,
    spec: &InterfaceSpec,
) {
    if let Some(mtu) = spec.mtu.filter(|mtu| !(576..=65_535).contains(mtu)) {
        notes.add(
            profile,
            &path!["spec", "network", "interfaces", name, "mtu"],
            format!("an MTU of {mtu} bytes is out of reach"),
            "write 576 to 65535, such as 9000",
        );
    }
    if let Some(vlan) = spec
        .vlan
        .as_ref()
        .filter(|vlan| !(1..=4094).contains(&vlan.id))
    {
        notes.add(
            profile,
            &path!["spec", "network", "interfaces", name, "vlan", "id"],
            format!("there is no VLAN {}", vlan.id),
            "write 1 to 4094 (IEEE 802.1Q)",
        );
    }
    for (at, derived) in spec.derived_addresses.iter().enumerate() {
        if derived
            .prefix
            .is_some_and(|prefix| !(1..=32).contains(&prefix))
        {
            notes.add(
                profile,
                &path![
                    "spec",
                    "network",
                    "interfaces",
                    name,
                    "derivedAddresses",
                    at,
                    "prefix"
                ],
                "an IPv4 prefix has 1 to 32 bits",
                "",
            );
        }
    }
    for (at, route) in spec.routes.iter().enumerate() {
        if let (RouteTarget::Network(to), Some(via)) = (route.to, route.via)
            && to.addr().is_ipv4() != via.is_ipv4()
        {
            notes.add(
                profile,
                &path!["spec", "network", "interfaces", name, "routes", at, "via"],
                format!("{via} is no router for {to}: one is of IPv4, the other of IPv6"),
                "write a router of the same family",
            );
        }
        if route.via.is_none() && route.to == RouteTarget::Default {
            notes.add(
                profile,
                &path!["spec", "network", "interfaces", name, "routes", at],
                "a default route without a router",
                "add via:",
            );
        }
    }
}

/// What the driver would refuse, or silently ignore (`bond_options.c`).
fn check_bond(notes: &mut Notes, profile: Read<'_, ProfileSpec>, name: &str, bond: &BondSpec) {
    let at = |field: &'static str| path!["spec", "network", "interfaces", name, "bond", field];
    let mut say =
        |field, message: String, hint: &str| notes.add(profile, &at(field), message, hint);
    let is_lacp = bond.mode == BondMode::Lacp;
    let mode = bond.mode.word();
    if bond.ports.is_empty() {
        say(
            "ports",
            format!("{name} has no ports"),
            "list the interfaces it bundles",
        );
    }
    if bond.lacp_rate.is_some() && !is_lacp {
        say(
            "lacpRate",
            format!("lacpRate means nothing in mode {mode}"),
            "write mode: 802.3ad, or take it out",
        );
    }
    if bond.ad_select.is_some() && !is_lacp {
        say(
            "adSelect",
            format!("adSelect means nothing in mode {mode}"),
            "write mode: 802.3ad, or take it out",
        );
    }
    if bond.primary.is_some() && !bond.mode.has_primary() {
        say(
            "primary",
            format!("mode {mode} has no primary port"),
            "take it out, or write mode: active-backup",
        );
    }
    if let Some(primary) = bond
        .primary
        .as_ref()
        .filter(|primary| !bond.ports.contains(primary))
    {
        say(
            "primary",
            format!("{primary:?} is no port of {name}"),
            "write one of its ports",
        );
    }
    let watches_by_arp = bond.watches_by_arp();
    if watches_by_arp && !bond.mode.takes_arp() {
        say(
            "arpInterval",
            format!("mode {mode} watches its ports by miimon only"),
            "take arpInterval out",
        );
    }
    if watches_by_arp && bond.miimon.is_some_and(|interval| interval > 0) {
        say(
            "arpInterval",
            "ports are watched by miimon or by ARP, not both".to_owned(),
            "take one of the two out",
        );
    }
    if watches_by_arp && bond.arp_targets.is_empty() {
        say(
            "arpInterval",
            "nobody is named to send ARP requests to".to_owned(),
            "add arpTargets",
        );
    }
    if bond.arp_targets.len() > MAX_ARP_TARGETS {
        say(
            "arpTargets",
            "a bond takes 16 ARP targets at most".to_owned(),
            "",
        );
    }
    for (field, cure) in out_of_place(bond) {
        say(field, format!("{field} means nothing here"), cure);
    }
    for (field, message, cure) in lacp_mistakes(bond) {
        say(field, message, cure);
    }
    let miimon = bond.miimon.unwrap_or(100);
    for (field, delay) in [
        ("upDelay", bond.up_delay),
        ("downDelay", bond.down_delay),
        ("peerNotifyDelay", bond.peer_notify_delay),
    ] {
        if delay.is_some_and(|delay| delay > 0 && (miimon == 0 || delay % miimon != 0)) {
            say(
                field,
                format!("{field} is no multiple of miimon ({miimon} ms)"),
                "the kernel would round it down; write a multiple",
            );
        }
    }
}

/// Options that the mode or the rest of the bond does not know, each with what
/// would make it mean something.
fn out_of_place(bond: &BondSpec) -> Vec<(&'static str, &'static str)> {
    let mode = bond.mode;
    let by_load = "write mode: balance-tlb or balance-alb, or take it out";
    let by_arp = "give arpInterval and arpTargets, or take it out";
    let lacp = "write mode: 802.3ad, or take it out";
    let is_lacp = mode == BondMode::Lacp;
    let rules = [
        (
            bond.ad_actor_system_priority.is_some() && !is_lacp,
            "adActorSystemPriority",
            lacp,
        ),
        (
            bond.ad_actor_system.is_some() && !is_lacp,
            "adActorSystem",
            lacp,
        ),
        (
            bond.ad_user_port_key.is_some() && !is_lacp,
            "adUserPortKey",
            lacp,
        ),
        (
            bond.peer_notify_delay.is_some_and(|delay| delay > 0) && bond.watches_by_arp(),
            "peerNotifyDelay",
            "ports are watched by ARP, and it is counted by miimon: take one of the two out",
        ),
        (
            bond.primary_reselect.is_some() && bond.primary.is_none(),
            "primaryReselect",
            "name the primary port, or take it out",
        ),
        (
            bond.fail_over_mac.is_some() && mode != BondMode::ActiveBackup,
            "failOverMac",
            "write mode: active-backup, or take it out",
        ),
        (
            bond.arp_validate.is_some() && !bond.watches_by_arp(),
            "arpValidate",
            by_arp,
        ),
        (
            bond.arp_all_targets.is_some() && bond.arp_validate.is_none(),
            "arpAllTargets",
            "say what is validated by arpValidate, or take it out",
        ),
        (
            bond.learn_packet_interval.is_some() && !mode.balances_by_load(),
            "learnPacketInterval",
            by_load,
        ),
        (
            bond.dynamic_load_balancing.is_some() && !mode.balances_by_load(),
            "dynamicLoadBalancing",
            by_load,
        ),
        (
            bond.packets_per_port.is_some() && mode != BondMode::BalanceRr,
            "packetsPerPort",
            "write mode: balance-rr, or take it out",
        ),
    ];
    rules
        .into_iter()
        .filter(|(is_wrong, ..)| *is_wrong)
        .map(|(_, field, cure)| (field, cure))
        .collect()
}

/// What LACP cannot tell of this end.
fn lacp_mistakes(bond: &BondSpec) -> Vec<(&'static str, String, &'static str)> {
    let mut found = Vec::new();
    if bond.ad_actor_system_priority == Some(0) {
        found.push((
            "adActorSystemPriority",
            "there is no priority 0".to_owned(),
            "write 1 to 65535 (IEEE 802.1AX); less is more",
        ));
    }
    if let Some(key) = bond.ad_user_port_key.filter(|key| *key > MAX_USER_PORT_KEY) {
        found.push((
            "adUserPortKey",
            format!("a key of {key} has more than ten bits"),
            "write 0 to 1023",
        ));
    }
    if let Some(system) = bond.ad_actor_system.filter(|mac| !mac.is_usable()) {
        found.push((
            "adActorSystem",
            format!("{system} is no address of one machine"),
            "write a MAC that is neither a multicast nor zero, such as 02:00:00:00:00:01",
        ));
    }
    found
}

/// Whether all profiles of a pool together make a whole network.
pub(super) fn check_merged(world: &World<'_>, notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    let mut merged = NetworkSpec::default();
    for name in &pool.spec().profiles {
        match world.profiles().find(|profile| profile.name() == name) {
            Some(profile) => merged.merge(&profile.spec().network),
            // Said elsewhere; what it would have brought is not known.
            None => return,
        }
    }
    for (message, hint) in network_mistakes(&merged) {
        notes.add(pool, &path!["spec", "profiles"], message, hint);
    }
}

/// What is wrong with a network as a whole.
fn network_mistakes(network: &NetworkSpec) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let interfaces = &network.interfaces;
    if let Some(boot) = network
        .boot
        .as_ref()
        .filter(|boot| !interfaces.contains_key(*boot))
    {
        found.push((
            format!("the network boots over {boot:?}, which is no interface"),
            "write the name of one of network.interfaces in network.boot",
        ));
    }
    let mut bonded = BTreeSet::new();
    for (name, spec) in interfaces {
        for lower in spec.lower() {
            let Some(below) = interfaces.get(lower) else {
                let hint = "declare it under network.interfaces of a profile of this pool";
                found.push((
                    format!("{name} is made of {lower:?}, which is no interface"),
                    hint,
                ));
                continue;
            };
            if spec.bond.is_some() && below.matches.is_none() {
                found.push((
                    format!("{lower}, a port of {name}, is no NIC"),
                    "a bond is made of NICs",
                ));
            }
            if spec.vlan.is_none() && !bonded.insert(lower) {
                found.push((
                    format!("{lower} is a port of two interfaces"),
                    "leave it in one of them",
                ));
            }
            let has_addresses = below.dhcp
                || below.lease.is_some()
                || !below.addresses.is_empty()
                || !below.derived_addresses.is_empty();
            if spec.vlan.is_none() && has_addresses {
                found.push((
                    format!("{lower} is a port of {name} and has addresses"),
                    "give them to the bond or bridge",
                ));
            }
        }
        found.extend(too_large(network, name, spec));
        found.extend(out_of_reach(network, name, spec));
        if is_made_of_itself(network, name) {
            found.push((
                format!("{name} is made of itself"),
                "take one of the ports or links out",
            ));
        }
    }
    let leased: Vec<&String> = interfaces
        .iter()
        .filter(|(_, spec)| spec.lease.is_some())
        .map(|(name, _)| name)
        .collect();
    if leased.len() > 1 {
        found.push((
            format!(
                "{} and {} both take the address of the boot",
                leased[0], leased[1]
            ),
            "write lease for one interface",
        ));
    }
    found
}

/// A VLAN's packets are no larger than those of the link below (`vlan_dev.c`
/// refuses it, and with it the boot). What is booted over has its Subnet's MTU.
fn too_large(
    network: &NetworkSpec,
    name: &str,
    spec: &InterfaceSpec,
) -> Option<(String, &'static str)> {
    let (mtu, vlan) = (spec.mtu?, spec.vlan.as_ref()?);
    let below = network.interfaces.get(&vlan.link)?;
    let is_boot = network.boot_interface() == Some(vlan.link.as_str());
    let most = below.mtu.or((!is_boot).then_some(ETHERNET_MTU))?;
    let message = format!(
        "the VLAN {name} has an MTU of {mtu}, and {} below it {most}",
        vlan.link
    );
    (mtu > most).then_some((message, "give the link below at least the VLAN's MTU"))
}

/// A router that none of the interface's networks has: systemd-networkd gives up
/// the whole interface.
fn out_of_reach(
    network: &NetworkSpec,
    name: &str,
    spec: &InterfaceSpec,
) -> Option<(String, &'static str)> {
    let is_told = spec.dhcp || spec.lease.is_some() || network.boot_interface() == Some(name);
    // The prefix of a derived address may be another than its network's.
    let is_open = is_told || spec.derived_addresses.iter().any(|it| it.prefix.is_some());
    let derived = spec.derived_addresses.iter().map(|it| it.network.into());
    let own: Vec<ipnet::IpNet> = spec.addresses.iter().copied().chain(derived).collect();
    let routes = spec
        .routes
        .iter()
        .filter(|route| !route.on_link && !is_open);
    // By IPv6 a router's advertisement may bring further networks.
    let mut routers = routes.filter_map(|route| route.via).filter(IpAddr::is_ipv4);
    let stray = routers.find(|via| !own.iter().any(|own| own.contains(via)))?;
    let message = format!("{stray}, a router of {name}, is in none of its networks");
    Some((
        message,
        "give the interface an address there, or write onLink: true",
    ))
}

fn is_made_of_itself(network: &NetworkSpec, name: &str) -> bool {
    let mut open = vec![name];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        for lower in network
            .interfaces
            .get(next)
            .map(InterfaceSpec::lower)
            .unwrap_or_default()
        {
            if lower == name {
                return true;
            }
            if seen.insert(lower) {
                open.push(lower);
            }
        }
    }
    false
}
