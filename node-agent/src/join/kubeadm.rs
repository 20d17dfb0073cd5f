//! The JoinConfiguration that kubeadm is given (kubeadm.k8s.io/v1beta4).

use std::collections::BTreeMap;

use boot_proto::boot_config::{BootConfig, JoinConfig, JoinToken};
use serde_json::{Value, json};

use super::labels::may_set;

/// The file's text. JSON is YAML too, and needs no thought about quoting.
#[must_use]
pub fn join_configuration(
    config: &BootConfig,
    join: &JoinConfig,
    token: &JoinToken,
    runtime_socket: &str,
) -> String {
    let taints: Vec<Value> = join
        .taints
        .iter()
        .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect}))
        .collect();
    let arguments: Vec<Value> = kubelet_arguments(config, join)
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let document = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": join.endpoint,
                "token": token.token,
                "caCertHashes": join.ca_cert_hashes,
            },
            "tlsBootstrapToken": token.token,
        },
        "nodeRegistration": {
            "name": config.hostname,
            "criSocket": format!("unix://{runtime_socket}"),
            "taints": taints,
            "kubeletExtraArgs": arguments,
        },
        // An API server that is away is waited for here, not inside kubeadm, so
        // that people see each attempt.
        "timeouts": {"discovery": "1m0s"},
    });
    format!("{document:#}\n")
}

/// Arguments of the kubelet: what the node is, under what the profiles say.
fn kubelet_arguments(config: &BootConfig, join: &JoinConfig) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    if let Some(own) = config.network.address {
        // A node without a default route could not find its address itself.
        arguments.insert("node-ip".to_owned(), own.to_string());
    }
    for (name, value) in &join.kubelet_arguments {
        arguments.insert(name.trim_start_matches('-').to_owned(), value.clone());
    }
    let mut labels: Vec<String> = join
        .labels
        .iter()
        .filter(|(key, _)| may_set(key))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.extend(arguments.remove("node-labels"));
    if !labels.is_empty() {
        arguments.insert("node-labels".to_owned(), labels.join(","));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::resources::{Taint, TaintEffect};

    #[test]
    fn a_whole_configuration() {
        let mut config = crate::configure::tests::config();
        let mut join = config.join.take().unwrap();
        join.labels = BTreeMap::from([
            ("rack".to_owned(), "r1".to_owned()),
            ("node-role.kubernetes.io/worker".to_owned(), String::new()),
        ]);
        join.taints = vec![Taint {
            key: "arm".to_owned(),
            value: String::new(),
            effect: TaintEffect::NoSchedule,
        }];
        join.kubelet_arguments = BTreeMap::from([
            ("--max-pods".to_owned(), "50".to_owned()),
            ("node-labels".to_owned(), "a=b".to_owned()),
        ]);
        let token = JoinToken {
            token: "abcdef.0123456789abcdef".to_owned(),
            expires_in_secs: 600,
            server_time_ms: 0,
        };
        let text = join_configuration(&config, &join, &token, "/run/containerd/containerd.sock");
        let value: Value = serde_yaml_ng::from_str(&text).unwrap();
        let node = &value["nodeRegistration"];
        assert_eq!(value["kind"], "JoinConfiguration");
        assert_eq!(
            value["discovery"]["bootstrapToken"]["apiServerEndpoint"],
            "10.0.0.1:6443"
        );
        assert_eq!(
            value["discovery"]["tlsBootstrapToken"],
            "abcdef.0123456789abcdef"
        );
        assert_eq!(node["name"], "m1-c1n1");
        assert_eq!(node["criSocket"], "unix:///run/containerd/containerd.sock");
        assert_eq!(node["taints"][0]["effect"], "NoSchedule");
        assert_eq!(
            node["kubeletExtraArgs"],
            json!([
                {"name": "max-pods", "value": "50"},
                {"name": "node-ip", "value": "10.0.0.77"},
                {"name": "node-labels", "value": "rack=r1,a=b"},
            ])
        );
    }
}
