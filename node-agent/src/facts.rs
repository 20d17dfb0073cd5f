//! What the machine says about itself: NICs, SMBIOS, CPUs and memory, read from
//! `/sys` and `/proc`.

use std::fs;
use std::path::Path;

use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;

/// Texts that makers leave in SMBIOS fields that they did not fill.
const PLACEHOLDERS: &[&str] = &[
    "",
    "none",
    "n/a",
    "na",
    "unknown",
    "default string",
    "default",
    "not specified",
    "not available",
    "not applicable",
    "not present",
    "empty",
    "to be filled by o.e.m.",
    "to be filled by oem",
    "o.e.m.",
    "oem",
    "system manufacturer",
    "system product name",
    "system serial number",
    "system version",
    "chassis serial number",
    "base board serial number",
    "invalid",
    "null",
];

/// Reads all facts; what cannot be read is left out.
#[must_use]
pub fn read(sys: &Path, proc: &Path) -> MachineFacts {
    let smbios = |field: &str| {
        let text = fs::read_to_string(sys.join("class/dmi/id").join(field)).ok()?;
        let text = text.trim();
        let known = text.to_ascii_lowercase();
        (!PLACEHOLDERS.contains(&known.as_str())).then(|| text.to_owned())
    };
    MachineFacts {
        macs: physical_macs(sys),
        uuid: smbios("product_uuid").and_then(|uuid| boot_proto::uuid::usable(&uuid)),
        serial: smbios("product_serial"),
        manufacturer: smbios("sys_vendor"),
        model: smbios("product_name"),
        cpus: online_cpus(sys),
        memory_bytes: memory_total(proc),
    }
}

/// MACs of all NICs that are hardware, sorted. A permanent address, where the
/// kernel tells it, is not needed: nothing has changed one this early.
fn physical_macs(sys: &Path) -> Vec<MacAddr> {
    let Ok(entries) = fs::read_dir(sys.join("class/net")) else {
        return Vec::new();
    };
    let mut macs: Vec<MacAddr> = entries
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| fs::read_to_string(entry.path().join("address")).ok())
        .filter_map(|text| text.parse().ok())
        .filter(|mac: &MacAddr| mac.is_usable())
        .collect();
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// Network cards that no driver has taken, as `vendor:device at address`: what a
/// person needs to know to find the missing driver.
#[must_use]
pub fn cards_without_driver(sys: &Path) -> Vec<String> {
    /// First octet of a PCI class: network controller.
    const NETWORK: &str = "0x02";
    let Ok(entries) = fs::read_dir(sys.join("bus/pci/devices")) else {
        return Vec::new();
    };
    let mut cards: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
            if !text("class")?.starts_with(NETWORK) || folder.join("driver").exists() {
                return None;
            }
            let (vendor, device) = (text("vendor")?, text("device")?);
            let number = |text: &str| text.trim().trim_start_matches("0x").to_owned();
            let at = entry.file_name();
            Some(format!(
                "{}:{} at {}",
                number(&vendor),
                number(&device),
                at.to_string_lossy()
            ))
        })
        .collect();
    cards.sort();
    cards
}

/// Counts `0-3,8` as 5.
fn online_cpus(sys: &Path) -> u32 {
    let text = fs::read_to_string(sys.join("devices/system/cpu/online")).unwrap_or_default();
    let count = |range: &str| -> Option<u32> {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        to.checked_sub(from)?.checked_add(1)
    };
    text.trim()
        .split(',')
        .filter_map(count)
        .fold(0, u32::saturating_add)
}

/// `MemTotal` in bytes, 0 when it cannot be read.
#[must_use]
pub fn memory_total(proc: &Path) -> u64 {
    let text = fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_machine() {
        let base = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/class/net/eth1/address", "94:57:a5:d3:ec:f3\n");
        write("sys/class/net/eth0/address", "94:57:a5:d3:ec:f2\n");
        write("sys/class/net/eth0/device/vendor", "");
        write("sys/class/net/eth1/device/vendor", "");
        write("sys/class/net/lo/address", "00:00:00:00:00:00\n");
        write("sys/class/net/bond0/address", "94:57:a5:d3:ec:f4\n");
        write(
            "sys/class/dmi/id/product_uuid",
            "4C4C4544-0037-4410-8052-B4C04F564432\n",
        );
        write(
            "sys/class/dmi/id/product_serial",
            "To be filled by O.E.M.\n",
        );
        write("sys/class/dmi/id/sys_vendor", "HPE\n");
        write("sys/devices/system/cpu/online", "0-3,8\n");
        write(
            "proc/meminfo",
            "MemTotal:        2014112 kB\nMemFree: 1 kB\n",
        );
        let facts = read(&base.path().join("sys"), &base.path().join("proc"));
        let macs: Vec<String> = facts.macs.iter().map(ToString::to_string).collect();
        assert_eq!(macs, ["94:57:a5:d3:ec:f2", "94:57:a5:d3:ec:f3"]);
        assert_eq!(
            facts.uuid.as_deref(),
            Some("4c4c4544-0037-4410-8052-b4c04f564432")
        );
        assert_eq!(
            (facts.serial, facts.manufacturer.as_deref()),
            (None, Some("HPE"))
        );
        assert_eq!((facts.cpus, facts.memory_bytes), (5, 2_014_112 * 1024));
    }

    #[test]
    fn a_card_without_driver_is_named() {
        let base = tempfile::tempdir().unwrap();
        for (at, class, has_driver) in [
            ("0000:00:03.0", "0x020000", false),
            ("0000:00:04.0", "0x020000", true),
            ("x", "0x01", false),
        ] {
            let folder = base.path().join("bus/pci/devices").join(at);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in [
                ("class", class),
                ("vendor", "0x8086\n"),
                ("device", "0x1209\n"),
            ] {
                fs::write(folder.join(name), text).unwrap();
            }
            if has_driver {
                fs::create_dir(folder.join("driver")).unwrap();
            }
        }
        assert_eq!(
            cards_without_driver(base.path()),
            ["8086:1209 at 0000:00:03.0"]
        );
    }

    #[test]
    fn nothing_to_read_is_no_failure() {
        assert_eq!(
            read(Path::new("/nowhere"), Path::new("/nowhere")),
            MachineFacts::default()
        );
    }
}
