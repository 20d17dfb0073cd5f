//! Names for machines that a chassis manager shows and nobody declared.

use boot_proto::ids::{MacAddr, name_mistake};
use boot_proto::slot::Slot;

/// `CHASSIS-SLOT`, such as `m1-c11n1`. What a BMC calls its system is brought
/// into the form of a name: `System.Embedded.1` becomes `system-embedded-1`.
pub(super) fn of_slot(chassis: &str, slot: &str) -> Option<String> {
    let part = slot.parse::<Slot>().ok()?.name_part();
    let name = format!("{chassis}-{part}");
    (!part.is_empty() && name_mistake(&name).is_none()).then_some(name)
}

/// The dashed form of the first MAC that can tell a NIC.
pub(super) fn of_mac(macs: &[MacAddr]) -> Option<String> {
    macs.iter()
        .find(|mac| mac.is_usable())
        .map(|mac| mac.dashed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slots() {
        for (slot, name) in [
            ("c11n1", Some("m1-c11n1")),
            ("C11N1", Some("m1-c11n1")),
            ("System.Embedded.1", Some("m1-system-embedded-1")),
            ("1", Some("m1-1")),
            (" /redfish/v1/ ", Some("m1-redfish-v1")),
            ("", None),
            ("§", None),
        ] {
            assert_eq!(of_slot("m1", slot).as_deref(), name, "{slot}");
        }
        assert_eq!(of_slot("m1", &"a".repeat(300)), None);
    }
}
