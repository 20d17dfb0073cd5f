//! The network of the booted system, as netplan YAML; as a unit of
//! systemd-networkd where the image has no netplan.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use boot_proto::boot_config::NetworkConfig;
use boot_proto::cmdline::netmask;
use boot_proto::ids::MacAddr;

use super::{Change, Changes, Machine};
use crate::root_dir::RootView;

const NETPLAN: &str = "/etc/netplan/10-moonfarm.yaml";
const NETWORKD: &str = "/etc/systemd/network/10-moonfarm.network";

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let network = &machine.config.network;
    let has_netplan = [
        "/usr/libexec/netplan/generate",
        "/usr/lib/netplan/generate",
        "/usr/sbin/netplan",
    ]
    .iter()
    .any(|path| root.exists(path));
    if has_netplan {
        // netplan complains of a file that others can read.
        changes.add(Change::private_file(NETPLAN, netplan(network, machine.mac)));
    } else {
        changes.add(Change::file(NETWORKD, networkd(network, machine.mac)));
    }
    add_wait_online(root, changes);
    add_resolver(network, root, changes);
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

/// Static when boot-server says so and there is an address to set; a dynamic
/// lease has to be renewed by somebody.
fn static_address(network: &NetworkConfig) -> Option<Ipv4Addr> {
    network.address.filter(|_| !network.dhcp)
}

fn is_on_link(network: &NetworkConfig, own: Ipv4Addr, gateway: Ipv4Addr) -> bool {
    let mask = u32::from(netmask(network.prefix));
    u32::from(own) & mask == u32::from(gateway) & mask
}

fn netplan(network: &NetworkConfig, mac: MacAddr) -> String {
    let mut text = format!(
        "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    boot:\n      match:\n        \
         macaddress: \"{mac}\"\n"
    );
    match static_address(network) {
        Some(own) => {
            let prefix = network.prefix;
            let _ = writeln!(
                text,
                "      dhcp4: false\n      addresses:\n        - {own}/{prefix}"
            );
            if let Some(gateway) = network.gateway {
                let _ = writeln!(
                    text,
                    "      routes:\n        - to: default\n          via: {gateway}"
                );
                if !is_on_link(network, own, gateway) {
                    let _ = writeln!(text, "          on-link: true");
                }
            }
        }
        // The name is ours to give, and by its MAC the server knows the machine.
        None => text.push_str(
            "      dhcp4: true\n      dhcp-identifier: mac\n      critical: true\n      \
             dhcp4-overrides:\n        use-hostname: false\n",
        ),
    }
    if let Some(mtu) = network.mtu {
        let _ = writeln!(text, "      mtu: {mtu}");
    }
    if !network.dns.is_empty() || !network.search.is_empty() {
        text.push_str("      nameservers:\n");
        let list = |text: &mut String, key: &str, items: Vec<String>| {
            if !items.is_empty() {
                let _ = writeln!(text, "        {key}: [{}]", items.join(", "));
            }
        };
        list(
            &mut text,
            "addresses",
            network.dns.iter().map(ToString::to_string).collect(),
        );
        // Quoted: `no` and `1.10` are names too.
        let search = network
            .search
            .iter()
            .map(|domain| format!("{domain:?}"))
            .collect();
        list(&mut text, "search", search);
    }
    text
}

fn networkd(network: &NetworkConfig, mac: MacAddr) -> String {
    let mut text = format!("[Match]\nMACAddress={mac}\nType=ether\n\n");
    if let Some(mtu) = network.mtu {
        let _ = writeln!(text, "[Link]\nMTUBytes={mtu}\n");
    }
    text.push_str("[Network]\n");
    for server in &network.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    if !network.search.is_empty() {
        let _ = writeln!(text, "Domains={}", network.search.join(" "));
    }
    match static_address(network) {
        Some(own) => {
            let _ = writeln!(text, "Address={own}/{}", network.prefix);
            if let Some(gateway) = network.gateway {
                let on_link = if is_on_link(network, own, gateway) {
                    "no"
                } else {
                    "yes"
                };
                let _ = writeln!(
                    text,
                    "\n[Route]\nGateway={gateway}\nGatewayOnLink={on_link}"
                );
            }
        }
        None => text.push_str(
            "DHCP=ipv4\nKeepConfiguration=dynamic-on-stop\n\n[DHCPv4]\nClientIdentifier=mac\n\
             UseHostname=no\n",
        ),
    }
    text
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
    } else if !network.dns.is_empty() {
        let mut text = String::new();
        if !network.search.is_empty() {
            let _ = writeln!(text, "search {}", network.search.join(" "));
        }
        for server in &network.dns {
            let _ = writeln!(text, "nameserver {server}");
        }
        changes.add(Change::file(FILE, text));
    }
}
