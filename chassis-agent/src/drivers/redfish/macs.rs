//! MACs of a host out of all the places where vendors show them, cleaned. Pure.
//!
//! No place is complete on every machine: iLO 5 lists only some cards among
//! NetworkAdapters, OpenBMC has boot options alone, an iDRAC knows InfiniBand
//! cards as network device functions only. So the MACs are the union.

use std::collections::BTreeSet;

use boot_proto::api::ObservedNic;
use boot_proto::ids::MacAddr;
use boot_proto::redfish_rules::{MacRules, fits, matches_pattern};
use serde_json::Value;

use super::resources::{device_path_macs, link, same_uri, texts};

/// More MACs than any host has. Each one found is compared with those before.
const MOST_MACS: usize = 512;

/// The NICs of one host, as they are found.
#[derive(Debug)]
pub struct NicList<'a> {
    rules: &'a MacRules,
    macs: Vec<MacAddr>,
    nics: Vec<ObservedNic>,
    /// MACs of interfaces between host and BMC, wherever they show up again.
    foreign: BTreeSet<MacAddr>,
    /// Network device functions whose interface has shown its MAC.
    known_functions: BTreeSet<String>,
}

impl<'a> NicList<'a> {
    /// An empty list.
    #[must_use]
    pub const fn new(rules: &'a MacRules) -> Self {
        Self {
            rules,
            macs: Vec::new(),
            nics: Vec::new(),
            foreign: BTreeSet::new(),
            known_functions: BTreeSet::new(),
        }
    }

    /// MACs in the order in which they were found, and NICs.
    #[must_use]
    pub fn finish(self) -> (Vec<MacAddr>, Vec<ObservedNic>) {
        let Self {
            mut macs,
            mut nics,
            foreign,
            ..
        } = self;
        // One that came before it was known for what it is.
        macs.retain(|mac| !foreign.contains(mac));
        nics.retain(|nic| nic.mac.is_none_or(|mac| !foreign.contains(&mac)));
        (macs, nics)
    }

    /// A member of the system's EthernetInterfaces.
    pub fn interface(&mut self, interface: &Value) {
        let mut found = self.read(interface.get("PermanentMACAddress"));
        found.extend(self.read(interface.get("MACAddress")));
        if self.rules.not_host.iter().any(|rule| fits(rule, interface)) {
            self.foreign.extend(found);
            return;
        }
        let name = name(interface);
        if found.is_empty() {
            self.nics.push(ObservedNic {
                name,
                mac: None,
                switch: None,
            });
            return;
        }
        for mac in found {
            self.add(&name, mac);
        }
        let function = interface
            .get("Links")
            .and_then(|l| link(l, "NetworkDeviceFunction"));
        self.known_functions
            .extend(function.map(|uri| same_uri(&uri)));
    }

    /// The MACs that the host itself told its BMC, in a system of iLO 4 and 5.
    pub fn told_by_host(&mut self, system: &Value) {
        let vendors = system.get("Oem").and_then(Value::as_object);
        let places = vendors.into_iter().flat_map(serde_json::Map::values);
        for place in std::iter::once(system).chain(places) {
            let told = place.pointer("/HostCorrelation/HostMACAddress");
            for (index, mac) in self.read(told).into_iter().enumerate() {
                self.add(&format!("host NIC {}", index + 1), mac);
            }
        }
    }

    /// Whether an interface has shown the MAC of this network device function.
    #[must_use]
    pub fn knows_function(&self, uri: &str) -> bool {
        self.known_functions.contains(&same_uri(uri))
    }

    /// A member of the BaseNetworkAdapters of older iLO firmware.
    pub fn base_adapter(&mut self, adapter: &Value) {
        let slot = ["StructuredName", "Name", "Id"]
            .iter()
            .find_map(|name| super::resources::text(adapter, name))
            .unwrap_or_default();
        let ports = adapter.get("PhysicalPorts").and_then(Value::as_array);
        for (index, port) in ports.into_iter().flatten().enumerate() {
            let mac = port.get("MacAddress").or_else(|| port.get("MACAddress"));
            for mac in self.read(mac) {
                self.add(&format!("{slot} port {}", index + 1), mac);
            }
        }
    }

    /// A network device function of an adapter. Returns its MACs.
    pub fn function(&mut self, adapter: &str, function: &Value) -> Vec<MacAddr> {
        let ethernet = function.get("Ethernet").unwrap_or(&Value::Null);
        let found: Vec<MacAddr> = ["PermanentMACAddress", "MACAddress"]
            .iter()
            .flat_map(|place| self.read(ethernet.get(place)))
            .collect();
        let name = below(adapter, &name(function));
        for mac in &found {
            self.add(&name, *mac);
        }
        found
    }

    /// A port of an adapter, as Port or as the older NetworkPort. Returns its
    /// MACs.
    pub fn port(&mut self, adapter: &str, port: &Value) -> Vec<MacAddr> {
        let mut found = Vec::new();
        let ethernet = port.get("Ethernet").unwrap_or(&Value::Null);
        found.extend(self.read(ethernet.get("AssociatedMACAddresses")));
        found.extend(self.read(port.get("AssociatedNetworkAddresses")));
        // Lenovo writes it here alone on some firmware.
        let vendors = port.get("Oem").and_then(Value::as_object);
        for vendor in vendors.into_iter().flat_map(serde_json::Map::values) {
            found.extend(self.read(vendor.get("PhysicalPortMacAddress")));
        }
        let name = below(adapter, &format!("port {}", name(port)));
        for mac in &found {
            self.add(&name, *mac);
        }
        found
    }

    /// A boot option.
    pub fn boot_option(&mut self, option: &Value) {
        let name = ["DisplayName", "BootOptionReference", "Id"]
            .iter()
            .find_map(|name| super::resources::text(option, name))
            .unwrap_or_default();
        let path = option
            .get("UefiDevicePath")
            .and_then(Value::as_str)
            .unwrap_or_default();
        self.device_path(&name, path);
    }

    /// The boot targets that the system itself lists as device paths.
    pub fn boot_targets(&mut self, system: &Value) {
        for path in boot_targets(system) {
            self.device_path("boot target", &path);
        }
    }

    /// BIOS attributes, where the rules name some.
    pub fn bios(&mut self, bios: &Value) {
        let attributes = bios.get("Attributes").and_then(Value::as_object);
        for (name, value) in attributes.into_iter().flatten() {
            let is_mac = self
                .rules
                .bios_attributes
                .iter()
                .any(|pattern| matches_pattern(pattern, name));
            if !is_mac {
                continue;
            }
            for mac in self.read(Some(value)) {
                self.add(name, mac);
            }
        }
    }

    fn device_path(&mut self, name: &str, path: &str) {
        for text in device_path_macs(path) {
            for mac in self.read(Some(&Value::String(text))) {
                self.add(name, mac);
            }
        }
    }

    /// MACs in any spelling, without placeholders and local ones. A text may
    /// hold several, and some services have a list where a text belongs.
    fn read(&self, value: Option<&Value>) -> Vec<MacAddr> {
        let is_good = |mac: &MacAddr| {
            mac.is_usable()
                && (self.rules.keep_local || !mac.is_local())
                && !self.rules.placeholders.contains(mac)
        };
        let mut found = Vec::new();
        match value {
            Some(Value::String(text)) => found.extend(macs_in(text)),
            Some(Value::Array(list)) => {
                found.extend(list.iter().filter_map(Value::as_str).flat_map(macs_in));
            }
            _ => {}
        }
        found.retain(is_good);
        found
    }

    fn add(&mut self, name: &str, mac: MacAddr) {
        let is_full = self.macs.len() >= MOST_MACS;
        if is_full || self.macs.contains(&mac) || self.foreign.contains(&mac) {
            return;
        }
        self.macs.push(mac);
        self.nics.push(ObservedNic {
            name: name.to_owned(),
            mac: Some(mac),
            switch: None,
        });
    }
}

/// Device paths that the system lists as boot targets. iLO lists all its boot
/// options here, which saves asking for each of them.
#[must_use]
pub fn boot_targets(system: &Value) -> Vec<String> {
    let boot = system.get("Boot").unwrap_or(&Value::Null);
    texts(boot, "UefiTargetBootSourceOverride@Redfish.AllowableValues")
}

/// The MACs in a text: one in any spelling, or several with something between.
fn macs_in(text: &str) -> Vec<MacAddr> {
    /// A text of a hostile service costs no more than this.
    const LONGEST: usize = 1024;
    let end = text.floor_char_boundary(LONGEST);
    let text = text.get(..end).unwrap_or_default();
    if let Ok(mac) = text.parse() {
        return vec![mac];
    }
    let between = |c: char| c.is_whitespace() || ",;/|()[]\"'=".contains(c);
    let several: Vec<MacAddr> = text
        .split(between)
        .filter_map(|piece| piece.parse().ok())
        .collect();
    if several.is_empty() {
        // `94 40 C9 00 00 01`
        let together: String = text.split(' ').collect();
        return together.parse().into_iter().collect();
    }
    several
}

fn name(resource: &Value) -> String {
    ["Id", "Name"]
        .iter()
        .find_map(|name| match resource.get(name)? {
            Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .or_else(|| {
            let uri = resource.get("@odata.id").and_then(Value::as_str)?;
            Some(super::resources::last_part(uri).to_owned())
        })
        .unwrap_or_default()
}

fn below(adapter: &str, name: &str) -> String {
    if adapter.is_empty() || name.contains(adapter) {
        name.to_owned()
    } else {
        format!("{adapter} {name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn macs_of(fill: impl FnOnce(&mut NicList<'_>)) -> Vec<String> {
        let rules = MacRules {
            bios_attributes: vec!["*MACAddress".into()],
            ..MacRules::default()
        };
        let mut list = NicList::new(&rules);
        fill(&mut list);
        list.finish().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn interfaces_are_cleaned() {
        for (interface, expected) in [
            (
                json!({"Id": "1", "MACAddress": "A4-BF-01-28-90-AA"}),
                vec!["a4:bf:01:28:90:aa"],
            ),
            (
                json!({"Id": "1", "MACAddress": "00620B4C284E"}),
                vec!["00:62:0b:4c:28:4e"],
            ),
            (json!({"Id": "1", "MACAddress": ""}), vec![]),
            (
                json!({"Id": "1", "MACAddress": "Not Available", "PermanentMACAddress": null}),
                vec![],
            ),
            (
                json!({"Id": "1", "MACAddress": "00:00:00:00:00:00"}),
                vec![],
            ),
            (json!({"Id": "1", "MACAddress": 7}), vec![]),
            (
                json!({"Id": "1", "MACAddress": "0a:ca:fe:f0:0d:04"}),
                vec![],
            ),
            (
                json!({"Id": "1", "MACAddress": "1444.6A3B.8890"}),
                vec!["14:44:6a:3b:88:90"],
            ),
            (
                json!({"Id": "1", "MACAddress": "14:44:6a:3b:88:90, 14:44:6a:3b:88:91"}),
                vec!["14:44:6a:3b:88:90", "14:44:6a:3b:88:91"],
            ),
            (
                json!({"Id": "1", "MACAddress": ["14-44-6A-3B-88-90", null, "N/A"]}),
                vec!["14:44:6a:3b:88:90"],
            ),
            (
                json!({"Id": "1", "MACAddress": "14 44 6A 3B 88 90"}),
                vec!["14:44:6a:3b:88:90"],
            ),
            (
                json!({"Id": "1", "MACAddress": "14:44:6a:3b:88:90 (virtual)"}),
                vec!["14:44:6a:3b:88:90"],
            ),
            // InfiniBand: 20 octets, and a GUID.
            (
                json!({"Id": "1", "MACAddress": "80:00:02:08:fe:80:00:00:00:00:00:00:14:44:6a:3b:88:90:00:01"}),
                vec![],
            ),
            (
                json!({"Id": "1", "MACAddress": "14:44:6a:03:00:3b:88:90", "PermanentMACAddress": "0x14446a03003b8890"}),
                vec![],
            ),
            // Broadcast, multicast.
            (
                json!({"Id": "1", "MACAddress": "FF:FF:FF:FF:FF:FF", "PermanentMACAddress": "01:00:5e:00:00:01"}),
                vec![],
            ),
            (
                json!({"Id": "ToManager", "MACAddress": "08:8f:c3:a5:8a:70"}),
                vec![],
            ),
            (
                json!({"Id": "9", "Name": "Manager Ethernet Interface", "MACAddress": "08:8f:c3:a5:8a:70"}),
                vec![],
            ),
            (
                json!({"Id": "9", "Links": {"HostInterface": {"@odata.id": "/redfish/v1/x"}}, "MACAddress": "08:8f:c3:a5:8a:70"}),
                vec![],
            ),
            // The operating system has set a MAC of its own.
            (
                json!({"Id": "1", "MACAddress": "aa:bb:cc:dd:ee:00", "PermanentMACAddress": "14:44:6a:3b:88:90"}),
                vec!["14:44:6a:3b:88:90"],
            ),
        ] {
            assert_eq!(
                macs_of(|list| list.interface(&interface)),
                expected,
                "{interface}"
            );
        }
    }

    #[test]
    fn a_mac_between_host_and_bmc_is_left_out_everywhere() {
        let found = macs_of(|list| {
            list.interface(&json!({"Id": "ToManager", "MACAddress": "08:8f:c3:a5:8a:70"}));
            list.function(
                "1",
                &json!({"Ethernet": {"MACAddress": "08:8f:c3:a5:8a:70"}}),
            );
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_mac_between_host_and_bmc_is_left_out_though_it_came_first() {
        let found = macs_of(|list| {
            list.interface(&json!({"Id": "1", "MACAddress": "08:8f:c3:a5:8a:70"}));
            list.interface(&json!({"Id": "2", "MACAddress": "08:8f:c3:a5:8a:71"}));
            list.interface(&json!({"Id": "ToManager", "MACAddress": "08:8f:c3:a5:8a:70"}));
        });
        assert_eq!(found, ["08:8f:c3:a5:8a:71"]);
    }

    #[test]
    fn a_hostile_service_costs_little() {
        let many: Vec<String> = (0..300_000_u32)
            .map(|n| {
                let [_, a, b, c] = n.to_be_bytes();
                format!("94:40:c9:{a:02x}:{b:02x}:{c:02x}")
            })
            .collect();
        let port = json!({"Id": "1", "AssociatedNetworkAddresses": many});
        let found = macs_of(|list| {
            list.port("A", &port);
        });
        assert_eq!(found.len(), MOST_MACS);
        // Cut where a character goes on.
        let long = format!("94:40:c9:00:00:01 {}é{}", "x".repeat(1005), "y".repeat(9));
        let found = macs_of(|list| list.interface(&json!({"Id": "1", "MACAddress": long})));
        assert_eq!(found, ["94:40:c9:00:00:01"]);
    }

    #[test]
    fn other_places() {
        let found = macs_of(|list| {
            list.base_adapter(&json!({"StructuredName": "NIC.1", "PhysicalPorts": [{"MacAddress": "94:40:c9:00:00:01"}, null]}));
            list.function("A", &json!({"Id": "0", "Ethernet": {"MACAddress": "94:40:C9:00:00:02", "PermanentMACAddress": "94:40:c9:00:00:02"}}));
            list.function("A", &json!({"Id": "1", "Ethernet": null}));
            list.port("A", &json!({"Id": "0", "Ethernet": {"AssociatedMACAddresses": ["94:40:c9:00:00:03", ""]}}));
            list.port("A", &json!({"Id": "1", "AssociatedNetworkAddresses": ["88e9:a4ff:ff80:9da2", "94:40:c9:00:00:04"]}));
            list.port(
                "A",
                &json!({"Id": "2", "Oem": {"Lenovo": {"PhysicalPortMacAddress": "9440C9000005"}}}),
            );
            list.boot_option(
                &json!({"DisplayName": "PXE", "UefiDevicePath": "Pci(0x0)/MAC(9440C9000006,0x1)"}),
            );
            list.boot_targets(&json!({"Boot": {"UefiTargetBootSourceOverride@Redfish.AllowableValues": ["MAC(9440C9000007,0x1)"]}}));
            list.bios(&json!({"Attributes": {"X_PermanentMACAddress": "94:40:C9:00:00:08", "Other": "94:40:C9:00:00:09", "Y_MACAddress": 3}}));
        });
        let expected: Vec<String> = (1..=8).map(|n| format!("94:40:c9:00:00:0{n}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn virtual_machines_may_keep_local_macs() {
        let rules = MacRules {
            keep_local: true,
            ..MacRules::default()
        };
        let mut list = NicList::new(&rules);
        list.interface(&json!({"Id": "1", "MACAddress": "52:54:00:12:34:56"}));
        assert_eq!(list.finish().0.len(), 1);
    }
}
