//! Disks and file systems that are not there: systemd is told not to wait for
//! them.

use std::path::Path;
use std::process::Command;

use boot_proto::resources::{DiskSpec, PartitionKind, PartitionSpec};

use crate::systemd::{label_link, label_unit};

/// The partitions that something waits for: those with a mount point, and swap.
fn awaited(specs: &[DiskSpec]) -> impl Iterator<Item = (&DiskSpec, &PartitionSpec)> {
    let all = specs
        .iter()
        .flat_map(|spec| spec.partitions.iter().map(move |part| (spec, part)));
    all.filter(|(_, part)| part.path.is_some() || part.kind == PartitionKind::Swap)
}

/// Ends systemd's wait for each file system that is nowhere, now that the disks
/// are as they will be. The mount's time-out is long because making file systems
/// may take long; nobody shall wait for it in vain.
pub(super) fn give_up(specs: &[DiskSpec]) {
    let is_there = |label: &str| Path::new(&label_link(label)).exists();
    for (spec, part) in awaited(specs).filter(|(_, part)| !is_there(&part.label)) {
        let what = part.path.as_deref().unwrap_or("this swap");
        println!(
            "{}: nothing has the label {}: the machine goes on without {what}",
            spec.name, part.label
        );
        cancel(&label_unit(&part.label));
    }
}

/// Cancels the job that waits for a device; what needs the device is given up
/// with it.
fn cancel(unit: &str) {
    let shown = Command::new("systemctl")
        .args(["show", "--property=Job", "--value", unit])
        .output();
    let Ok(shown) = shown else { return };
    let job = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    if job.is_empty() || job == "0" {
        return;
    }
    let canceled = Command::new("systemctl").args(["cancel", &job]).output();
    if let Ok(output) = canceled.as_ref()
        && !output.status.success()
    {
        let why = String::from_utf8_lossy(&output.stderr);
        println!("systemd goes on waiting for {unit}: {}", why.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_swap_are_awaited() {
        let specs: Vec<DiskSpec> = serde_json::from_value(serde_json::json!([
            {"name": "a", "match": {"serial": "1"}, "partitions": [
                {"label": "data", "path": "/var/lib/data", "size": "1Gi"},
                {"label": "spare", "size": "1Gi"},
                {"label": "swap", "type": "swap"},
            ]},
        ]))
        .unwrap();
        let labels: Vec<&str> = awaited(&specs)
            .map(|(_, part)| part.label.as_str())
            .collect();
        assert_eq!(labels, ["data", "swap"]);
    }
}
