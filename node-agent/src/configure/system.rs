//! tmpfs mounts, keys, kernel modules, sysctls, time zone and files.

use std::fmt::Write as _;

use boot_proto::quantity::ByteSize;
use boot_proto::resources::{FileEntry, TmpfsMount};

use super::{Change, Changes, Machine, mode_of};
use crate::root_dir::{Owner, RootView};

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    add_keys(machine, changes);
    add_kernel_settings(machine, changes);
    add_time_zone(machine, root, changes);
    for file in &machine.config.system.files {
        add_file(file, changes);
    }
}

/// The tmpfs mounts of a node: those of the boot config, and the two places
/// that must not lie on the overlay root. containerd's own overlays cannot be
/// stacked on it, and what the kubelet writes is to have a limit.
#[must_use]
pub fn default_tmpfs(machine: &Machine<'_>) -> Vec<TmpfsMount> {
    let mut mounts = machine.config.system.tmpfs.clone();
    if machine.config.join.is_none() {
        return mounts;
    }
    let memory = machine.facts.memory_bytes;
    for (path, share) in [("/var/lib/kubelet", 10), ("/var/lib/containerd", 4)] {
        let is_named = mounts
            .iter()
            .any(|mount| mount.path.trim_end_matches('/') == path);
        if !is_named {
            let size = ByteSize((memory / share).max(64 << 20));
            mounts.push(TmpfsMount {
                path: path.to_owned(),
                size,
                mode: None,
            });
        }
    }
    mounts
}

fn add_keys(machine: &Machine<'_>, changes: &mut Changes) {
    let keys = &machine.config.system.ssh_authorized_keys;
    if keys.is_empty() {
        return;
    }
    // sshd ignores the file where others could write to the directory.
    changes.add(Change::Directory {
        path: "/root/.ssh".to_owned(),
        mode: 0o700,
    });
    let text: String = keys.iter().map(|key| format!("{}\n", key.trim())).collect();
    changes.add(Change::private_file("/root/.ssh/authorized_keys", text));
}

fn add_kernel_settings(machine: &Machine<'_>, changes: &mut Changes) {
    let system = &machine.config.system;
    let mut names = String::new();
    let mut options = String::new();
    for entry in &system.modules {
        let (name, rest) = entry
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((entry.trim(), ""));
        let _ = writeln!(names, "{name}");
        if !rest.trim().is_empty() {
            let _ = writeln!(options, "options {name} {}", rest.trim());
        }
    }
    if !names.is_empty() {
        changes.add(Change::file("/etc/modules-load.d/90-moonfarm.conf", names));
    }
    for (name, rest) in &system.module_options {
        let _ = writeln!(options, "options {name} {}", rest.trim());
    }
    if !options.is_empty() {
        changes.add(Change::file("/etc/modprobe.d/90-moonfarm.conf", options));
    }
    if !system.sysctls.is_empty() {
        let lines: String = system
            .sysctls
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        // After what the image brings, as the operator's word is the last.
        changes.add(Change::file("/etc/sysctl.d/99-moonfarm.conf", lines));
    }
}

fn add_time_zone(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let Some(zone) = &machine.config.system.time_zone else {
        return;
    };
    let is_plain = zone.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain || !root.exists(&format!("/usr/share/zoneinfo/{zone}")) {
        changes.warn(format!(
            "the image knows no time zone {zone:?}, UTC is kept"
        ));
        return;
    }
    changes.add(Change::link(
        "/etc/localtime",
        format!("../usr/share/zoneinfo/{zone}"),
    ));
    changes.add(Change::file("/etc/timezone", format!("{zone}\n")));
}

fn add_file(file: &FileEntry, changes: &mut Changes) {
    let mode = mode_of(file.mode.as_deref(), 0o644, &file.path, changes);
    let owner = match file.owner.as_deref().map(parse_owner) {
        None => (0, 0),
        Some(Some(owner)) => owner,
        Some(None) => {
            let text = file.owner.as_deref().unwrap_or_default();
            changes.warn(format!(
                "{}: {text:?} is no owner by number, root is used",
                file.path
            ));
            (0, 0)
        }
    };
    // /run is a file system of its own by the time anybody looks.
    if file.path.starts_with("/run/") {
        changes.warn(format!(
            "{}: /run is empty at every start, the file will not be seen",
            file.path
        ));
    }
    let (path, content) = (file.path.clone(), file.content.clone());
    changes.add(Change::File {
        path,
        content,
        mode,
        owner,
    });
}

fn parse_owner(text: &str) -> Option<Owner> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    Some((user.parse().ok()?, group.parse().ok()?))
}
