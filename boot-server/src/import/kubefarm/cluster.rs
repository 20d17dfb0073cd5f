//! The cluster to join: kubefarm makes it itself, so its address is among the
//! values, and its CA is not.

use boot_proto::quantity::Span;
use boot_proto::resources::{ClusterSpec, OldNode};
use serde_json::Value;

use super::Options;
use super::values::{at, items, text, text_at};
use crate::import::Findings;

/// No CA has it; `boot-server check` warns of it.
pub const NO_HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn read(
    values: &Value,
    options: &Options,
    findings: &mut Findings,
) -> Option<ClusterSpec> {
    let Some(endpoint) = options.endpoint.clone().or_else(|| endpoint(values)) else {
        findings.unfilled(
            "kubernetes.apiServer",
            "the values name no address of the API server, so the pools join no cluster; give \
             --endpoint HOST:PORT",
        );
        return None;
    };
    let hash = options.ca_cert_hash.clone().unwrap_or_else(|| {
        findings.unfilled(
            "kubernetes",
            "the CA's hash is not among the values; `kubeadm token create --print-join-command` \
             shows it: give it as --ca-cert-hash, or write it into the Cluster",
        );
        NO_HASH.to_owned()
    });
    let kubeconfig = format!("{}.kubeconfig", options.name);
    findings.unfilled(
        "kubernetes",
        format!(
            "put the kubeconfig of an account that may make bootstrap tokens beside the manifests, \
             as {kubeconfig}"
        ),
    );
    Some(ClusterSpec {
        endpoint,
        ca_cert_hashes: vec![hash],
        kubeconfig_file: Some(kubeconfig),
        kubeconfig_secret: None,
        old_node: OldNode::default(),
        token_lifetime: Span(600),
    })
}

/// Older charts spell it `apiserver`. What the chart itself advertises first.
fn endpoint(values: &Value) -> Option<String> {
    if at(values, &["kubernetes", "enabled"]) == &Value::Bool(false) {
        return None;
    }
    let servers = ["apiServer", "apiserver"].map(|key| at(values, &["kubernetes", key]));
    servers.into_iter().find_map(|server| {
        let first = |key| items(at(server, &["certSANs", key])).first().and_then(text);
        let host = text_at(server, &["extraArgs", "advertise-address"])
            .or_else(|| text_at(server, &["service", "loadBalancerIP"]))
            .or_else(|| first("ipAddresses"))
            .or_else(|| first("dnsNames"))?;
        let port = text_at(server, &["service", "port"]).unwrap_or_else(|| "6443".into());
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        Some(if is_v6 {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        })
    })
}
