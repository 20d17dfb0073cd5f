//! NICs as an operator names them: by MAC, driver, or the predictable names that
//! udev would give them. There is no udev in the initramfs, so NICs are still
//! called `eth0` there; the names are worked out from `/sys` by udev's rules
//! (systemd.net-naming-scheme(7)).

use std::fs;
use std::path::Path;

use boot_proto::ids::MacAddr;
use boot_proto::resources::LinkMatch;

use super::Link;

/// A NIC with what it can be matched by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The link. Its MAC is the permanent one.
    pub link: Link,
    /// Its driver.
    pub driver: Option<String>,
    /// All its names, the kernel's first.
    pub names: Vec<String>,
}

/// The NICs among `links`, with what `/sys` says of them.
#[must_use]
pub fn describe(links: &[Link], sys: &Path) -> Vec<Nic> {
    let slots = slots(sys);
    let nics = links.iter().filter(|link| link.kind.is_none());
    nics.map(|link| {
        let folder = sys.join("class/net").join(&link.name);
        let driver = fs::read_link(folder.join("device/driver")).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let mut names = vec![link.name.clone()];
        names.extend(predictable(&folder, &slots));
        Nic {
            link: link.clone(),
            driver,
            names,
        }
    })
    .collect()
}

/// Whether a NIC is one of those that are meant.
#[must_use]
pub fn fits(matches: &LinkMatch, nic: &Nic, boot: Option<MacAddr>) -> bool {
    let is_boot = boot == Some(nic.link.mac);
    matches.mac.is_none_or(|mac| mac == nic.link.mac)
        && matches.driver.is_none_or_eq(nic.driver.as_deref())
        && matches.boot.is_none_or(|wanted| wanted == is_boot)
        && matches
            .name
            .as_deref()
            .is_none_or(|pattern| nic.names.iter().any(|name| is_like(pattern, name)))
}

trait NoneOrEq {
    fn is_none_or_eq(&self, other: Option<&str>) -> bool;
}

impl NoneOrEq for Option<String> {
    fn is_none_or_eq(&self, other: Option<&str>) -> bool {
        self.is_none() || self.as_deref() == other
    }
}

/// Whether `text` has the form of `pattern`, in which `*` stands for anything
/// and `?` for one character.
#[must_use]
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // One row a pattern character: whether it fits the first n characters.
    let mut row = vec![false; text.len() + 1];
    if let Some(first) = row.first_mut() {
        *first = true;
    }
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            let above = row.get(at).copied().unwrap_or(false);
            let before = at.checked_sub(1);
            let diagonal = before.and_then(|at| row.get(at).copied()).unwrap_or(false);
            let left = before.and_then(|at| next.get(at).copied()).unwrap_or(false);
            let same = before.and_then(|at| text.get(at)) == Some(&wanted);
            let fits = match wanted {
                '*' => above || left,
                '?' => diagonal,
                _ => diagonal && same,
            };
            if let Some(cell) = next.get_mut(at) {
                *cell = fits;
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(false)
}

/// A hot-plug slot: its name and its address without the function.
type Slot = (String, String);

fn slots(sys: &Path) -> Vec<Slot> {
    let Ok(entries) = fs::read_dir(sys.join("bus/pci/slots")) else {
        return Vec::new();
    };
    let slots = entries.flatten().filter_map(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).ok()?;
        let name = entry.file_name().into_string().ok()?;
        Some((name, address.trim().to_owned()))
    });
    slots.collect()
}

/// `eno1` (on the board), `ens3f0` (slot), `enp3s0f0` (path), `enx…` (MAC).
fn predictable(folder: &Path, slots: &[Slot]) -> Vec<String> {
    let text = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let ports = ports(&text);
    let mut names = Vec::new();
    for index in ["device/acpi_index", "device/index"] {
        if let Some(number) = text(index).filter(|text| text.parse::<u32>().is_ok_and(|n| n > 0)) {
            names.extend(ports.iter().map(|port| format!("eno{number}{port}")));
        }
    }
    if let Some(mac) = text("address") {
        names.push(format!("enx{}", mac.replace(':', "")));
    }
    let Some(address) = pci_address(folder) else {
        return names;
    };
    let function = if address.is_multi_function {
        format!("f{}", address.function)
    } else {
        String::new()
    };
    let base = address.text.rsplit_once('.').map_or("", |(base, _)| base);
    for (name, _) in slots.iter().filter(|(_, at)| at == base) {
        let named = |port: &String| format!("ens{name}{function}{port}");
        names.extend(ports.iter().map(named));
    }
    let domain = match address.domain {
        0 => String::new(),
        domain => format!("P{domain}"),
    };
    let (bus, slot) = (address.bus, address.slot);
    let named = |port: &String| format!("en{domain}p{bus}s{slot}{function}{port}");
    names.extend(ports.iter().map(named));
    names
}

/// How the names of a card's ports end: by the name that the driver has for it
/// (`np0`, as cards of Mellanox, Broadcom and Intel's ice have it), and as older
/// releases of udev have it, by its number (`d1`).
fn ports(text: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let name = text("phys_port_name").filter(|name| !name.is_empty());
    let number = match text("dev_port").as_deref() {
        None | Some("0") => String::new(),
        Some(port) => format!("d{port}"),
    };
    let name = name.map(|name| format!("n{name}"));
    name.into_iter().chain([number]).collect()
}

struct PciAddress {
    text: String,
    domain: u32,
    bus: u32,
    slot: u32,
    function: u32,
    is_multi_function: bool,
}

/// The PCI function that a NIC sits on, itself or, as with virtio, above it.
fn pci_address(folder: &Path) -> Option<PciAddress> {
    let device = fs::canonicalize(folder.join("device")).ok()?;
    device.ancestors().take(3).find_map(|place| {
        let text = place.file_name()?.to_str()?.to_owned();
        let (front, function) = text.rsplit_once('.')?;
        let mut parts = front.split(':');
        let mut number = || u32::from_str_radix(parts.next()?, 16).ok();
        let (domain, bus, slot) = (number()?, number()?, number()?);
        let function = function.parse().ok()?;
        // A device with other functions has one in its name (`f0` too).
        let header = fs::read(place.join("config")).ok();
        let header = header.and_then(|bytes| bytes.get(0x0e).copied());
        let is_multi_function = function > 0 || header.is_some_and(|kind| kind & 0x80 != 0);
        Some(PciAddress {
            text,
            domain,
            bus,
            slot,
            function,
            is_multi_function,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn link(name: &str, last: u8) -> Link {
        Link {
            index: u32::from(last),
            name: name.to_owned(),
            mac: MacAddr::new([0x94, 0x57, 0xa5, 0, 0, last]),
            is_up: false,
            has_carrier: false,
            kind: None,
            master: None,
            mtu: 1500,
        }
    }

    #[test]
    fn names_that_udev_would_give() {
        let base = tempfile::tempdir().unwrap();
        let sys = base.path();
        let device = sys.join("devices/pci0000:00/0000:03:00.1/virtio0");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(sys.join("class/net/eth0")).unwrap();
        fs::create_dir_all(sys.join("bus/pci/slots/5")).unwrap();
        fs::create_dir_all(sys.join("bus/virtio/drivers/virtio_net")).unwrap();
        fs::write(sys.join("bus/pci/slots/5/address"), "0000:03:00\n").unwrap();
        fs::write(sys.join("class/net/eth0/dev_port"), "0\n").unwrap();
        fs::write(device.join("acpi_index"), "2\n").unwrap();
        symlink(
            sys.join("bus/virtio/drivers/virtio_net"),
            device.join("driver"),
        )
        .unwrap();
        symlink(&device, sys.join("class/net/eth0/device")).unwrap();
        let nics = describe(&[link("eth0", 1)], sys);
        assert_eq!(nics[0].names, ["eth0", "eno2", "ens5f1", "enp3s0f1"]);
        assert_eq!(nics[0].driver.as_deref(), Some("virtio_net"));
        let folder = sys.join("class/net/eth0");
        for (file, content, expected) in [
            (
                "dev_port",
                "1\n",
                vec!["eth0", "eno2d1", "ens5f1d1", "enp3s0f1d1"],
            ),
            // The kernel makes the file for every NIC, and most drivers have no name.
            (
                "phys_port_name",
                "",
                vec!["eth0", "eno2d1", "ens5f1d1", "enp3s0f1d1"],
            ),
            (
                "phys_port_name",
                "p1\n",
                vec![
                    "eth0",
                    "eno2np1",
                    "eno2d1",
                    "ens5f1np1",
                    "ens5f1d1",
                    "enp3s0f1np1",
                    "enp3s0f1d1",
                ],
            ),
        ] {
            fs::write(folder.join(file), content).unwrap();
            assert_eq!(describe(&[link("eth0", 1)], sys)[0].names, expected);
        }
    }

    #[test]
    fn which_nics_are_meant() {
        let nic = Nic {
            link: link("eth0", 1),
            driver: Some("igb".to_owned()),
            names: vec!["eth0".to_owned(), "enp3s0f1".to_owned()],
        };
        let own = Some(nic.link.mac);
        let wanted = |json: serde_json::Value| serde_json::from_value::<LinkMatch>(json).unwrap();
        for (json, boot, expected) in [
            (serde_json::json!({"boot": true}), own, true),
            (serde_json::json!({"boot": true}), None, false),
            (serde_json::json!({"boot": false}), own, false),
            (serde_json::json!({"name": "enp3*"}), None, true),
            (serde_json::json!({"name": "eno*"}), None, false),
            (
                serde_json::json!({"driver": "igb", "name": "eth?"}),
                None,
                true,
            ),
            (serde_json::json!({"driver": "e1000"}), None, false),
            (serde_json::json!({"mac": "94:57:a5:00:00:01"}), None, true),
            (serde_json::json!({"mac": "94:57:a5:00:00:02"}), None, false),
        ] {
            assert_eq!(fits(&wanted(json.clone()), &nic, boot), expected, "{json}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "abc", true),
            ("", "a", false),
            ("*a*b*", "xxayyb", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
