//! Local storage of a machine: fstab entries and disks.

use serde::{Deserialize, Serialize};

use crate::quantity::ByteSize;

/// A line of `/etc/fstab` (fstab(5)). A tmpfs has an entry of its own kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FstabEntry {
    /// What is mounted: `LABEL=data`, `UUID=…`, `server:/export` or a device.
    pub device: String,
    /// Absolute mount point; `none` for swap.
    pub path: String,
    /// File system type, such as `ext4`, `nfs` or `swap`.
    #[serde(rename = "type", default = "auto")]
    pub kind: String,
    /// Mount options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The machine starts without it where it is missing (`nofail`); that is so
    /// when left out, as a diskless machine should start without its disk.
    #[serde(default = "yes")]
    pub nofail: bool,
}

fn auto() -> String {
    "auto".to_owned()
}

const fn yes() -> bool {
    true
}

/// A local disk that may be used. A disk that no entry selects is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DiskSpec {
    /// Name of this entry.
    pub name: String,
    /// Which disk. When more than one fits, none is touched.
    #[serde(rename = "match")]
    pub matches: DiskMatch,
    /// Whether it may be written to.
    #[serde(default)]
    pub format: DiskFormat,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionSpec>,
}

/// Which disk is meant; everything that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DiskMatch {
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World wide name, such as `0x5000c500a1b2c3d4` or `eui.…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Its place as udev writes it below `/dev/disk/by-path`, with `*` and `?`:
    /// `pci-0000:00:1f.2-ata-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
    /// Model, with `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// When a disk is partitioned and formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum DiskFormat {
    /// Never: only what is there is mounted.
    #[default]
    Never,
    /// When its beginning and its end are empty: no partition table, no file
    /// system, no RAID, no LVM.
    IfEmpty,
}

/// A partition with a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PartitionSpec {
    /// Label of the file system, by which it is mounted; at most 12 characters.
    pub label: String,
    /// Size; the last may leave it out and takes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// File system.
    #[serde(rename = "type", default)]
    pub kind: PartitionKind,
    /// Absolute mount point; without one it is only made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Mount options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What a partition is made into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum PartitionKind {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
    /// Swap space.
    Swap,
}

impl PartitionKind {
    /// The word of fstab.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Swap => "swap",
        }
    }
}

/// Where all that is written to `/` goes. It is empty at every boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OverlaySpec {
    /// The kind of place.
    // Not `on`: kubectl reads YAML 1.1, where that is true.
    #[serde(default)]
    pub place: OverlayPlace,
    /// For a disk: label of an ext4 or XFS file system on it, of which the overlay
    /// takes a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Kinds of places for the overlay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OverlayPlace {
    /// A tmpfs.
    #[default]
    Ram,
    /// Compressed RAM: an ext4 on a zram device, made with the image's `mkfs.ext4`.
    Zram,
    /// A file system on a local disk; RAM where it is missing.
    Disk,
}

/// Keeps the image on a local disk, by its digest: the next boot of the same image
/// downloads nothing, and the image takes no RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeepImage {
    /// Label of an ext4 or XFS file system on a local disk, such as a partition that
    /// `disks` names. Where it is missing, the image is in RAM.
    pub label: String,
    /// Checks each block of the image when it is read (dm-verity), for as long as the
    /// machine runs; `onCorruption` says what a wrong one does. A boot after an
    /// orderly shutdown then begins without reading the whole image; any other boot
    /// checks all of it and downloads it again where it is wrong. The image's manifest
    /// must have its root hash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verity: bool,
    /// What a block does that is wrong; `restart` when left out. Only with `verity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_corruption: Option<OnCorruption>,
}

/// What a wrong block of a kept image does (kernel document
/// admin-guide/device-mapper/verity).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OnCorruption {
    /// Restarts the machine at once; its next boot checks all of the image.
    #[default]
    Restart,
    /// Panics the kernel, whose dump or last words are kept where that is set up; then
    /// as a restart.
    Panic,
    /// Fails the read: what needs the block goes wrong, the rest of the node runs on.
    /// Each boot checks all of the image, as an orderly shutdown says nothing then.
    Error,
}
