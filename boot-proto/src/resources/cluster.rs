//! `Cluster`: a Kubernetes cluster to join.

use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// A Kubernetes cluster and where the credentials to mint its tokens are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Cluster",
        plural = "clusters",
        shortname = "mcl",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSpec {
    /// `host:port` of the API server, as nodes reach it.
    pub endpoint: String,
    /// `sha256:…` of the cluster CA's public key (kubeadm's
    /// `discovery-token-ca-cert-hash`); several while a CA is replaced.
    pub ca_cert_hashes: Vec<String>,
    /// Kubeconfig file of an account that may create and delete bootstrap
    /// tokens and patch nodes. A relative path starts at the manifest folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_file: Option<String>,
    /// Name of a Kubernetes Secret with such a kubeconfig under `kubeconfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<String>,
    /// How long a join token lives.
    #[serde(default = "token_lifetime")]
    pub token_lifetime: Span,
    /// What becomes of the Node object that a machine left behind when it joins
    /// anew.
    #[serde(default, skip_serializing_if = "OldNode::is_default")]
    pub old_node: OldNode,
}

/// What becomes of the Node object of a machine's former start. kubeadm joins
/// under no name whose Node is Ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OldNode {
    /// It is deleted, and the pods on it with it: the machine lost all it had.
    #[default]
    Delete,
    /// It stays with its labels, annotations and pods; the machine waits until
    /// Kubernetes has missed its heartbeats, some 50 s after the restart.
    Await,
}

impl OldNode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const fn token_lifetime() -> Span {
    Span(600)
}
