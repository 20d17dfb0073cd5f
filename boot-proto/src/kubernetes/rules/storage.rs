//! Disks, partitions, fstab lines, and what lies on a disk of a Profile.

use serde_json::{Value, json};

use super::profile::by;
use super::{Patch, patch, rule};

/// Mount points that the boot itself fills.
const OWN: &str = "['/proc', '/sys', '/dev', '/run', '/boot', '/etc']";
/// The form of a mount point.
const PATH: &str = "^(/[^/\\\\x00-\\\\x1f\\\\x7f]+)+$";
/// What stands between blanks in fstab(5).
const WORD: &str = "^[^\\s\\x00-\\x1f\\x7f]+$";

pub(super) fn rules() -> Vec<Patch> {
    let mut patches = vec![
        patch(
            "spec.overlay",
            rule(
                "(has(self.place) && self.place == 'disk') == has(self.label)",
                "an overlay on a disk has a label, another has none",
            ),
        ),
        patch("spec.overlay.label", label()),
        patch("spec.keepImage.label", label()),
        patch(
            "spec.keepImage",
            rule(
                "!has(self.onCorruption) || (has(self.verity) && self.verity)",
                "onCorruption means something with verity: true only",
            ),
        ),
    ];
    patches.extend(fstab());
    patches.extend(disks());
    patches.extend(partitions());
    patches
}

/// A label that ext4 and XFS can have.
fn label() -> Value {
    json!({"pattern": "^[A-Za-z0-9_-]{1,12}$", "maxLength": 12})
}

/// A rule on where `self.path` may be mounted.
fn is_mount_point() -> String {
    format!(
        "self.path.matches('{PATH}') && !self.path.matches('/[.][.]?(/|$)') && !(self.path in {OWN})"
    )
}

const MOUNT_POINT: &str = "this is no place to mount at: begin with '/', write it without '..', '.' and double or closing slashes, and leave /proc, /sys, /dev, /run, /boot and /etc to the boot";

fn fstab() -> [Patch; 6] {
    [
        patch("spec.fstab", json!({"maxItems": 64})),
        patch("spec.fstab[].path", json!({"maxLength": 4095})),
        patch("spec.fstab[].device", json!({"pattern": WORD})),
        patch(
            "spec.fstab[].type",
            json!({"pattern": WORD, "maxLength": 64}),
        ),
        patch("spec.fstab[].options[]", json!({"pattern": WORD})),
        patch(
            "spec.fstab[]",
            rule(
                format!(
                    "(self.type == 'swap' && self.path == 'none') || ({})",
                    is_mount_point()
                ),
                MOUNT_POINT,
            ),
        ),
    ]
}

fn disks() -> [Patch; 3] {
    [
        patch("spec.disks", by("name", 32)),
        patch(
            "spec.disks",
            rule(
                "self.all(one, self.all(two, one.name == two.name || !one.partitions.exists(part, two.partitions.exists(other, part.label == other.label))))",
                "a label is given twice: a partition is mounted by its label, so that must be unique",
            ),
        ),
        patch(
            "spec.disks[]",
            rule(
                "has(self.match.serial) || has(self.match.wwn) || has(self.match.byPath) || (has(self.match.model) && self.format != 'ifEmpty')",
                "this could be any disk: write its serial, wwn or byPath; a model alone is not enough where a disk may be formatted",
            ),
        ),
    ]
}

fn partitions() -> Vec<Patch> {
    let mut list = by("label", 16);
    list["minItems"] = json!(1);
    vec![
        patch("spec.disks[].partitions", list),
        patch(
            "spec.disks[].partitions",
            rule(
                "self.all(part, has(part.size) || part.label == self[self.size() - 1].label)",
                "a partition has no size and is not the last one: only the last takes what is left",
            ),
        ),
        patch("spec.disks[].partitions[].label", label()),
        patch(
            "spec.disks[].partitions[].size",
            rule(
                "type(self) == string ? quantity(self).compareTo(quantity('16Mi')) >= 0 : self >= 16777216",
                "a partition needs 16Mi at least",
            ),
        ),
        patch(
            "spec.disks[].partitions[].options[]",
            json!({"pattern": WORD}),
        ),
        patch(
            "spec.disks[].partitions[]",
            rule(
                "self.type != 'swap' || !has(self.path)",
                "swap is not mounted: take path out",
            ),
        ),
        patch(
            "spec.disks[].partitions[]",
            rule(
                format!("!has(self.path) || ({})", is_mount_point()),
                MOUNT_POINT,
            ),
        ),
    ]
}
