//! `MatchboxGroup` and `MatchboxProfile`: what Matchbox keeps in the folders of
//! the same names, so that its machines (Flatcar, Fedora CoreOS) are served from
//! the same inventory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most of one template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 256 * 1024;

/// Machines by what they say of themselves, and the profile they are given.
///
/// A group matches a request whose query parameters have every selector. The
/// group with the most selectors wins; one without selectors takes the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "MatchboxGroup",
        plural = "matchboxgroups",
        shortname = "mbg",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchboxGroupSpec {
    /// Name of the MatchboxProfile.
    pub profile: String,
    /// Query parameters and the values they must have, such as `mac`, `uuid`,
    /// `hostname`, `serial`, or any other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Values for templates, of any shape.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::kubernetes::any_object")
    )]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// What machines of a group boot, and the configs they may fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "MatchboxProfile",
        plural = "matchboxprofiles",
        shortname = "mbp",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchboxProfileSpec {
    /// What the boot loader starts.
    #[serde(default)]
    pub boot: MatchboxBoot,
    /// What `/ignition` gives: Ignition JSON as it stands where the name ends in
    /// `.ign` or `.ignition`, else a template of a Butane config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignition: Option<MatchboxTemplate>,
    /// Template of what `/cloud` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<MatchboxTemplate>,
    /// Template of what `/generic` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generic: Option<MatchboxTemplate>,
}

/// Kernel, initramfs and kernel arguments, as the boot script names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchboxBoot {
    /// URL of the kernel, or a path such as `/assets/flatcar/vmlinuz`.
    #[serde(default)]
    pub kernel: String,
    /// URLs or paths of initramfs images; iPXE's options may stand before one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initrd: Vec<String>,
    /// Kernel arguments; iPXE's `${uuid}` and the like are expanded by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// A text under the name of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchboxTemplate {
    /// Name of the file; its ending says what it is.
    pub name: String,
    /// The text, 256 KiB at most.
    pub text: String,
}
