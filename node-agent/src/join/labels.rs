//! Labels that a kubelet may give its own node.
//!
//! The kubelet does not start with any other label of Kubernetes' own
//! namespaces, and the NodeRestriction admission plugin refuses them; boot-server
//! sets those once the Node exists.

/// Labels of Kubernetes' namespaces that a kubelet may set.
const ALLOWED: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Namespaces that belong to the kubelet and its node, with all below them.
const ALLOWED_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Namespaces that belong to Kubernetes, with all below them.
const RESERVED_NAMESPACES: &[&str] = &["kubernetes.io", "k8s.io"];

/// Whether a kubelet may set the label `key` on its own node.
#[must_use]
pub fn may_set(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else {
        return true;
    };
    let is_in = |wanted: &[&str]| {
        wanted.iter().any(|own| {
            let above = namespace.strip_suffix(own);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    };
    !is_in(RESERVED_NAMESPACES) || ALLOWED.contains(&key) || is_in(ALLOWED_NAMESPACES)
}

#[cfg(test)]
mod tests {
    use super::may_set;

    #[test]
    fn what_a_kubelet_may_set() {
        for (key, expected) in [
            ("rack", true),
            ("example.com/rack", true),
            ("mykubernetes.io/x", true),
            ("kubernetes.io/hostname", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/anything", true),
            ("a.kubelet.kubernetes.io/x", true),
            ("node-role.kubernetes.io/worker", false),
            ("node-restriction.kubernetes.io/x", false),
            ("kubernetes.io/role", false),
            ("x.k8s.io/y", false),
        ] {
            assert_eq!(may_set(key), expected, "{key}");
        }
    }
}
