//! `Image`: a bootable image under a name of its own.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// A bootable image: a name for one in the image store.
///
/// Sizes and digests of kernel, initramfs and squashfs are in the image's own
/// manifest, which `digest` pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Image",
        plural = "images",
        shortname = "img",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageSpec {
    /// Digest of the image's manifest, as `boot-server image list` prints it.
    pub digest: Digest,
    /// Kernel arguments in addition to the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
}
