//! The network of the advanced example: a hook writes netplan's YAML with the
//! machine's address filled in. What it writes is read as data.

use boot_proto::resources::NetworkSpec;
use serde_json::{Map, Value, json};

use super::values::{at, entries, items, text, text_at};

/// klibc's name for the address that the machine booted with.
const OWN_ADDRESS: &str = "IPCONFIG_IPV4ADDR";

/// The network that a script writes for netplan in a here-document, if all of
/// it has a counterpart.
pub(super) fn read(script: &str) -> Option<NetworkSpec> {
    let document = here_document(script)?;
    let yaml = super::values::parse(&without_braces(&document)).ok()?;
    let network = at(&yaml, &["network"]);
    let mut interfaces = Map::new();
    for (name, nic) in entries(at(network, &["ethernets"])) {
        let mut interface = common(nic, script)?;
        interface.insert("match".into(), json!({ "name": name }));
        interfaces.insert(name.clone(), interface.into());
    }
    for (name, spec) in entries(at(network, &["bonds"])) {
        let mut interface = common(spec, script)?;
        interface.insert("bond".into(), bond(spec));
        interfaces.insert(name.clone(), interface.into());
    }
    for (name, spec) in entries(at(network, &["vlans"])) {
        let mut interface = common(spec, script)?;
        let (id, link) = (at(spec, &["id"]), at(spec, &["link"]));
        interface.insert("vlan".into(), json!({ "id": id, "link": link }));
        interfaces.insert(name.clone(), interface.into());
    }
    let holds_lease = |interface: &&String| interfaces[*interface].get("lease").is_some();
    let boot = interfaces.keys().find(holds_lease).cloned();
    serde_json::from_value(json!({ "boot": boot?, "interfaces": interfaces })).ok()
}

/// What all kinds of interfaces have.
fn common(spec: &Value, script: &str) -> Option<Map<String, Value>> {
    let mut interface = Map::new();
    for key in ["mtu", "optional"] {
        let value = at(spec, &[key]);
        if !value.is_null() && value != &Value::Bool(false) {
            interface.insert(key.into(), value.clone());
        }
    }
    if matches!(text_at(spec, &["dhcp4"]).as_deref(), Some("true" | "yes")) {
        interface.insert("dhcp".into(), true.into());
    }
    match text_at(spec, &["macaddress"]).as_deref() {
        Some("__MAC_ADDRESS__") => drop(interface.insert("macAddress".into(), "boot".into())),
        Some(address) => drop(interface.insert("macAddress".into(), address.into())),
        None => {}
    }
    let (mut fixed, mut derived) = (Vec::new(), Vec::new());
    for address in items(at(spec, &["addresses"])).iter().filter_map(text) {
        match variable(&address) {
            None => fixed.push(Value::from(address)),
            Some(OWN_ADDRESS) => drop(interface.insert("lease".into(), "static".into())),
            Some(name) => derived.push(json!({ "network": rewritten(script, name)? })),
        }
    }
    for (key, list) in [("addresses", fixed), ("derivedAddresses", derived)] {
        if !list.is_empty() {
            interface.insert(key.into(), list.into());
        }
    }
    Some(interface)
}

fn bond(spec: &Value) -> Value {
    const PARAMETERS: [(&str, &str); 22] = [
        ("mode", "mode"),
        ("lacp-rate", "lacpRate"),
        ("mii-monitor-interval", "miimon"),
        ("up-delay", "upDelay"),
        ("down-delay", "downDelay"),
        ("transmit-hash-policy", "transmitHashPolicy"),
        ("ad-select", "adSelect"),
        ("min-links", "minLinks"),
        ("primary", "primary"),
        ("primary-reselect-policy", "primaryReselect"),
        ("fail-over-mac-policy", "failOverMac"),
        ("arp-interval", "arpInterval"),
        ("arp-ip-targets", "arpTargets"),
        ("arp-validate", "arpValidate"),
        ("arp-all-targets", "arpAllTargets"),
        ("gratuitous-arp", "gratuitousArp"),
        ("resend-igmp", "resendIgmp"),
        ("learn-packet-interval", "learnPacketInterval"),
        ("packets-per-slave", "packetsPerPort"),
        ("packets-per-member", "packetsPerPort"),
        ("all-slaves-active", "allPortsActive"),
        ("all-members-active", "allPortsActive"),
    ];
    let mut bond = Map::new();
    bond.insert("ports".into(), at(spec, &["interfaces"]).clone());
    for (theirs, ours) in PARAMETERS {
        let value = at(spec, &["parameters", theirs]);
        if !value.is_null() {
            bond.insert(ours.into(), value.clone());
        }
    }
    bond.into()
}

/// The lines between `<<WORD` and `WORD` of the document that goes to netplan.
fn here_document(script: &str) -> Option<String> {
    let mut lines = script.lines();
    let is_netplan = |line: &str| line.contains("/netplan/") && line.contains("<<");
    let opening = lines.find(|line| is_netplan(line))?;
    let word = opening.split("<<").nth(1)?.split_whitespace().next()?;
    let word = word.trim_matches(['-', '\'', '"']);
    let inside: Vec<&str> = lines.take_while(|line| line.trim() != word).collect();
    Some(inside.join("\n"))
}

/// `${NAME}` as `__NAME__`: braces would be YAML's own.
fn without_braces(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        plain.push_str(&format!("{before}__{name}__"));
        rest = behind;
    }
    plain + rest
}

/// The variable that an address begins with.
fn variable(address: &str) -> Option<&str> {
    address.strip_prefix("__")?.split("__").next()
}

/// The network that `NAME=$(… sed 's/^10\.28\./10.29./')` puts the machine's own
/// address into: `10.29.0.0/16`.
fn rewritten(script: &str, name: &str) -> Option<String> {
    let line = script
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(&format!("{name}=")) && line.contains(OWN_ADDRESS))?;
    let pattern = line.split_once("s/^")?.1.replace('\\', "");
    let mut parts = pattern.split('/');
    let octets = |text: &str| -> Option<Vec<u8>> {
        let text = text.trim_end_matches('.');
        text.split('.').map(|octet| octet.parse().ok()).collect()
    };
    let (from, mut to) = (octets(parts.next()?)?, octets(parts.next()?)?);
    if from.len() != to.len() || to.len() > 3 {
        return None;
    }
    let prefix = to.len() * 8;
    to.resize(4, 0);
    let to: Vec<String> = to.iter().map(u8::to_string).collect();
    Some(format!("{}/{prefix}", to.join(".")))
}
