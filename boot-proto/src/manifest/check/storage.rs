//! Disks and fstab lines of profiles. What is formatted is named without doubt,
//! or it is a mistake.

use std::collections::BTreeSet;

use super::profiles::check_path;
use super::{Notes, Read, forms};
use crate::manifest::node::path;
use crate::resources::{DiskFormat, DiskSpec, OverlayPlace, PartitionKind, ProfileSpec};

/// Mount points that the boot itself fills.
const OWN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/boot", "/etc"];

pub(super) fn check(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    for (at, entry) in profile.spec().fstab.iter().enumerate() {
        let within = |field: &'static str| path!["spec", "fstab", at, field];
        let is_swap = entry.kind == "swap" && entry.path == "none";
        if !is_swap {
            check_mount_point(notes, profile, &within("path"), &entry.path);
        }
        let texts = [("device", &entry.device), ("type", &entry.kind)];
        for (field, text) in texts {
            if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
                notes.add(
                    profile,
                    &within(field),
                    format!("{text:?} cannot stand in fstab"),
                    "write it without blanks, such as LABEL=data",
                );
            }
        }
        check_options(notes, profile, &within("options"), &entry.options);
    }
    check_places(notes, profile);
    let mut names = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for (at, disk) in profile.spec().disks.iter().enumerate() {
        if !names.insert(disk.name.as_str()) {
            notes.add(
                profile,
                &path!["spec", "disks", at, "name"],
                format!("{:?} is given twice", disk.name),
                "keep one of the two",
            );
        }
        check_disk(notes, profile, at, disk, &mut labels);
    }
}

/// The file systems that overlay and image may be on.
fn check_places(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let hint = "write the label of a file system: 1 to 12 letters, digits, dashes or underscores";
    if let Some(overlay) = &profile.spec().overlay {
        let label = overlay.label.as_deref();
        let at = path!["spec", "overlay", "label"];
        match (overlay.place, label) {
            (OverlayPlace::Disk, None) => {
                let at = path!["spec", "overlay"];
                notes.add(profile, &at, "an overlay on a disk needs a label", hint);
            }
            (OverlayPlace::Disk, Some(label)) if !is_label(label) => {
                notes.add(profile, &at, format!("{label:?} is no label"), hint);
            }
            (OverlayPlace::Ram | OverlayPlace::Zram, Some(_)) => {
                let what = "a label is for an overlay on a disk";
                notes.add(profile, &at, what, "write place: disk, or take label out");
            }
            _ => {}
        }
    }
    if let Some(keep) = &profile.spec().keep_image {
        if !is_label(&keep.label) {
            let at = path!["spec", "keepImage", "label"];
            notes.add(profile, &at, format!("{:?} is no label", keep.label), hint);
        }
        if keep.on_corruption.is_some() && !keep.verity {
            notes.add(
                profile,
                &path!["spec", "keepImage", "onCorruption"],
                "nothing finds a wrong block while the machine runs",
                "write verity: true beside it, or take it out",
            );
        }
    }
}

fn check_disk<'a>(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    at: usize,
    disk: &'a DiskSpec,
    labels: &mut BTreeSet<&'a str>,
) {
    let wanted = &disk.matches;
    let is_exact = wanted.serial.is_some() || wanted.wwn.is_some() || wanted.by_path.is_some();
    if !is_exact && (wanted.model.is_none() || disk.format == DiskFormat::IfEmpty) {
        notes.add(
            profile,
            &path!["spec", "disks", at, "match"],
            "this could be any disk",
            "write its serial, wwn or byPath; a model alone is not enough where a disk may be formatted",
        );
    }
    if disk.partitions.is_empty() || disk.partitions.len() > 16 {
        notes.add(
            profile,
            &path!["spec", "disks", at, "partitions"],
            "a disk has 1 to 16 partitions here",
            "list them, each with its label",
        );
    }
    for (number, partition) in disk.partitions.iter().enumerate() {
        let within = |field: &'static str| path!["spec", "disks", at, "partitions", number, field];
        let label = partition.label.as_str();
        if !is_label(label) {
            notes.add(
                profile,
                &within("label"),
                format!("{label:?} is no label"),
                "write 1 to 12 letters, digits, dashes or underscores (XFS takes no more)",
            );
        } else if !labels.insert(label) {
            notes.add(
                profile,
                &within("label"),
                format!("label {label:?} is given twice"),
                "it is mounted by its label, so that must be unique",
            );
        }
        let is_last = number + 1 == disk.partitions.len();
        if partition.size.is_none() && !is_last {
            notes.add(
                profile,
                &path!["spec", "disks", at, "partitions", number],
                format!("{label} has no size and is not the last partition"),
                "add size:; only the last takes what is left",
            );
        }
        if partition.size.is_some_and(|size| size.0 < 16 << 20) {
            notes.add(
                profile,
                &within("size"),
                "a partition needs 16Mi at least",
                "",
            );
        }
        if let Some(mount) = &partition.path {
            check_mount_point(notes, profile, &within("path"), mount);
            if partition.kind == PartitionKind::Swap {
                notes.add(
                    profile,
                    &within("path"),
                    "swap is not mounted",
                    "take path out",
                );
            }
        }
        check_options(notes, profile, &within("options"), &partition.options);
    }
}

fn is_label(label: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=12).contains(&label.len()) && label.bytes().all(is_plain)
}

fn check_mount_point(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    path: &[crate::manifest::node::Step<'_>],
    text: &str,
) {
    check_path(notes, profile, path, text);
    if forms::is_absolute_path(text) && OWN.contains(&text) {
        notes.add(
            profile,
            path,
            format!("{text} belongs to the boot"),
            "mount it elsewhere",
        );
    }
}

fn check_options(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    path: &[crate::manifest::node::Step<'_>],
    options: &[String],
) {
    let is_option = |option: &String| {
        !option.is_empty() && !option.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    if let Some(option) = options.iter().find(|option| !is_option(option)) {
        notes.add(
            profile,
            path,
            format!("{option:?} is no mount option"),
            "write one option a list item, such as noatime",
        );
    }
}
