//! The network of the booted system, as netplan YAML; as files of
//! systemd-networkd where the image has no netplan.

mod netplan;
mod networkd;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::IpAddr;

use boot_proto::boot_config::NetworkConfig;

use self::resolve::{Interface, Kind};
use super::{Change, Changes, Machine};
use crate::root_dir::RootView;

const NETPLAN: &str = "/etc/netplan/10-moonfarm.yaml";
const NETWORKD: &str = "/etc/systemd/network";
/// Metric of routes that further interfaces are given by DHCP: a storage network's
/// server often names a router, which must not take the place of the one by which
/// the machine booted. systemd-networkd's own is 1024.
const FURTHER_METRIC: u32 = 2048;
const BOND_RULES: &str = "/etc/udev/rules.d/70-moonfarm-bonds.rules";

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let network = &machine.config.network;
    let interfaces = resolve::resolve(machine);
    let has_netplan = [
        "/usr/libexec/netplan/generate",
        "/usr/lib/netplan/generate",
        "/usr/sbin/netplan",
    ]
    .iter()
    .any(|path| root.exists(path));
    if has_netplan {
        // netplan complains of a file that others can read.
        let text = netplan::render(&interfaces, network);
        changes.add(Change::private_file(NETPLAN, text));
        for (name, text) in networkd::beyond_netplan(&interfaces) {
            changes.add(Change::file(format!("{NETWORKD}/{name}"), text));
        }
    } else {
        for (name, text) in networkd::render(&interfaces, network) {
            changes.add(Change::file(format!("{NETWORKD}/{name}"), text));
        }
    }
    add_bond_rules(&interfaces, changes);
    add_wait_online(root, changes);
    add_resolver(network, root, changes);
}

/// What systemd-networkd does not say to the kernel: it passes
/// `LearnPacketIntervalSec` on only where there is an ARP interval, which the modes
/// that it is for cannot have (`netdev/bond.c`), and has no word for the other.
fn add_bond_rules(interfaces: &[Interface], changes: &mut Changes) {
    let mut rules = String::new();
    for one in interfaces {
        let Kind::Bond { options, .. } = &one.kind else {
            continue;
        };
        for (attribute, value) in [
            ("lp_interval", options.learn_packet_interval),
            ("peer_notif_delay", options.peer_notify_delay),
        ] {
            if let Some(value) = value {
                let _ = writeln!(
                    rules,
                    "ACTION==\"add\", SUBSYSTEM==\"net\", KERNEL==\"{}\", \
                     ATTR{{bonding/{attribute}}}=\"{value}\"",
                    one.id
                );
            }
        }
    }
    if !rules.is_empty() {
        changes.add(Change::file(BOND_RULES, rules));
    }
}

/// The initramfs loaded the NIC's driver, so it is still `eth0` when netplan's
/// generator runs, and udev renames it a moment later: the generator would have
/// network-online.target wait for a name that is gone. Any link with an IPv4
/// address will do. An image's own drop-in of a later name wins.
fn add_wait_online(root: &dyn RootView, changes: &mut Changes) {
    const PROGRAM: &str = "/usr/lib/systemd/systemd-networkd-wait-online";
    if root.exists(PROGRAM) {
        changes.add(Change::file(
            "/etc/systemd/system/systemd-networkd-wait-online.service.d/50-moonfarm.conf",
            format!("[Service]\nExecStart=\nExecStart={PROGRAM} --any --ipv4 --timeout=60\n"),
        ));
    }
}

/// DNS servers: the profiles' own, else the subnet's.
fn dns(network: &NetworkConfig) -> Vec<IpAddr> {
    if network.spec.dns.is_empty() {
        return network.dns.iter().copied().map(IpAddr::V4).collect();
    }
    network.spec.dns.clone()
}

/// Search domains: the profiles' own, else the subnet's.
fn search(network: &NetworkConfig) -> &[String] {
    if network.spec.search.is_empty() {
        &network.search
    } else {
        &network.spec.search
    }
}

/// With systemd-resolved the servers come by way of netplan; without it they
/// have to stand in the file.
fn add_resolver(network: &NetworkConfig, root: &dyn RootView, changes: &mut Changes) {
    const FILE: &str = "/etc/resolv.conf";
    let has_resolved = root.exists("/usr/lib/systemd/systemd-resolved");
    // A link belongs to whatever will fill it in the booted system.
    if root.link_target(FILE).is_some() {
        return;
    }
    if has_resolved {
        changes.add(Change::link(
            FILE,
            "../run/systemd/resolve/stub-resolv.conf",
        ));
    } else if !dns(network).is_empty() {
        let mut text = String::new();
        if !search(network).is_empty() {
            let _ = writeln!(text, "search {}", search(network).join(" "));
        }
        for server in dns(network) {
            let _ = writeln!(text, "nameserver {server}");
        }
        changes.add(Change::file(FILE, text));
    }
}
