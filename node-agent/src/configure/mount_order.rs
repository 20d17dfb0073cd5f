//! Services that wait for mounts which may be missing.
//!
//! systemd does not order `nofail` mounts before anything, so that a container
//! runtime would start, write to the overlay, and have its files covered when the
//! disk is mounted. Ordered, not required: `nofail` says that the machine goes on
//! without the disk.

use boot_proto::resources::FstabEntry;

use super::units::JOIN_UNIT;
use super::{Change, Changes};
use crate::systemd::mount_unit;

const UNITS: &str = "/etc/systemd/system";
/// Services, and the folders where they keep what they know.
const SERVICES: &[(&str, &[&str])] = &[
    ("containerd.service", &["/var/lib/containerd"]),
    ("crio.service", &["/var/lib/containers", "/var/lib/crio"]),
    ("kubelet.service", KUBELET),
    (JOIN_UNIT, KUBELET),
    ("rsyslog.service", &["/var/log"]),
];
const KUBELET: &[&str] = &[
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
    "/var/lib/cni",
    "/etc/kubernetes",
];

/// Orders the services after the mounts of these entries that they live on.
pub(super) fn add<'a>(entries: impl Iterator<Item = &'a FstabEntry>, changes: &mut Changes) {
    let optional: Vec<&str> = entries
        .filter(|entry| entry.nofail && entry.path.starts_with('/'))
        .map(|entry| entry.path.as_str())
        .collect();
    for (service, folders) in SERVICES {
        let mut units: Vec<String> = optional
            .iter()
            .filter(|path| folders.iter().any(|folder| is_one_below(path, folder)))
            .map(|path| mount_unit(path))
            .collect();
        units.sort();
        units.dedup();
        if units.is_empty() {
            continue;
        }
        let text = format!("[Unit]\nAfter={}\n", units.join(" "));
        let file = format!("{UNITS}/{service}.d/50-moonfarm-mounts.conf");
        changes.add(Change::file(file, text));
    }
}

/// Whether one of the two paths is the other, or a folder that holds it.
fn is_one_below(a: &str, b: &str) -> bool {
    let (a, b) = (segments(a), segments(b));
    a.iter().zip(&b).all(|(one, other)| one == other)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, nofail: bool) -> FstabEntry {
        FstabEntry {
            device: "LABEL=x".to_owned(),
            path: path.to_owned(),
            kind: "ext4".to_owned(),
            options: Vec::new(),
            nofail,
        }
    }

    #[test]
    fn a_service_waits_for_the_optional_mounts_it_lives_on() {
        let entries = [
            entry("/var/lib/containerd", true),
            entry("/var/lib/containerd-logs", true),
            entry("/var/lib/kubelet/pods", true),
            entry("/var/log", true),
            entry("/var/lib/crio", false),
            entry("none", true),
        ];
        let mut changes = Changes::default();
        add(entries.iter(), &mut changes);
        let told: Vec<(&str, &str)> = changes
            .list
            .iter()
            .filter_map(|change| match change {
                Change::File { path, content, .. } => Some((path.as_str(), content.as_str())),
                _ => None,
            })
            .collect();
        let file = |service: &str| format!("{UNITS}/{service}.d/50-moonfarm-mounts.conf");
        let kubelet = "[Unit]\nAfter=var-lib-kubelet-pods.mount var-log.mount\n";
        assert_eq!(
            told,
            [
                (
                    file("containerd.service").as_str(),
                    "[Unit]\nAfter=var-lib-containerd.mount\n"
                ),
                (file("kubelet.service").as_str(), kubelet),
                (file("node-agent-join.service").as_str(), kubelet),
                (
                    file("rsyslog.service").as_str(),
                    "[Unit]\nAfter=var-log.mount\n"
                ),
            ]
        );
    }
}
