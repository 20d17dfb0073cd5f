//! `node-agent disks`: prepares the local disks that the profiles name, once, in
//! the booted system and before anything is mounted from them.
//!
//! A disk is written to only if one entry selects it, the entry selects no other
//! disk, it may be formatted, and both of its ends are empty. Whatever is in
//! doubt is left alone and said.

mod absent;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use boot_proto::boot_config::BootConfig;
use boot_proto::resources::{DiskFormat, DiskMatch, DiskSpec, PartitionKind, PartitionSpec};

use crate::clock::Clock;
use crate::net::nics::is_like;

/// Octets at either end of a disk or partition that must be zero: partition
/// tables, file systems, LVM and RAID all have their marks there.
const ENDS: u64 = 1 << 20;
/// How long a disk may take to show up once udev is idle; nothing is mounted
/// meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Devices that are no disks.
pub(crate) const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];

/// Why the disks could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The boot config is not there or cannot be read.
    #[error("reading the boot config")]
    Config(#[source] io::Error),
    /// A tool of the image failed or is missing.
    #[error("{program}: {reason}")]
    Tool {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// A disk cannot be read.
    #[error("reading {device}")]
    Read {
        /// The device.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A disk of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name, such as `sda`.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// World wide name.
    pub wwn: String,
    /// Model.
    pub model: String,
    /// Names below `/dev/disk/by-path`.
    pub paths: Vec<String>,
    /// GPT names of its partitions, in order.
    pub partitions: Vec<String>,
}

/// The one disk that an entry selects.
///
/// # Errors
/// In words, when it is none or more than one.
pub fn select<'a>(spec: &DiskSpec, disks: &'a [Disk]) -> Result<&'a Disk, String> {
    let found: Vec<&Disk> = disks
        .iter()
        .filter(|disk| fits(&spec.matches, disk))
        .collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("{}: this machine has no such disk", spec.name)),
        several => {
            let names: Vec<&str> = several.iter().map(|disk| disk.name.as_str()).collect();
            Err(format!(
                "{}: {} all fit, so none of them is touched",
                spec.name,
                names.join(", ")
            ))
        }
    }
}

fn fits(wanted: &DiskMatch, disk: &Disk) -> bool {
    let is = |wanted: &Option<String>, own: &str| {
        wanted
            .as_deref()
            .is_none_or(|wanted| !own.is_empty() && wanted.trim() == own.trim())
    };
    let wwn = |text: &str| text.trim().trim_start_matches("0x").to_ascii_lowercase();
    is(&wanted.serial, &disk.serial)
        && wanted
            .wwn
            .as_deref()
            .is_none_or(|text| !disk.wwn.is_empty() && wwn(text) == wwn(&disk.wwn))
        && wanted
            .model
            .as_deref()
            .is_none_or(|pattern| is_like(pattern, disk.model.trim()))
        && wanted
            .by_path
            .as_deref()
            .is_none_or(|pattern| disk.paths.iter().any(|path| is_like(pattern, path)))
}

/// The script for sfdisk(8).
#[must_use]
pub fn partition_table(partitions: &[PartitionSpec]) -> String {
    let mut text = String::from("label: gpt\n");
    for partition in partitions {
        let kind = match partition.kind {
            PartitionKind::Swap => "swap",
            PartitionKind::Ext4 | PartitionKind::Xfs => "linux",
        };
        let size = partition
            .size
            .map(|size| format!("size={}KiB, ", size.0.div_ceil(1024)));
        let size = size.unwrap_or_default();
        text.push_str(&format!(
            "{size}type={kind}, name=\"{}\"\n",
            partition.label
        ));
    }
    text
}

/// The program and arguments that make a file system.
fn make_command(partition: &PartitionSpec) -> (&'static str, Vec<&str>) {
    let label = partition.label.as_str();
    match partition.kind {
        PartitionKind::Ext4 => ("mkfs.ext4", vec!["-q", "-F", "-L", label]),
        PartitionKind::Xfs => ("mkfs.xfs", vec!["-q", "-L", label]),
        PartitionKind::Swap => ("mkswap", vec!["-L", label]),
    }
}

/// Device of partition `number` (from 1): `sda1`, `nvme0n1p1`.
fn partition_device(disk: &str, number: usize) -> String {
    let has_digit = disk.ends_with(|c: char| c.is_ascii_digit());
    format!("/dev/{disk}{}{number}", if has_digit { "p" } else { "" })
}

/// Prepares all disks of the boot config. One that fails does not keep the
/// others from being prepared.
///
/// # Errors
/// The first failure.
pub fn run(clock: &dyn Clock) -> Result<(), DiskError> {
    let text = fs::read(crate::paths::Paths::default().boot_config()).map_err(DiskError::Config)?;
    let config: BootConfig =
        serde_json::from_slice(&text).map_err(|error| DiskError::Config(error.into()))?;
    // Not every image has udev; then the kernel's own names have to do.
    let _ = tool("udevadm", &["settle", "--timeout=30"], "");
    let disks = wait_for(&config.system.disks, clock);
    let mut result = Ok(());
    for spec in &config.system.disks {
        match select(spec, &disks) {
            Ok(disk) => result = result.and(prepare(spec, disk)),
            Err(why) => println!("{why}"),
        }
    }
    let _ = tool("udevadm", &["settle", "--timeout=30"], "");
    absent::give_up(&config.system.disks);
    result
}

/// The disks, once each entry has one or the patience is over: drives that spin
/// up and USB show up late.
fn wait_for(specs: &[DiskSpec], clock: &dyn Clock) -> Vec<Disk> {
    let end = clock.now().after(PATIENCE);
    loop {
        let disks = read_disks(Path::new("/sys"), Path::new("/dev"));
        let is_absent = |spec: &DiskSpec| !disks.iter().any(|disk| fits(&spec.matches, disk));
        if !specs.iter().any(is_absent) || clock.now() >= end {
            return disks;
        }
        clock.sleep(LOOK_AGAIN);
    }
}

fn prepare(spec: &DiskSpec, disk: &Disk) -> Result<(), DiskError> {
    let device = format!("/dev/{}", disk.name);
    if spec.format == DiskFormat::Never {
        println!("{}: {device} is used as it is", spec.name);
        return Ok(());
    }
    let labels: Vec<&str> = spec
        .partitions
        .iter()
        .map(|part| part.label.as_str())
        .collect();
    // A table of ours whose file systems were not all made: the power went away.
    let is_ours = disk.partitions == labels;
    if !is_ours {
        if !disk.partitions.is_empty() || !is_empty(&device)? {
            println!(
                "{}: {device} is not empty and stays as it is; what has the labels {} on it is \
                 mounted (to have it formatted, wipe it: wipefs -a, then zero both ends)",
                spec.name,
                labels.join(", ")
            );
            return Ok(());
        }
        println!(
            "{}: {device} is empty: making {}",
            spec.name,
            labels.join(", ")
        );
        let table = partition_table(&spec.partitions);
        tool("sfdisk", &["--quiet", "--wipe=never", &device], &table)?;
        let _ = tool("udevadm", &["settle", "--timeout=30"], "");
    }
    for (at, partition) in spec.partitions.iter().enumerate() {
        let device = partition_device(&disk.name, at + 1);
        if is_empty(&device)? {
            let (program, mut arguments) = make_command(partition);
            arguments.push(&device);
            tool(program, &arguments, "")?;
            println!("{}: {} on {device}", spec.name, partition.label);
        }
    }
    let _ = tool(
        "udevadm",
        &["trigger", "--subsystem-match=block", "--settle"],
        "",
    );
    Ok(())
}

/// Whether both ends of a device are zero.
fn is_empty(device: &str) -> Result<bool, DiskError> {
    let read = || -> io::Result<bool> {
        let mut file = File::open(device)?;
        let length = file.seek(SeekFrom::End(0))?;
        for begin in [0, length.saturating_sub(ENDS)] {
            file.seek(SeekFrom::Start(begin))?;
            let mut bytes = Vec::new();
            (&mut file).take(ENDS).read_to_end(&mut bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(length > 0)
    };
    read().map_err(|source| DiskError::Read {
        device: device.to_owned(),
        source,
    })
}

fn tool(program: &str, arguments: &[&str], input: &str) -> Result<(), DiskError> {
    let failed = |reason: String| DiskError::Tool {
        program: program.to_owned(),
        reason,
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| failed(format!("{error}: is it in the image?")))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}: {}", output.status, said.trim())))
}

/// The disks that `/sys` shows, with what udev found out about them.
fn read_disks(sys: &Path, dev: &Path) -> Vec<Disk> {
    let Ok(entries) = fs::read_dir(sys.join("block")) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| !NO_DISKS.iter().any(|no| name.starts_with(no)));
    let mut disks: Vec<Disk> = names.map(|name| read_disk(sys, dev, name)).collect();
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    disks
}

fn read_disk(sys: &Path, dev: &Path, name: String) -> Disk {
    let folder = sys.join("block").join(&name);
    let text = |names: &[&str]| {
        let found = names
            .iter()
            .find_map(|name| fs::read_to_string(folder.join(name)).ok());
        found.unwrap_or_default().trim().to_owned()
    };
    let udev = udev_properties(&folder);
    let told = |key: &str| {
        udev.iter()
            .find(|(own, _)| own == key)
            .map(|(_, value)| value.clone())
    };
    let or_told = |keys: &[&str], files: &[&str]| {
        let own = keys
            .iter()
            .find_map(|key| told(key))
            .filter(|value| !value.is_empty());
        own.unwrap_or_else(|| text(files))
    };
    Disk {
        serial: or_told(&["ID_SERIAL_SHORT"], &["serial", "device/serial"]),
        wwn: or_told(
            &["ID_WWN_WITH_EXTENSION", "ID_WWN"],
            &["wwid", "device/wwid"],
        ),
        model: or_told(&["ID_MODEL"], &["device/model"]),
        paths: links_to(&dev.join("disk/by-path"), &name),
        partitions: partition_names(&folder, &name),
        name,
    }
}

/// What udev keeps of a device in `/run/udev/data/bMAJOR:MINOR`.
fn udev_properties(folder: &Path) -> Vec<(String, String)> {
    let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
    let file = format!("/run/udev/data/b{}", number.trim());
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("E:")?.split_once('='));
    lines
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn links_to(folder: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.file_name().is_some_and(|to| to == name))
    });
    ours.filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn partition_names(folder: &Path, disk: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u32, String)> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(disk))
        .filter_map(|entry| {
            let number = fs::read_to_string(entry.path().join("partition")).ok()?;
            let uevent = fs::read_to_string(entry.path().join("uevent")).unwrap_or_default();
            let name = uevent
                .lines()
                .find_map(|line| line.strip_prefix("PARTNAME="));
            Some((
                number.trim().parse().ok()?,
                name.unwrap_or_default().to_owned(),
            ))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, serial: &str, model: &str) -> Disk {
        Disk {
            name: name.to_owned(),
            serial: serial.to_owned(),
            model: model.to_owned(),
            wwn: format!("0x5000C500{serial}"),
            paths: vec![format!("pci-0000:00:1f.2-ata-{serial}")],
            partitions: Vec::new(),
        }
    }

    #[test]
    fn a_disk_is_selected_without_doubt_or_not_at_all() {
        let disks = [disk("sda", "1", "ACME 1T"), disk("sdb", "2", "ACME 1T")];
        for (wanted, expected) in [
            (serde_json::json!({"serial": "2"}), Ok("sdb")),
            (serde_json::json!({"serial": "3"}), Err("no such disk")),
            (serde_json::json!({"wwn": "5000c5001"}), Ok("sda")),
            (
                serde_json::json!({"model": "ACME*"}),
                Err("sda, sdb all fit"),
            ),
            (serde_json::json!({"byPath": "*-ata-1"}), Ok("sda")),
            (
                serde_json::json!({"serial": "1", "model": "OTHER"}),
                Err("no such disk"),
            ),
        ] {
            let spec: DiskSpec = serde_json::from_value(
                serde_json::json!({"name": "data", "match": wanted, "partitions": []}),
            )
            .unwrap();
            match (select(&spec, &disks), expected) {
                (Ok(disk), Ok(name)) => assert_eq!(disk.name, name),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (result, _) => panic!("{wanted}: {result:?}"),
            }
        }
        // A disk that does not tell its serial is nobody's.
        let silent = [Disk {
            name: "vda".into(),
            ..Disk::default()
        }];
        let spec = serde_json::json!({"name": "d", "match": {"serial": ""}, "partitions": []});
        assert!(select(&serde_json::from_value(spec).unwrap(), &silent).is_err());
    }

    #[test]
    fn the_table_and_the_devices() {
        let partitions: Vec<PartitionSpec> = serde_json::from_value(serde_json::json!([
            {"label": "data", "size": "1Gi"}, {"label": "swap", "type": "swap"},
        ]))
        .unwrap();
        assert_eq!(
            partition_table(&partitions),
            "label: gpt\nsize=1048576KiB, type=linux, name=\"data\"\ntype=swap, name=\"swap\"\n"
        );
        assert_eq!(partition_device("sda", 2), "/dev/sda2");
        assert_eq!(partition_device("nvme0n1", 2), "/dev/nvme0n1p2");
    }

    #[test]
    fn one_octet_at_either_end_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        let device = file.to_str().unwrap();
        for (at, expected) in [
            (None, true),
            (Some(512), false),
            (Some(4 << 20), true),
            (Some((8 << 20) - 1), false),
        ] {
            let mut bytes = vec![0; 8 << 20];
            if let Some(at) = at {
                bytes[at] = 1;
            }
            fs::write(&file, bytes).unwrap();
            assert_eq!(is_empty(device).unwrap(), expected, "{at:?}");
        }
    }
}
