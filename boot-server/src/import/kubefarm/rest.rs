//! Values that reach neither a node nor the network, each with its reason.

use serde_json::Value;

use super::values::entries;
use crate::import::Findings;

/// What happens to a value and all below it; no reason where it is read elsewhere.
const FATES: [(&str, Option<&str>); 40] = [
    ("global", None),
    ("kubernetes.enabled", None),
    ("kubernetes.apiServer.certSANs", None),
    ("kubernetes.apiserver.certSANs", None),
    ("kubernetes.apiServer.service.loadBalancerIP", None),
    ("kubernetes.apiserver.service.loadBalancerIP", None),
    ("kubernetes.apiServer.service.port", None),
    ("kubernetes.apiserver.service.port", None),
    ("kubernetes.apiServer.extraArgs.advertise-address", None),
    ("kubernetes.apiserver.extraArgs.advertise-address", None),
    (
        "kubernetes",
        Some("it belongs to the control plane: values of the chart control-plane"),
    ),
    (
        "tokenGenerator",
        Some("boot-server mints a token for each boot, which lives minutes and works once"),
    ),
    ("ltsp.enabled", None),
    ("ltsp.config.timezone", None),
    ("ltsp.config.sshAuthorizedKeys", None),
    ("ltsp.config.sysctls", None),
    ("ltsp.config.modules", None),
    ("ltsp.config.disableAutoupdate", None),
    ("ltsp.config.options", None),
    ("ltsp.config.extraFiles", None),
    ("ltsp.config.rootPasswd", None),
    (
        "ltsp.config.dockerConfig",
        Some("the runtime is containerd; its configuration is a part of the image"),
    ),
    (
        "ltsp.config.sections",
        Some("shell code of LTSP's own steps has no counterpart; write a unit or a file"),
    ),
    (
        "ltsp.config.extraProjectedItems",
        Some("it is not in the values; write its files as files of a Profile"),
    ),
    (
        "ltsp.image",
        Some("images are built by cargo xtask image build and added by boot-server image add"),
    ),
    (
        "ltsp.publishDHCP",
        Some("boot-server names itself as the server to boot from"),
    ),
    (
        "ltsp",
        Some("it belongs to the deployment of the boot server: values of the chart moonfarm"),
    ),
    ("nodePools.range", None),
    ("nodePools.nodes.name", None),
    ("nodePools.nodes.mac", None),
    ("nodePools.nodes.ip", None),
    ("nodePools.nodes.clientID", None),
    ("nodePools.nodes.clientIDs", None),
    ("nodePools.nodes.leaseTime", None),
    ("nodePools.tags", None),
    ("nodePools.extraOpts", None),
    ("tags.dhcpOptions", None),
    ("tags.ltspOptions", None),
    ("tags.kubernetesLabels", None),
    ("tags.kubernetesTaints", None),
];

/// Reports what `values`, the user's own, have besides what is read elsewhere.
pub(super) fn report(values: &Value, findings: &mut Findings) {
    for (key, value) in entries(values) {
        walk(key, key, value, findings);
    }
}

/// `shown` has the places in lists that `path` has not.
fn walk(path: &str, shown: &str, value: &Value, findings: &mut Findings) {
    if is_empty(value) {
        return;
    }
    let goes_on = FATES.iter().any(|(known, _)| {
        known
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    match (goes_on, value) {
        (true, Value::Object(map)) => {
            for (key, value) in map {
                walk(
                    &format!("{path}.{key}"),
                    &format!("{shown}.{key}"),
                    value,
                    findings,
                );
            }
        }
        (true, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                walk(path, &format!("{shown}[{index}]"), item, findings);
            }
        }
        _ => match fate(path) {
            Some(None) => {}
            Some(Some(reason)) => findings.left_out(shown, reason),
            None => findings.left_out(shown, "kubefarm's chart has no such value"),
        },
    }
}

/// The most particular entry that the path begins with.
fn fate(path: &str) -> Option<Option<&'static str>> {
    let begins = |known: &str| {
        path.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FATES
        .iter()
        .filter(|(known, _)| begins(known))
        .max_by_key(|(known, _)| known.len())
        .map(|(_, reason)| *reason)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
