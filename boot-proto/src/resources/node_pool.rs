//! `NodePool`: a set of machines that become the same kind of node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::DesiredPower;
use super::profile::Taint;
use crate::ids::MacAddr;

/// Which machines, and what they become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "NodePool",
        plural = "nodepools",
        shortname = "np",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// Which machines belong to it.
    #[serde(default)]
    pub machines: MachineSelector,
    /// Takes every machine that no other pool takes. One pool may say so.
    #[serde(default)]
    pub catch_all: bool,
    /// Name of an Image, name of an image in the store, or a digest.
    pub image: String,
    /// Cluster to join; without one the machines boot and stay plain machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Subnet its machines get addresses from; without one the subnet of the
    /// link or relay they ask through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Profiles, a later one winning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Node name pattern with `{machine}`, `{chassis}`, `{slot}` or `{mac}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Node labels after the profiles'.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Node taints in addition to the profiles'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// DHCP options by number or name after the profiles', values as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dhcp_options: BTreeMap<String, String>,
    /// Desired power of machines that do not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<DesiredPower>,
    /// Its machines boot by UEFI Secure Boot: shim, then a signed GRUB and a
    /// signed kernel. Firmware that cannot do so is given nothing to boot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secure_boot: bool,
    /// Boot loader of its machines.
    #[serde(default, skip_serializing_if = "LoaderKind::is_default")]
    pub loader: LoaderKind,
    /// Loader by client architecture (option 93, such as `7`), where it is not
    /// the built-in table's: the name of a file in the loaders' folder, or for
    /// HTTP Boot a URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub loaders: BTreeMap<String, String>,
}

/// What firmware is given to load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LoaderKind {
    /// iPXE, which runs scripts and loads over HTTP.
    #[default]
    Ipxe,
    /// GRUB, which reads `/grub.cfg`.
    Grub,
}

impl LoaderKind {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Machines by name, MAC, slot or label; whatever matches one of them belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MachineSelector {
    /// Machine names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// MACs; a machine that nobody declared is known by them, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<MacAddr>,
    /// Slots as `CHASSIS/SLOT`, such as `m1/c11n1`, or a whole chassis, `m1/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<String>,
    /// Labels of the Machine, all of which must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}
