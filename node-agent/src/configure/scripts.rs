//! Scripts of the profiles: where they lie, the units of those that run in the
//! booted system, and what all of them find in their environment.

use std::fmt::Write as _;

use boot_proto::cmdline::netmask;
use boot_proto::resources::{Script, ScriptFailure, ScriptMoment};

use super::{Change, Changes, Machine};

/// Where scripts lie in the new root.
const FOLDER: &str = "/etc/moonfarm/scripts";
/// The facts, for units.
const ENVIRONMENT: &str = "/etc/moonfarm/boot.env";
const UNITS: &str = "/etc/systemd/system";
/// Time-out in seconds of a script that names none.
pub(crate) const TIMEOUT_SECS: u32 = 60;

pub(super) fn add(machine: &Machine<'_>, changes: &mut Changes) {
    let lines: String = environment(machine)
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    changes.add(Change::file(ENVIRONMENT, lines));
    for script in &machine.config.system.scripts {
        if script.when == ScriptMoment::BeforeRoot || !is_name(&script.name) {
            continue;
        }
        changes.add(Change::File {
            path: path(script),
            content: script.content.clone(),
            mode: 0o700,
            owner: (0, 0),
        });
        if script.when == ScriptMoment::AfterNetwork {
            add_unit(script, changes);
        }
    }
}

/// Where a script lies in the new root.
pub(crate) fn path(script: &Script) -> String {
    format!("{FOLDER}/{}", script.name)
}

/// Checked when the manifest was read; a path must not come out of it.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

fn add_unit(script: &Script, changes: &mut Changes) {
    let name = format!("moonfarm-script-{}.service", script.name);
    let before = match script.on_failure {
        // The join needs it, and so does not begin without it.
        ScriptFailure::Fail => "RequiredBy=node-agent-join.service\n",
        ScriptFailure::Warn => "",
    };
    let timeout = script.timeout_seconds.unwrap_or(TIMEOUT_SECS);
    let text = format!(
        "[Unit]\nDescription=Script {} of the profiles\nWants=network-online.target\n\
         After=network-online.target\nBefore=node-agent-join.service\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironmentFile={ENVIRONMENT}\n\
         ExecStart={}\nTimeoutStartSec={timeout}\nStandardOutput=journal+console\n\
         StandardError=journal+console\n\n\
         [Install]\nWantedBy=multi-user.target\n{before}",
        script.name,
        path(script),
    );
    changes.add(Change::file(format!("{UNITS}/{name}"), text));
    let mut wanted = vec![format!("{UNITS}/multi-user.target.wants/{name}")];
    if script.on_failure == ScriptFailure::Fail {
        wanted.push(format!("{UNITS}/node-agent-join.service.requires/{name}"));
    }
    for link in wanted {
        changes.add(Change::link(link, format!("{UNITS}/{name}")));
    }
}

/// What scripts are told, under the names that LTSP's `POST_INIT_*` hooks and
/// klibc's ipconfig have (`IPCONFIG_*` are the lines of `/run/net-DEVICE.conf`).
pub(crate) fn environment(machine: &Machine<'_>) -> Vec<(String, String)> {
    let config = machine.config;
    let network = &config.network;
    let own = machine.own;
    let device = machine.device.unwrap_or_default();
    let address = own.map(|own| own.address).or(network.address);
    let prefix = own.map_or(network.prefix, |own| own.prefix);
    let gateway = own.and_then(|own| own.gateway).or(network.gateway);
    let shown = |ip: Option<std::net::Ipv4Addr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let dns = |at: usize| shown(network.dns.get(at).copied());
    let mask = netmask(prefix);
    let broadcast = address.map(|ip| std::net::Ipv4Addr::from(u32::from(ip) | !u32::from(mask)));
    let server = host(&config.server);
    let domain = network.search.first().cloned().unwrap_or_default();
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| list.push((key.to_owned(), one_line(&value)));
    add("DEVICE", device.to_owned());
    add("IP_ADDRESS", shown(address));
    add("MAC_ADDRESS", machine.mac.to_string());
    add("GATEWAY", shown(gateway));
    add("DNS_SERVER", dns(0));
    add("SERVER", server.clone());
    add("HOSTNAME", config.hostname.clone());
    for (key, value) in [
        ("DEVICE", device.to_owned()),
        ("PROTO", "dhcp".to_owned()),
        ("IPV4PROTO", "dhcp".to_owned()),
        ("IPV4ADDR", shown(address)),
        ("IPV4BROADCAST", shown(broadcast)),
        ("IPV4NETMASK", mask.to_string()),
        ("IPV4GATEWAY", shown(gateway)),
        ("IPV4DNS0", dns(0)),
        ("IPV4DNS1", dns(1)),
        ("HOSTNAME", config.hostname.clone()),
        ("DNSDOMAIN", domain),
        ("NISDOMAIN", String::new()),
        ("ROOTSERVER", server),
        ("ROOTPATH", String::new()),
        ("filename", String::new()),
        ("DOMAINSEARCH", network.search.join(" ")),
    ] {
        add(&format!("IPCONFIG_{key}"), value);
    }
    add("MOONFARM_SERVER", config.server.clone());
    add("MOONFARM_MACHINE", config.machine.clone());
    add("MOONFARM_IMAGE", config.image.digest.to_string());
    add("MOONFARM_PREFIX", prefix.to_string());
    list
}

/// The host of `http://HOST:PORT`.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    rest.rsplit_once(':')
        .map_or(rest, |(host, _)| host)
        .to_owned()
}

/// An environment file has one variable a line.
fn one_line(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars().filter(|c| !c.is_control()) {
        let _ = write!(text, "{c}");
    }
    text
}
