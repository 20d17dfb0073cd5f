//! What a network as data can say, in one machine of six NICs: a boot over a
//! bridge on a balance-xor bond, a balance-alb and a balance-tlb bond with their
//! options, a VLAN, MTUs, addresses by hand and by rule, routes, DNS.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::NicSpec;
use moonfarm_tests::lab::farm::layout::{BRIDGE, SERVER};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::cabling::{Bench, mac, tap};
use crate::seen::{Seen, script};
use crate::support::{artefacts, now};

const NICS: usize = 6;
/// Where the lab's host is beyond the bond that the boot did not go over.
const BEYOND: &str = "10.79.0.1/24";
/// How long the booted system may take over its links.
const TO_SETTLE: Duration = Duration::from_secs(60);

fn network() -> String {
    let nic = |at: usize| format!("{{match: {{mac: \"{}\"}}}}", mac(at));
    format!(
        "{{boot: br0, dns: [10.77.0.53, 10.77.0.54], search: [farm.example, \"no\"], interfaces: {{\
         nic0: {{match: {{boot: true}}}}, nic1: {}, nic2: {}, nic3: {}, nic4: {}, \
         bond0: {{mtu: 1450, bond: {{ports: [nic0, nic1], mode: balance-xor, miimon: 100, \
           upDelay: 200, downDelay: 300, transmitHashPolicy: layer2+3, minLinks: 1}}}}, \
         br0: {{bridge: {{ports: [bond0], stp: false}}, lease: static, \
           derivedAddresses: [{{network: 172.30.0.0/16, prefix: 20}}], \
           routes: [{{to: 10.99.0.0/16, via: {SERVER}, metric: 77}}]}}, \
         bond1: {{mtu: 9000, addresses: [10.79.0.5/24, \"fd00:79::5/64\"], acceptRa: false, \
           routes: [{{to: 10.98.0.0/16, via: 10.79.0.1, table: 100}}], \
           bond: {{ports: [nic2, nic3], mode: balance-alb, miimon: 200, primary: nic3, \
           primaryReselect: better, learnPacketInterval: 5, resendIgmp: 2}}}}, \
         vlan30: {{vlan: {{link: bond1, id: 30}}, mtu: 1400, \
           derivedAddresses: [{{network: 10.30.0.0/16}}]}}, \
         bond2: {{addresses: [10.81.0.5/24], bond: {{ports: [nic4], mode: balance-tlb, \
           dynamicLoadBalancing: false, transmitHashPolicy: layer3+4, allPortsActive: true}}}}, \
         nic5: {{match: {{mac: \"{}\"}}, mtu: 1300, addresses: [10.80.0.5/24], optional: true}}}}}}",
        nic(1),
        nic(2),
        nic(3),
        nic(4),
        mac(5),
    )
}

const LOOKS: &[(&str, &str)] = &[
    ("boot", "cat /proc/sys/kernel/random/boot_id"),
    ("links", "ip -d -j link show"),
    ("addresses", "ip -j address show"),
    ("routes", "ip -j -4 route show table all"),
    ("dns", "cat /run/systemd/resolve/resolv.conf"),
    (
        "netplan",
        "if [ -x /usr/libexec/netplan/generate ]; then \
         /usr/libexec/netplan/generate && echo content; else echo none; fi",
    ),
    (
        "state",
        "timeout 150 systemctl is-system-running --wait; systemctl --failed --no-legend --plain",
    ),
    ("networkd", "networkctl --no-pager --no-legend list"),
    (
        "complaints",
        "journalctl -b -o cat -p warning -u systemd-networkd | grep -v 'Lost carrier'",
    ),
];

#[test]
fn a_network_is_all_that_its_profile_says() {
    if needs::is_long_run() && needs::has_virtual_machines() {
        check(None, "content");
    }
}

/// The same where there is no netplan, as files of systemd-networkd.
#[test]
fn a_network_is_all_that_its_profile_says_without_netplan() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    if let Some(image) = needs::folder("MOONFARM_OLDER_IMAGE") {
        check(Some(image), "none");
    }
}

fn check(image: Option<PathBuf>, netplan: &str) {
    let Some(mut artefacts) = artefacts() else {
        return;
    };
    if let Some(image) = image {
        artefacts.image = image;
    }
    let bench = Bench::with(artefacts, &network(), NICS);
    let namespace = bench.test.farm.namespace();
    for at in 0..NICS {
        namespace.add_tap(&tap(at), BRIDGE).expect("a tap");
        // A bond that uses all its ports at once is one port to its switch: what
        // comes in by one does not go out by the other.
        namespace
            .ip(&[
                "link",
                "set",
                &tap(at),
                "type",
                "bridge_slave",
                "isolated",
                "on",
            ])
            .expect("isolated");
    }
    namespace
        .ip(&["address", "add", BEYOND, "dev", BRIDGE])
        .expect("an address");
    let since = now();
    let machine = bench.power_on(bench.spec_without_firmware(NicSpec::VIRTIO));
    let at = bench.wait_for("switch-root", &machine, since);
    let text = bench.ask(at, &script(LOOKS));
    let seen = Seen::of(&text);
    bench.test.say(&text);
    seen.is("netplan", netplan);
    seen.is("state", "running");
    seen.is("complaints", "");
    let links = Links::of(seen.get("links"));
    check_boot_path(&links);
    check_other_links(&links);
    check_addresses(&json(seen.get("addresses")), at);
    check_routes(&json(seen.get("routes")));
    let dns = seen.get("dns");
    for line in [
        "nameserver 10.77.0.53",
        "nameserver 10.77.0.54",
        "search farm.example no",
    ] {
        assert!(dns.lines().any(|own| own == line), "{line}: {dns}");
    }
    // Not only told, but carrying: by the bond that only the booted system made.
    let beyond = Ipv4Addr::new(10, 79, 0, 5);
    let boot = until(TO_SETTLE, || {
        Some(bench.ask(beyond, "cat /proc/sys/kernel/random/boot_id"))
    });
    assert_eq!(boot.unwrap_or_default().trim(), seen.get("boot"));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

struct Links(Vec<Value>);

impl Links {
    fn of(text: &str) -> Self {
        match json(text) {
            Value::Array(links) => Self(links),
            other => panic!("no list: {other}"),
        }
    }

    fn named(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|link| link["ifname"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    /// A NIC, whatever address its bond gave it.
    fn nic(&self, at: usize) -> &Value {
        let own = mac(at).to_string();
        let is_it = |link: &&Value| {
            let permanent = &link["permaddr"];
            let address = if permanent.is_null() {
                &link["address"]
            } else {
                permanent
            };
            *address == *own && link["linkinfo"]["info_kind"].is_null()
        };
        let found = self.0.iter().find(is_it);
        found.unwrap_or_else(|| panic!("no NIC {own} in {:#?}", self.0))
    }

    fn is(&self, name: &str, expected: &[(&str, Value)]) {
        let link = self.named(name);
        for (key, value) in expected {
            assert_eq!(
                link["linkinfo"]["info_data"][key], *value,
                "{key} of {link:#}"
            );
        }
    }

    fn are_ports(&self, of: &str, nics: &[usize]) {
        for at in nics {
            let link = self.nic(*at);
            assert_eq!(link["master"], of, "{link:#}");
            assert_eq!(
                link["linkinfo"]["info_slave_data"]["mii_status"], "UP",
                "{link:#}"
            );
        }
    }
}

fn is_of(link: &Value, kind: &str, mtu: u32, mac: Option<MacAddr>) {
    assert_eq!(link["linkinfo"]["info_kind"], kind, "{link:#}");
    assert_eq!(link["mtu"], mtu, "{link:#}");
    if let Some(mac) = mac {
        assert_eq!(link["address"], mac.to_string(), "{link:#}");
    }
}

/// What the initramfs made, with the options it made it with.
fn check_boot_path(links: &Links) {
    is_of(links.named("bond0"), "bond", 1450, Some(mac(0)));
    assert_eq!(links.named("bond0")["master"], "br0");
    links.are_ports("bond0", &[0, 1]);
    links.is(
        "bond0",
        &[
            ("mode", "balance-xor".into()),
            ("miimon", 100.into()),
            ("updelay", 200.into()),
            ("downdelay", 300.into()),
            ("xmit_hash_policy", "layer2+3".into()),
            ("min_links", 1.into()),
        ],
    );
    is_of(links.named("br0"), "bridge", 1450, Some(mac(0)));
    links.is("br0", &[("stp_state", 0.into())]);
}

/// What systemd-networkd made.
fn check_other_links(links: &Links) {
    is_of(links.named("bond1"), "bond", 9000, None);
    links.are_ports("bond1", &[2, 3]);
    links.is(
        "bond1",
        &[
            ("mode", "balance-alb".into()),
            ("miimon", 200.into()),
            ("primary", links.nic(3)["ifname"].clone()),
            ("active_slave", links.nic(3)["ifname"].clone()),
            ("primary_reselect", "better".into()),
            ("lp_interval", 5.into()),
            ("resend_igmp", 2.into()),
        ],
    );
    is_of(links.named("vlan30"), "vlan", 1400, None);
    assert_eq!(links.named("vlan30")["link"], "bond1");
    links.is(
        "vlan30",
        &[("protocol", "802.1Q".into()), ("id", 30.into())],
    );
    is_of(links.named("bond2"), "bond", 1500, None);
    links.are_ports("bond2", &[4]);
    links.is(
        "bond2",
        &[
            ("mode", "balance-tlb".into()),
            ("tlb_dynamic_lb", 0.into()),
            ("xmit_hash_policy", "layer3+4".into()),
            ("all_slaves_active", 1.into()),
        ],
    );
    assert_eq!(links.nic(5)["mtu"], 1300);
}

/// All addresses that are not link-local, by link.
fn check_addresses(links: &Value, at: Ipv4Addr) {
    let of = |link: &Value| -> Vec<String> {
        let addresses = link["addr_info"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<String> = addresses
            .iter()
            .filter(|address| address["scope"] == "global")
            .map(|address| {
                let own = address["local"].as_str().unwrap_or_default();
                format!("{own}/{}", address["prefixlen"])
            })
            .collect();
        found.sort();
        found
    };
    let named = |name: &str| {
        let list = links.as_array().expect("a list");
        let link = list.iter().find(|link| link["ifname"] == name);
        of(link.unwrap_or_else(|| panic!("no {name} in {links:#}")))
    };
    let [.., last] = at.octets();
    assert_eq!(
        named("bond0"),
        Vec::<String>::new(),
        "the boot's address moved on"
    );
    let own = vec![format!("{at}/24"), format!("172.30.0.{last}/20")];
    assert_eq!(named("br0"), own);
    assert_eq!(named("bond1"), ["10.79.0.5/24", "fd00:79::5/64"]);
    let [_, _, third, fourth] = at.octets();
    assert_eq!(named("vlan30"), [format!("10.30.{third}.{fourth}/16")]);
    assert_eq!(named("bond2"), ["10.81.0.5/24"]);
    let all = links.as_array().expect("a list");
    assert!(
        all.iter().any(|link| of(link) == ["10.80.0.5/24"]),
        "{links:#}"
    );
}

fn check_routes(routes: &Value) {
    let has = |expected: &[(&str, Value)]| {
        let list = routes.as_array().expect("a list");
        let fits = |route: &Value| expected.iter().all(|(key, value)| route[key] == *value);
        assert!(list.iter().any(fits), "{expected:?} in {routes:#}");
    };
    let server = SERVER.to_string();
    has(&[
        ("dst", "default".into()),
        ("gateway", server.clone().into()),
        ("dev", "br0".into()),
    ]);
    has(&[
        ("dst", "10.99.0.0/16".into()),
        ("gateway", server.into()),
        ("metric", 77.into()),
    ]);
    has(&[
        ("dst", "10.98.0.0/16".into()),
        ("gateway", "10.79.0.1".into()),
        ("table", "100".into()),
        ("dev", "bond1".into()),
    ]);
}
