//! The sums of a Subnet.
//!
//! CEL has networks and addresses, but no order of addresses; where one is
//! needed, an address is taken apart into a number.

use serde_json::json;

use super::profile::dhcp_options;
use super::{ONE_MINUTE, Patch, patch, rule};

const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// An address as a number.
fn number(address: &str) -> String {
    let part = |at: u32, factor: u32| format!("int({address}.split('.')[{at}]) * {factor}");
    format!(
        "({} + {} + {} + int({address}.split('.')[3]))",
        part(0, 1 << 24),
        part(1, 1 << 16),
        part(2, 1 << 8)
    )
}

/// The broadcast address of `self.cidr` as a number.
fn broadcast() -> String {
    let sizes: Vec<String> = (0..=32)
        .map(|prefix| (1_u64 << (32 - prefix)).to_string())
        .collect();
    format!(
        "{} + [{}][int(self.cidr.split('/')[1])] - 1",
        number("self.cidr.split('/')[0]"),
        sizes.join(", ")
    )
}

pub(super) fn rules() -> Vec<Patch> {
    let address = format!("{OCTET}([.]{OCTET}){{3}}");
    let ipv4 = json!({"pattern": format!("^{address}$"), "maxLength": 15});
    let within = "cidr(self.cidr).containsIP";
    let mut patches = vec![
        patch(
            "spec.cidr",
            json!({
                "pattern": format!("^{address}/(3[0-2]|[12]?[0-9])$"),
                "maxLength": 18,
                "x-kubernetes-validations": [
                    {
                        "rule": "cidr(self).masked() == cidr(self)",
                        "message": "this is an address in a network, not a network: write the network's own address",
                    },
                    {
                        "rule": "cidr(self).prefixLength() >= 1 && cidr(self).prefixLength() <= 30",
                        "message": "this network has no room for machines, or is the whole Internet: write a prefix length from 1 to 30",
                    },
                ],
            }),
        ),
        patch("spec.gateway", ipv4.clone()),
        patch("spec.relay", ipv4.clone()),
        patch(
            "spec",
            rule(
                format!("!has(self.gateway) || {within}(self.gateway)"),
                "the gateway lies outside of the network",
            ),
        ),
        patch(
            "spec",
            rule(
                format!(
                    "!has(self.gateway) || (self.gateway != self.cidr.split('/')[0] && {} != {})",
                    number("self.gateway"),
                    broadcast()
                ),
                "the gateway is the network's own or its broadcast address: write the router's own",
            ),
        ),
        patch("spec.ranges", json!({"maxItems": 32})),
        patch("spec.ranges[].from", ipv4.clone()),
        patch("spec.ranges[].to", ipv4.clone()),
        patch(
            "spec.ranges[]",
            rule(
                format!("{} <= {}", number("self.from"), number("self.to")),
                "the range ends before it begins: swap from and to",
            ),
        ),
        patch("spec.leaseTime", json!({"pattern": ONE_MINUTE})),
        patch("spec.dns", json!({"maxItems": 16})),
        patch("spec.dns[]", ipv4),
        patch(
            "spec.dns[]",
            rule(
                "self != '0.0.0.0' && int(self.split('.')[0]) < 224",
                "this is no server's address",
            ),
        ),
        patch("spec.search[]", super::dns_name()),
        patch(
            "spec.interface",
            json!({"pattern": "^[^\\s/:\\x00-\\x1f\\x7f]{1,15}$", "not": {"enum": [".", ".."]}}),
        ),
    ];
    patches.extend(ranges());
    patches.extend(dhcp_options("spec.dhcpOptions", "spec.dhcpOptions{}"));
    patches
}

/// What a range must not hold.
fn ranges() -> Vec<Patch> {
    let within = "cidr(self.cidr).containsIP";
    vec![
        patch(
            "spec",
            rule(
                format!(
                    "!has(self.ranges) || self.ranges.all(range, {within}(range.from) && {within}(range.to))"
                ),
                "a range lies outside of the network",
            ),
        ),
        patch(
            "spec",
            rule(
                format!(
                    "!has(self.ranges) || self.ranges.all(range, range.from != self.cidr.split('/')[0] && {} != {})",
                    number("range.to"),
                    broadcast()
                ),
                "a range holds the network's own or its broadcast address",
            ),
        ),
        patch(
            "spec",
            rule(
                format!(
                    "!has(self.ranges) || !has(self.gateway) || self.ranges.all(range, {gateway} < {from} || {gateway} > {to})",
                    gateway = number("self.gateway"),
                    from = number("range.from"),
                    to = number("range.to"),
                ),
                "a range holds the gateway: its address would be given to a machine",
            ),
        ),
        patch(
            "spec",
            rule(
                format!(
                    "!has(self.ranges) || self.ranges.all(one, self.ranges.exists_one(two, {} <= {} && {} <= {}))",
                    number("one.from"),
                    number("two.to"),
                    number("two.from"),
                    number("one.to")
                ),
                "two ranges overlap: an address would be given twice",
            ),
        ),
    ]
}
