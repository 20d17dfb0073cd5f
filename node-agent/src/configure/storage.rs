//! `/etc/fstab`: tmpfs mounts, the profiles' lines and the partitions of local
//! disks, and the unit that prepares those disks.

use std::fmt::Write as _;

use boot_proto::resources::{FstabEntry, PartitionKind, TmpfsMount};

use super::{Change, Changes, Machine, mode_of};
use crate::root_dir::RootView;

/// The unit that partitions and formats disks that are named and empty.
const UNIT: &str = "moonfarm-disks.service";
/// How long it may take, in seconds.
const PREPARING_SECS: u32 = 300;
const UNITS: &str = "/etc/systemd/system";

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let system = &machine.config.system;
    let disks: Vec<FstabEntry> = disk_entries(machine);
    // What is on a disk, or anywhere else, is not also a tmpfs.
    let is_taken = |path: &str| {
        let path = path.trim_end_matches('/');
        system
            .fstab
            .iter()
            .chain(&disks)
            .any(|entry| entry.path.trim_end_matches('/') == path)
    };
    let mut mounts = super::default_tmpfs(machine);
    move_to_runtime(&mut mounts, root);
    let mounts: Vec<_> = mounts
        .into_iter()
        .filter(|mount| !is_taken(&mount.path))
        .collect();
    if mounts.is_empty() && system.fstab.is_empty() && disks.is_empty() {
        return;
    }
    let mut text = root.read("/etc/fstab").unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for mount in &mounts {
        let what = format!("tmpfs {}", mount.path);
        let mode = mode_of(mount.mode.as_deref(), 0o755, &what, changes);
        // Set-user-id programs and device nodes stay allowed: containers live here.
        let _ = writeln!(
            text,
            "tmpfs {} tmpfs size={},mode={mode:04o} 0 0",
            escape(&mount.path),
            mount.size.0
        );
    }
    for entry in system.fstab.iter().chain(&disks) {
        line(&mut text, entry);
    }
    changes.add(Change::file("/etc/fstab", text));
    super::mount_order::add(system.fstab.iter().chain(&disks), changes);
    if !system.disks.is_empty() {
        add_unit(changes);
    }
}

/// In an image with CRI-O in containerd's place, the room for containers is where
/// CRI-O has them, unless the profiles say what is there.
fn move_to_runtime(mounts: &mut [TmpfsMount], root: &dyn RootView) {
    const CONTAINERD: &str = "/var/lib/containerd";
    const CRIO: &str = "/var/lib/containers";
    let has = |name: &str| {
        ["/usr/bin", "/usr/local/bin"]
            .iter()
            .any(|folder| root.exists(&format!("{folder}/{name}")))
    };
    let at = |mount: &TmpfsMount, path: &str| mount.path.trim_end_matches('/') == path;
    if has("containerd") || !has("crio") || mounts.iter().any(|mount| at(mount, CRIO)) {
        return;
    }
    for mount in mounts.iter_mut().filter(|mount| at(mount, CONTAINERD)) {
        CRIO.clone_into(&mut mount.path);
    }
}

fn line(text: &mut String, entry: &FstabEntry) {
    let mut options = entry.options.clone();
    if entry.nofail && !options.iter().any(|option| option == "nofail") {
        options.push("nofail".to_owned());
        // Else a missing disk holds up the boot for 90 s all the same.
        if !options
            .iter()
            .any(|option| option.starts_with("x-systemd.device-timeout"))
        {
            options.push("x-systemd.device-timeout=15s".to_owned());
        }
    }
    if options.is_empty() {
        options.push("defaults".to_owned());
    }
    let _ = writeln!(
        text,
        "{} {} {} {} 0 0",
        escape(&entry.device),
        escape(&entry.path),
        escape(&entry.kind),
        escape(&options.join(","))
    );
}

fn disk_entries(machine: &Machine<'_>) -> Vec<FstabEntry> {
    let partitions = machine
        .config
        .system
        .disks
        .iter()
        .flat_map(|disk| &disk.partitions);
    let entries = partitions.filter_map(|partition| {
        let path = match (&partition.path, partition.kind) {
            (_, PartitionKind::Swap) => "none".to_owned(),
            (Some(path), _) => path.clone(),
            (None, _) => return None,
        };
        let mut options = partition.options.clone();
        options.push(format!("x-systemd.after={UNIT}"));
        // systemd waits for the label from the start, the unit first has to find
        // the disk and make the file system. Nothing else is held up by it.
        options.push(format!("x-systemd.device-timeout={PREPARING_SECS}s"));
        Some(FstabEntry {
            device: format!("LABEL={}", partition.label),
            path,
            kind: partition.kind.word().to_owned(),
            options,
            nofail: true,
        })
    });
    entries.collect()
}

fn add_unit(changes: &mut Changes) {
    let text = format!(
        "[Unit]\n\
         Description=Prepare the local disks that the profiles name\n\
         DefaultDependencies=no\n\
         Wants=systemd-udevd.service local-fs-pre.target\n\
         After=systemd-udevd.service systemd-udev-trigger.service\n\
         Before=local-fs-pre.target shutdown.target\n\
         Conflicts=shutdown.target\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/run/moonfarm/node-agent disks\n\
         TimeoutStartSec={PREPARING_SECS}\n\
         StandardOutput=journal+console\n\
         StandardError=journal+console\n"
    );
    let unit = format!("{UNITS}/{UNIT}");
    changes.add(Change::file(unit.clone(), text));
    let wants = format!("{UNITS}/local-fs.target.wants/{UNIT}");
    changes.add(Change::link(wants, unit));
}

/// fstab(5): blanks are written in octal.
fn escape(path: &str) -> String {
    let mut text = String::new();
    for character in path.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' | '#' => {
                let _ = write!(text, "\\{:03o}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text
}
