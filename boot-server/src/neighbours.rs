//! The kernel's neighbour table: which MAC answers at an address on our links.

use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;

/// The MAC at `address`, by the kernel's word. The client has just talked to us,
/// so that the entry is fresh where it is on one of our links.
pub(crate) fn mac_at(address: Ipv4Addr) -> Option<MacAddr> {
    find(&std::fs::read_to_string("/proc/net/arp").ok()?, address)
}

/// Reads `/proc/net/arp`: address, hardware type, flags, MAC, mask, device.
fn find(table: &str, address: Ipv4Addr) -> Option<MacAddr> {
    /// Flag of an entry whose MAC is known (`ATF_COM`).
    const COMPLETE: u32 = 0x02;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let is_it = fields.next()?.parse::<Ipv4Addr>().ok()? == address;
        let flags = fields.nth(1)?.strip_prefix("0x")?;
        let is_complete = u32::from_str_radix(flags, 16).ok()? & COMPLETE != 0;
        let mac: MacAddr = fields.next()?.parse().ok()?;
        (is_it && is_complete && mac.is_usable()).then_some(mac)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.9         0x1         0x2         94:57:a5:d3:ec:f2     *        br0\n\
                     garbage\n\
                     10.0.0.10        0x1         0x0         00:00:00:00:00:00     *        br0\n";
        let mac = |address: &str| find(table, address.parse().unwrap()).map(|mac| mac.to_string());
        assert_eq!(mac("10.0.0.9").as_deref(), Some("94:57:a5:d3:ec:f2"));
        assert_eq!(mac("10.0.0.10"), None);
        assert_eq!(mac("10.0.0.11"), None);
    }
}
