//! What `boot-server check` finds and a schema or rule can express, so that the
//! API server refuses it as well.
//!
//! Data: a path in the schema and what is laid over it. What needs the sight of
//! other objects (a name that leads nowhere, an address given twice) is not
//! here; boot-server says it in the object's condition `Accepted`.

mod accounts;
mod names;
mod network;
mod profile;
mod storage;
mod subnet;

use serde_json::{Value, json};

use crate::resources::Kind;
pub(super) use names::dns_name;
use names::{LABEL_KEY, LABEL_VALUE, labels, taints};

/// Something laid over the schema at a path.
pub(super) struct Patch {
    pub path: &'static str,
    pub schema: Value,
}

const fn patch(path: &'static str, schema: Value) -> Patch {
    Patch { path, schema }
}

/// One validation rule in CEL.
fn rule(rule: impl Into<String>, message: &str) -> Value {
    json!({"x-kubernetes-validations": [{"rule": rule.into(), "message": message}]})
}

/// A list whose items are given once.
fn set(most: u32) -> Value {
    json!({"x-kubernetes-list-type": "set", "maxItems": most})
}

fn host_port(needs_port: bool) -> String {
    let name = "[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*";
    let host = format!("({name}|\\[[0-9A-Fa-f:.]+\\])");
    let port = ":[1-9][0-9]{0,4}";
    if needs_port {
        format!("{host}{port}")
    } else {
        format!("{host}({port})?")
    }
}

/// MACs that may identify one NIC: neither zero nor a group address.
fn macs(path: &'static str, items: &'static str) -> [Patch; 2] {
    let usable = json!({
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[0-9A-Fa-f][02468ACEace]') && !self.matches('^[0.:-]+$')",
            "message": "this is no address of one NIC: write the address on the NIC's label",
        }],
    });
    [patch(path, set(64)), patch(items, usable)]
}

/// Spans of at least 5 seconds.
const FIVE_SECONDS: &str = "^(0*([5-9]|[1-9][0-9]+)s|0*[1-9][0-9]*[dhm])$";
/// Spans of at least a minute.
pub(super) const ONE_MINUTE: &str = "^(0*([6-9][0-9]|[1-9][0-9]{2,})s|0*[1-9][0-9]*[dhm])$";

/// The rules of a kind.
pub(super) fn of(kind: Kind) -> Vec<Patch> {
    let mut patches = match kind {
        Kind::Chassis => chassis(),
        Kind::Machine => machine(),
        Kind::NodePool => node_pool(),
        Kind::Profile => profile::rules(),
        Kind::Cluster => cluster(),
        Kind::Subnet => subnet::rules(),
        Kind::Image => vec![patch("spec.kernelArguments[]", profile::kernel_argument())],
        Kind::MatchboxGroup => matchbox_group(),
        Kind::MatchboxProfile => matchbox_profile(),
    };
    patches.push(patch(
        "status.conditions",
        json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "maxItems": 32}),
    ));
    patches.push(patch(
        "status.conditions[].message",
        json!({"maxLength": 32768}),
    ));
    patches
}

/// The rules of address claims.
pub(super) fn of_claims() -> Vec<Patch> {
    vec![patch(
        "",
        rule(
            "self.metadata.name == 'ipv4-' + self.spec.address.replace('.', '-')",
            "the object that claims an address is named by it",
        ),
    )]
}

fn chassis() -> Vec<Patch> {
    let host = host_port(false);
    let ways = "[has(self.secret), has(self.passwordFile), has(self.privateKeyFile)].filter(way, way).size()";
    let not_blank = json!({"pattern": "\\S"});
    vec![
        patch(
            "spec.address",
            json!({"pattern": format!("^(https?://{host}(/\\S*)?|{host})$"), "maxLength": 512}),
        ),
        patch("spec.profile", json!({"pattern": "^[A-Za-z0-9._-]+$"})),
        patch(
            "spec.hostKey",
            json!({"pattern": "^SHA256:[A-Za-z0-9+/]{43}={0,2}$"}),
        ),
        patch(
            "spec.certificate",
            json!({"pattern": "^:*([0-9A-Fa-f]:*){64}$"}),
        ),
        patch("spec.scanInterval", json!({"pattern": FIVE_SECONDS})),
        patch("spec.powerInterval", json!({"pattern": FIVE_SECONDS})),
        patch("spec.credentials.username", not_blank.clone()),
        patch("spec.credentials.passwordFile", not_blank.clone()),
        patch("spec.credentials.privateKeyFile", not_blank.clone()),
        patch("spec.credentials.secret", not_blank),
        patch(
            "spec.credentials",
            rule(
                format!("{ways} == 1"),
                "give one of secret, passwordFile and privateKeyFile",
            ),
        ),
        patch(
            "spec.credentials",
            rule(
                "has(self.secret) || has(self.username)",
                "the credentials have no user name: add username",
            ),
        ),
        patch(
            "spec",
            rule(
                "!self.insecure || (!has(self.hostKey) && !has(self.certificate))",
                "insecure takes any host key or certificate, but one is given: take insecure out",
            ),
        ),
    ]
}

/// A hardware address as Go's `net.ParseMAC` reads one: 6, 8 or 20 octets with
/// colons or dashes, groups of two octets with dots, or the bare digits.
fn matchbox_group() -> Vec<Patch> {
    let forms = [(5, 2), (7, 3), (19, 9)].map(|(octets, groups)| {
        let x = "[0-9A-Fa-f]";
        format!(
            "({x}{{2}}:){{{octets}}}{x}{{2}}|({x}{{2}}-){{{octets}}}{x}{{2}}|({x}{{4}}[.]){{{groups}}}{x}{{4}}|{x}{{{}}}",
            2 * (octets + 1)
        )
    });
    let macs = forms.join("|");
    vec![
        patch(
            "spec.selector",
            rule(
                format!(
                    "self.all(key, key.lowerAscii() != 'mac' || self[key].matches('^({macs})$'))"
                ),
                "this is no MAC: write six octets, such as 52:54:00:a1:9c:ae",
            ),
        ),
        patch("spec.selector", json!({"maxProperties": 64})),
    ]
}

fn matchbox_profile() -> Vec<Patch> {
    let text = json!({"maxLength": crate::resources::MAX_TEMPLATE_BYTES});
    let texts = ["spec.ignition.text", "spec.cloud.text", "spec.generic.text"];
    let one_line = json!({"pattern": "^[^\\x00-\\x1f\\x7f]*$", "maxLength": 4096});
    let lines = ["spec.boot.kernel", "spec.boot.initrd[]", "spec.boot.args[]"];
    let texts = texts.map(|path| patch(path, text.clone()));
    texts
        .into_iter()
        .chain(lines.map(|path| patch(path, one_line.clone())))
        .collect()
}

fn cluster() -> Vec<Patch> {
    vec![
        patch(
            "spec.endpoint",
            json!({"pattern": format!("^{}$", host_port(true)), "maxLength": 300}),
        ),
        patch("spec.caCertHashes", json!({"minItems": 1, "maxItems": 16})),
        patch(
            "spec.caCertHashes[]",
            json!({"pattern": "^sha256:[0-9A-Fa-f]{64}$"}),
        ),
        patch("spec.tokenLifetime", json!({"pattern": ONE_MINUTE})),
        patch(
            "spec",
            rule(
                "has(self.kubeconfigFile) != has(self.kubeconfigSecret)",
                "give one of kubeconfigFile and kubeconfigSecret",
            ),
        ),
    ]
}

fn machine() -> Vec<Patch> {
    let placeholders = crate::uuid::placeholders()
        .map(|uuid| format!("'{}'", uuid.replace('-', "")))
        .collect::<Vec<_>>()
        .join(", ");
    let mut patches = vec![
        patch(
            "spec.uuid",
            json!({
                "pattern": "^([0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32})$",
                "x-kubernetes-validations": [{
                    "rule": format!("!(self.lowerAscii().replace('-', '') in [{placeholders}])"),
                    "message": "this UUID is a placeholder that many machines share: leave uuid out and give macs, or chassis and slot",
                }],
            }),
        ),
        patch(
            "spec",
            rule(
                "!has(self.slot) || has(self.chassis)",
                "a slot without a chassis says nothing: add chassis",
            ),
        ),
        // A found machine is recognised by its name, `CHASSIS-SLOT` or the MAC
        // with dashes; which chassis there are a rule cannot see.
        patch(
            "",
            rule(
                "(has(self.spec.macs) && self.spec.macs.size() > 0) || has(self.spec.uuid) || (has(self.spec.chassis) && has(self.spec.slot)) || self.metadata.name.contains('-')",
                "nothing can be recognised as this machine: add macs, or uuid, or chassis and slot",
            ),
        ),
        patch("spec.hostname", dns_name()),
        patch("spec.profiles", set(64)),
    ];
    patches.extend(macs("spec.macs", "spec.macs[]"));
    patches.extend(labels("spec.labels", "spec.labels{}"));
    patches.extend(taints(
        "spec.taints",
        "spec.taints[].key",
        "spec.taints[].value",
    ));
    patches
}

fn node_pool() -> Vec<Patch> {
    let part = "[{](machine|chassis|slot|mac)[}]";
    let letter = format!("([a-z0-9]|{part})");
    let inner = format!("([-a-z0-9]|{part})*");
    let label = format!("{letter}({inner}{letter})?");
    let mut patches = vec![
        patch(
            "spec.image",
            json!({"pattern": "^(sha256:[0-9A-Fa-f]{64}|[^\\s/:\\x00-\\x1f\\x7f]{1,253})$"}),
        ),
        patch(
            "spec.hostname",
            json!({
                "pattern": format!("^{label}([.]{label})*$"),
                "maxLength": 253,
                "x-kubernetes-validations": [{
                    "rule": "self.matches('[{](machine|slot|mac)[}]')",
                    "message": "this gives every machine of the pool the same name: use {machine}, {slot} or {mac}",
                }],
            }),
        ),
        patch("spec.profiles", set(64)),
        patch("spec.machines.names", set(8192)),
        patch("spec.machines.slots", set(8192)),
        patch(
            "spec.machines.slots[]",
            json!({"pattern": format!("^[^/]+/([*]|{})$", super::schema::SLOT), "maxLength": 512}),
        ),
        patch(
            "spec.machines.matchLabels",
            rule(
                format!("self.all(key, key.matches('{LABEL_KEY}'))"),
                "no Machine can have such a label",
            ),
        ),
    ];
    patches.push(patch(
        "spec.machines.matchLabels{}",
        json!({"pattern": LABEL_VALUE, "maxLength": 63}),
    ));
    patches.extend(loaders());
    patches.extend(macs("spec.machines.macs", "spec.machines.macs[]"));
    patches.extend(labels("spec.labels", "spec.labels{}"));
    patches.extend(taints(
        "spec.taints",
        "spec.taints[].key",
        "spec.taints[].value",
    ));
    patches
}

/// A client architecture (option 93 has 16 bits) and what it is to load; the
/// boot file field holds 127 characters.
fn loaders() -> [Patch; 2] {
    let code =
        "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    [
        patch(
            "spec.loaders",
            rule(
                format!("self.all(key, key.matches('^{code}$'))"),
                "this is no client architecture: write the code of option 93, such as 0 for BIOS, 7 for x86-64 UEFI, 16 for its HTTP Boot",
            ),
        ),
        patch(
            "spec.loaders{}",
            json!({
                "pattern": "^[!-~]+$",
                "maxLength": 127,
                "x-kubernetes-validations": [{
                    "rule": "!self.matches('(^|/)[.][.](/|$)')",
                    "message": "this leaves the loaders' folder: write the path without '..'",
                }],
            }),
        ),
    ]
}
