//! dnsmasq-controller's `DhcpHosts`: one object for each chassis, with a host for
//! each machine that has MACs. Pure.

use boot_proto::api::ChassisInventory;
use serde_json::{Value, json};

/// `apiVersion` of the object.
pub const API_VERSION: &str = "dnsmasq.kvaps.cf/v1beta1";
/// API group.
pub const GROUP: &str = "dnsmasq.kvaps.cf";
/// Version of that group.
pub const VERSION: &str = "v1beta1";
/// Kind of the object.
pub const KIND: &str = "DhcpHosts";
/// The word for it in the API's paths.
pub const PLURAL: &str = "dhcphosts";

/// The object of a chassis: host names are those of its machines, addresses are
/// left to dnsmasq's ranges.
#[must_use]
pub fn object(chassis: &str, seen: &ChassisInventory) -> Value {
    let hosts: Vec<Value> = seen
        .machines
        .iter()
        .filter(|machine| machine.macs.iter().any(|mac| mac.is_usable()))
        .map(|machine| {
            let macs: Vec<String> = machine
                .macs
                .iter()
                .filter(|mac| mac.is_usable())
                .map(ToString::to_string)
                .collect();
            json!({"macs": macs, "hostname": hostname(chassis, &machine.slot)})
        })
        .collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": chassis},
        "spec": {"hosts": hosts},
    })
}

/// A host name has letters, digits and dashes only.
fn hostname(chassis: &str, slot: &str) -> String {
    let slot: String = slot
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("{}-{}", chassis.replace('.', "-"), slot.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::api::ObservedMachine;
    use boot_proto::ids::MacAddr;

    #[test]
    fn a_host_for_each_machine_with_a_mac() {
        let machine = |slot: &str, macs: Vec<MacAddr>| ObservedMachine {
            slot: slot.into(),
            macs,
            ..ObservedMachine::default()
        };
        let seen = ChassisInventory {
            reachable: true,
            complete: true,
            machines: vec![
                machine("C1N1", vec![MacAddr::new([2, 0, 0, 0, 0, 1])]),
                machine("c2n1", Vec::new()),
            ],
            ..ChassisInventory::default()
        };
        let object = object("m1", &seen);
        assert_eq!(object["metadata"]["name"], "m1");
        assert_eq!(
            object["spec"]["hosts"],
            json!([{"macs": ["02:00:00:00:00:01"], "hostname": "m1-c1n1"}])
        );
    }
}
