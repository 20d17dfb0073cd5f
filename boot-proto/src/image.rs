//! `manifest.json` of a bootable image: what an image folder holds.

use serde::{Deserialize, Serialize};

use crate::ids::{Checksum, Digest};

/// The version of the format that this code writes.
pub const VERSION: u32 = 1;

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageFile {
    /// File name inside the image folder, such as `root.squashfs`.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub digest: Digest,
}

/// Hashes of the root beside its SHA-256, worked out by the image's builder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RootChecks {
    /// BLAKE3 of the whole file. It is a tree of hashes, so that all processors of
    /// a machine share the work; without SHA instructions one alone is faster, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Checksum>,
    /// Root hash of dm-verity's tree over the file ([`crate::verity`]), for machines
    /// that keep the image on a local disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Checksum>,
}

impl RootChecks {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `manifest.json`. An image is named by the SHA-256 of this file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageManifest {
    /// Version of this format: 1.
    pub version: u32,
    /// The name that a pool may use instead of the digest, such as `debian-13`.
    pub name: String,
    /// `uname -m` of the machines it is for, such as `x86_64`.
    pub architecture: String,
    /// `uname -r` of the kernel, such as `6.12.107+deb13-amd64`.
    pub kernel_release: String,
    /// The kernel.
    pub kernel: ImageFile,
    /// The initramfs that `node-agent initramfs` made for that kernel.
    pub initramfs: ImageFile,
    /// The root file system, a squashfs.
    pub root: ImageFile,
    /// Further hashes of the root, so that a machine can choose the cheaper check.
    #[serde(default, skip_serializing_if = "RootChecks::is_empty")]
    pub root_checks: RootChecks,
    /// Kernel arguments that this image needs everywhere.
    #[serde(default)]
    pub kernel_arguments: Vec<String>,
    /// How the image was built, for people: suite, package versions, tool.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub recipe: serde_json::Value,
}
