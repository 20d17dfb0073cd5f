//! Names, labels and taints, as Kubernetes takes them.

use serde_json::{Value, json};

use super::{Patch, patch, rule};

/// A label or taint key (`IsQualifiedName`), without its lengths.
pub(super) const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// A label or taint value (`IsValidLabelValue`).
pub(super) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

/// A DNS subdomain of lower-case letters (RFC 1123 §2.1).
pub(in crate::kubernetes) fn dns_name() -> Value {
    let label = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
    json!({"pattern": format!("^{label}([.]{label})*$"), "maxLength": 253})
}

/// Node labels at `path`, their values at `values`.
pub(super) fn labels(path: &'static str, values: &'static str) -> [Patch; 2] {
    [
        patch(
            path,
            rule(
                format!("self.all(key, key.matches('{LABEL_KEY}'))"),
                "Kubernetes refuses a label key: letters, digits, '-', '_' and '.', 63 at most; in front of it there may be a DNS name and '/'",
            ),
        ),
        patch(values, json!({"pattern": LABEL_VALUE, "maxLength": 63})),
    ]
}

/// Taints at `path`: one key and effect once, as Kubernetes wants it.
pub(super) fn taints(path: &'static str, key: &'static str, value: &'static str) -> [Patch; 3] {
    [
        patch(
            path,
            json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key", "effect"], "maxItems": 64}),
        ),
        patch(key, json!({"pattern": LABEL_KEY, "maxLength": 317})),
        patch(value, json!({"pattern": LABEL_VALUE, "maxLength": 63})),
    ]
}
