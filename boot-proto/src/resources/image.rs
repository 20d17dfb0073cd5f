//! `Image`: a bootable image under a name of its own.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// A bootable image: a name for one in the image store.
///
/// Sizes and digests of kernel, initramfs and squashfs are in the image's own
/// manifest, which `digest` pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageSpec {
    /// Digest of the image's manifest, as `boot-server image list` prints it.
    pub digest: Digest,
    /// Kernel arguments in addition to the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
}
