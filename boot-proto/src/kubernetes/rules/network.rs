//! What a Profile says of interfaces, each one for itself: whether names lead to
//! something depends on all profiles of a pool.

use serde_json::{Value, json};

use super::{Patch, patch, rule};

/// What the driver would refuse, or silently ignore (`bond_options.c`).
const BOND: [(&str, &str); 11] = [
    (
        "has(self.ports) && self.ports.size() > 0",
        "a bond without ports: list the interfaces it bundles",
    ),
    (
        "self.mode == '802.3ad' || !(has(self.lacpRate) || has(self.adSelect))",
        "lacpRate and adSelect mean something in mode 802.3ad only",
    ),
    (
        "!has(self.primary) || self.mode in ['active-backup', 'balance-tlb', 'balance-alb']",
        "this mode has no primary port: take primary out, or write mode: active-backup",
    ),
    (
        "!has(self.primary) || (has(self.ports) && self.primary in self.ports)",
        "primary is no port of the bond",
    ),
    (
        "!has(self.arpInterval) || self.arpInterval == 0 || (!(self.mode in ['802.3ad', 'balance-tlb', 'balance-alb']) && !(has(self.miimon) && self.miimon > 0) && has(self.arpTargets) && self.arpTargets.size() > 0)",
        "arpInterval wants arpTargets and no miimon, and a mode other than 802.3ad, balance-tlb and balance-alb",
    ),
    (
        "[has(self.upDelay) ? self.upDelay : 0, has(self.downDelay) ? self.downDelay : 0].all(delay, delay == 0 || (!has(self.miimon) && delay % 100 == 0) || (has(self.miimon) && self.miimon > 0 && delay % self.miimon == 0))",
        "upDelay and downDelay are multiples of miimon (100 ms when left out): the kernel would round them down",
    ),
    (
        "!(has(self.primaryReselect) && !has(self.primary)) && !(has(self.failOverMac) && self.mode != 'active-backup') && !(has(self.packetsPerPort) && self.mode != 'balance-rr')",
        "primaryReselect wants a primary, failOverMac the mode active-backup, packetsPerPort the mode balance-rr",
    ),
    (
        "self.mode == '802.3ad' || !(has(self.adActorSystemPriority) || has(self.adActorSystem) || has(self.adUserPortKey))",
        "adActorSystemPriority, adActorSystem and adUserPortKey mean something in mode 802.3ad only",
    ),
    (
        "!has(self.peerNotifyDelay) || self.peerNotifyDelay == 0 || (!(has(self.arpInterval) && self.arpInterval > 0) && ((!has(self.miimon) && self.peerNotifyDelay % 100 == 0) || (has(self.miimon) && self.miimon > 0 && self.peerNotifyDelay % self.miimon == 0)))",
        "peerNotifyDelay is a multiple of miimon (100 ms when left out), and means nothing beside arpInterval",
    ),
    (
        "!(has(self.learnPacketInterval) || has(self.dynamicLoadBalancing)) || self.mode in ['balance-tlb', 'balance-alb']",
        "learnPacketInterval and dynamicLoadBalancing mean something in the modes balance-tlb and balance-alb only",
    ),
    (
        "!(has(self.arpValidate) && !(has(self.arpInterval) && self.arpInterval > 0)) && !(has(self.arpAllTargets) && !has(self.arpValidate))",
        "arpValidate wants arpInterval and arpTargets, arpAllTargets wants arpValidate",
    ),
];

pub(super) fn rules() -> Vec<Patch> {
    let mut patches = vec![
        patch("spec.network.interfaces", names()),
        patch(
            "spec.network.interfaces{}",
            rule(
                "[has(self.match), has(self.bond), has(self.vlan), has(self.bridge)].filter(kind, kind).size() == 1",
                "give one of match (for NICs), bond, vlan and bridge",
            ),
        ),
        patch(
            "spec.network.interfaces{}.match",
            rule(
                "has(self.mac) || has(self.driver) || has(self.name) || has(self.boot)",
                "this would be every NIC: write boot: true, mac, driver or name; name: \"*\" where every NIC is meant",
            ),
        ),
        patch(
            "spec.network.interfaces{}.mtu",
            json!({"minimum": 576, "maximum": 65535}),
        ),
        patch(
            "spec.network.interfaces{}.vlan.id",
            json!({"minimum": 1, "maximum": 4094}),
        ),
        patch(
            "spec.network.interfaces{}.macAddress",
            json!({"pattern": format!("^(boot|{})$", super::super::schema::MAC), "maxLength": 17}),
        ),
        patch("spec.network.dns[]", address()),
        patch("spec.network.dns", json!({"maxItems": 16})),
    ];
    patches.extend(addresses());
    patches.extend(
        BOND.map(|(text, message)| patch("spec.network.interfaces{}.bond", rule(text, message))),
    );
    patches.extend([
        patch(
            "spec.network.interfaces{}.bond.ports",
            json!({"maxItems": 32}),
        ),
        patch(
            "spec.network.interfaces{}.bond.ports[]",
            json!({"maxLength": 15}),
        ),
        patch(
            "spec.network.interfaces{}.bond.primary",
            json!({"maxLength": 15}),
        ),
        patch(
            "spec.network.interfaces{}.bond.adActorSystemPriority",
            json!({"minimum": 1}),
        ),
        patch(
            "spec.network.interfaces{}.bond.adUserPortKey",
            json!({"maximum": 1023}),
        ),
        patch(
            "spec.network.interfaces{}.bond.adActorSystem",
            rule(
                "self.matches('^.[02468aceACE]') && !self.matches('^[0:.-]+$')",
                "neither a multicast nor zero: LACP knows one machine by it",
            ),
        ),
        // `rtnetlink` and `bonding` take no more (`BOND_MAX_ARP_TARGETS`).
        patch(
            "spec.network.interfaces{}.bond.arpTargets",
            json!({"maxItems": 16}),
        ),
    ]);
    patches
}

/// Names that the kernel takes (`dev_valid_name`), and that a kernel command
/// line can carry.
fn names() -> Value {
    let mut names = rule(
        "self.all(key, key.matches('^[^\\\\s/:,+=\\\\x00-\\\\x1f\\\\x7f]{1,15}$') && !(key in ['.', '..']))",
        "this is no name of an interface: write at most 15 letters, digits, dots, dashes or underscores, such as bond0",
    );
    names["maxProperties"] = json!(64);
    names
}

fn address() -> Value {
    let mut address = rule("isIP(self)", "this is no IP address");
    address["maxLength"] = json!(45);
    address
}

fn addresses() -> [Patch; 8] {
    let within = |text: &str, message: &str| {
        let mut value = rule(text, message);
        value["maxLength"] = json!(49);
        value
    };
    [
        patch(
            "spec.network.interfaces{}.addresses",
            json!({"maxItems": 32}),
        ),
        patch(
            "spec.network.interfaces{}.addresses[]",
            within(
                "isCIDR(self)",
                "write address and prefix length, such as 10.28.0.5/16",
            ),
        ),
        patch(
            "spec.network.interfaces{}.derivedAddresses[].network",
            within(
                "isCIDR(self) && cidr(self).ip().family() == 4",
                "write an IPv4 network, such as 10.30.0.0/16",
            ),
        ),
        patch(
            "spec.network.interfaces{}.derivedAddresses[].prefix",
            json!({"minimum": 1, "maximum": 32}),
        ),
        patch(
            "spec.network.interfaces{}.routes[].to",
            within(
                "self == 'default' || isCIDR(self)",
                "write default, or a network such as 10.0.0.0/8",
            ),
        ),
        patch(
            "spec.network.interfaces{}.routes[]",
            rule(
                "self.to != 'default' || has(self.via)",
                "a default route without a router: add via",
            ),
        ),
        patch(
            "spec.network.interfaces{}.routes[].via",
            json!({"maxLength": 45}),
        ),
        patch(
            "spec.network.interfaces{}.routes[]",
            rule(
                "self.to == 'default' || !has(self.via) || self.to.contains(':') == self.via.contains(':')",
                "network and router are of IPv4 or of IPv6, both of the same",
            ),
        ),
    ]
}
