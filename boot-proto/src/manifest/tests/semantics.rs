//! Mistakes that only show when the manifests are seen together.

use super::{all, check, load_text, machine, resource};

#[test]
fn names() {
    let subnet = |name: &str| resource("Subnet", name, "  cidr: 10.0.0.0/24");
    check(&subnet("Rack_1"), &[(3, "lower-case letters")]);
    check(
        &all(&[subnet("s"), resource("Subnet", "s", "  cidr: 10.0.1.0/24")]),
        &[(9, "there is a Subnet \"s\" already, at a.yaml:3")],
    );
    // The same name in another kind is another thing.
    check(
        &all(&[subnet("s"), resource("Profile", "s", "  mtu: 1500")]),
        &[],
    );
}

#[test]
fn references() {
    let profile = resource("Profile", "base", "  mtu: 1500");
    let pool = resource(
        "NodePool",
        "workers",
        "  image: debian\n  profiles: [base, bsae, base]\n  cluster: prod\n  subnet: lan\n  machines: {names: [node1], slots: [m2/c1n1]}",
    );
    let node = machine(
        "n1",
        1,
        "  pool: worker\n  profiles: [extra]\n  chassis: m1",
    );
    let chassis = resource(
        "Chassis",
        "m7",
        "  address: m7\n  credentials: {secret: m7}\n  pool: wrokers",
    );
    check(
        &all(&[profile, pool, node, chassis]),
        &[
            (12, "did you mean base?"),
            (12, "profile \"base\" is listed twice"),
            (13, "there is no Cluster \"prod\""),
            (14, "there is no Subnet \"lan\""),
            (15, "there is no Machine \"node1\""),
            (15, "there is no Chassis \"m2\""),
            (22, "did you mean workers?"),
            (23, "there is no Profile \"extra\""),
            (24, "there is no Chassis \"m1\""),
            (32, "did you mean workers?"),
        ],
    );
    // A resource with a mistake of its own is there all the same.
    let broken = resource("NodePool", "workers", "  imgae: debian");
    check(
        &all(&[broken, machine("n1", 1, "  pool: workers")]),
        &[(4, "image is missing"), (5, "did you mean image?")],
    );
    // So is one whose YAML breaks off after its name.
    let torn = resource("NodePool", "workers", "  image: a: b");
    check(
        &all(&[torn, machine("n1", 1, "  pool: workers")]),
        &[(5, "not YAML")],
    );
    // What is only found has a name that tells where it comes from.
    let chassis = resource(
        "Chassis",
        "m1",
        "  address: m1\n  credentials: {secret: m1}",
    );
    check(
        &all(&[
            chassis,
            resource(
                "NodePool",
                "p",
                "  image: d\n  machines: {names: [m1-c11n1, 94-57-a5-d3-ec-f2]}",
            ),
        ]),
        &[],
    );
}

#[test]
fn identities() {
    check(
        &all(&[machine("a", 1, ""), machine("b", 1, "")]),
        &[(
            11,
            "MAC 94:57:a5:00:00:01 is given to Machine/a already, at a.yaml:5",
        )],
    );
    check(
        &resource(
            "Machine",
            "a",
            "  macs: [94:57:a5:00:00:01, 94-57-A5-00-00-01]",
        ),
        &[(5, "is given here already")],
    );
    for mac in [
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
    ] {
        check(
            &resource("Machine", "a", &format!("  macs: [{mac}]")),
            &[(5, "no address of one NIC")],
        );
    }
    for uuid in [
        "00020003-0004-0005-0006-000700080009",
        "03000200-0400-0500-0006-000700080009",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "00000000-0000-0000-0000-000000000000",
    ] {
        check(
            &resource("Machine", "a", &format!("  uuid: {uuid}")),
            &[(5, "is a placeholder")],
        );
    }
    check(
        &resource("Machine", "a", "  uuid: not-a-uuid"),
        &[(5, "is not a UUID")],
    );
    let uuid = "  uuid: 31393736-3935-584d-5137-343630314d58";
    check(
        &all(&[
            resource("Machine", "a", uuid),
            resource("Machine", "b", &uuid.to_uppercase().replace("UUID", "uuid")),
        ]),
        &[(11, "is given to Machine/a already")],
    );
    let chassis = resource(
        "Chassis",
        "m1",
        "  address: m1\n  credentials: {secret: m1}",
    );
    let placed = |name: &str| resource("Machine", name, "  chassis: m1\n  slot: c1n1");
    check(
        &all(&[chassis.clone(), placed("a"), placed("b")]),
        &[(20, "slot m1/c1n1 is given to Machine/a already")],
    );
    check(
        &machine("a", 1, "  slot: c1n1"),
        &[(6, "a slot without a chassis")],
    );
    check(
        &resource("Machine", "a", "  power: \"On\""),
        &[(4, "nothing can be recognised")],
    );
    check(
        &all(&[chassis, resource("Machine", "m1-c3n1", "  power: \"On\"")]),
        &[],
    );
    check(
        &resource("Machine", "94-57-a5-d3-ec-f2", "  power: \"On\""),
        &[],
    );
}

#[test]
fn host_names() {
    check(
        &all(&[machine("a", 1, "  hostname: web"), machine("web", 2, "")]),
        &[(10, "host name \"web\" is also that of Machine \"a\"")],
    );
    check(&machine("a", 1, "  hostname: Web_1"), &[(6, "lower-case")]);
    for (pattern, words) in [
        ("node", "same name"),
        ("n-{chassis}", "same name"),
        ("n-{solt}", "braces"),
        ("N-{slot}", "lower-case"),
        ("-{slot}", "lower-case"),
    ] {
        check(
            &resource(
                "NodePool",
                "p",
                &format!("  image: d\n  hostname: \"{pattern}\""),
            ),
            &[(6, words)],
        );
    }
    let pool = resource("NodePool", "p", "  image: d\n  hostname: n-{slot}");
    let chassis =
        |name: &str| resource("Chassis", name, "  address: m\n  credentials: {secret: m}");
    let placed = |name: &str, chassis: &str| {
        resource(
            "Machine",
            name,
            &format!("  chassis: {chassis}\n  slot: c1n1\n  pool: p"),
        )
    };
    check(
        &all(&[
            pool,
            chassis("m1"),
            chassis("m2"),
            placed("a", "m1"),
            placed("b", "m2"),
        ]),
        &[(32, "host name \"n-c1n1\"")],
    );
}

#[test]
fn subnets() {
    for (spec, expected) in [
        (
            "  cidr: 10.0.0.5/24",
            vec![(5, "write the network's own address: 10.0.0.0/24")],
        ),
        ("  cidr: 10.0.0.4/31", vec![(5, "no room")]),
        (
            "  cidr: 10.0.0.0/24\n  gateway: 10.0.1.1",
            vec![(6, "lies outside of 10.0.0.0/24")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  gateway: 10.0.0.255",
            vec![(6, "broadcast address")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  ranges: [{from: 10.0.0.20, to: 10.0.0.10}]",
            vec![(6, "swap from and to")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  ranges:\n  - from: 10.0.0.10\n    to: 10.0.1.10",
            vec![(8, "10.0.1.10 lies outside of 10.0.0.0/24")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  ranges:\n  - from: 10.0.0.0\n    to: 10.0.0.255",
            vec![(7, "network address"), (8, "broadcast address")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  gateway: 10.0.0.1\n  ranges:\n  - from: 10.0.0.1\n    to: 10.0.0.9",
            vec![(8, "holds the gateway")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  ranges:\n  - {from: 10.0.0.10, to: 10.0.0.20}\n  - {from: 10.0.0.20, to: 10.0.0.30}",
            vec![(8, "overlaps 10.0.0.10–10.0.0.20")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  leaseTime: 0s",
            vec![(6, "60s or more")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  interface: eth/0",
            vec![(6, "no name of an interface")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  search: [Example_com]",
            vec![(6, "search domain")],
        ),
        (
            "  cidr: 10.0.0.0/24\n  dhcpOptions:\n    NTP: 10.0.0.1\n    300: x\n    53: x\n    42: 10.0.0.1\n    ntp-servers: 10.0.0.1",
            vec![
                (7, "is no DHCP option"),
                (8, "is no DHCP option"),
                (9, "belongs to the protocol"),
            ],
        ),
    ] {
        check(&resource("Subnet", "s", spec), &expected);
    }
    let subnet = |name: &str, cidr: &str| resource("Subnet", name, &format!("  cidr: {cidr}"));
    check(
        &all(&[subnet("a", "10.0.0.0/16"), subnet("b", "10.0.3.0/24")]),
        &[(
            11,
            "10.0.3.0/24 overlaps 10.0.0.0/16 of Subnet \"a\" at a.yaml:5",
        )],
    );
    check(
        &all(&[subnet("a", "10.0.0.0/24"), subnet("b", "10.0.1.0/24")]),
        &[],
    );
}

#[test]
fn addresses() {
    let subnet = resource("Subnet", "s", "  cidr: 10.0.0.0/24\n  gateway: 10.0.0.1");
    let at = |name: &str, n: u8, address: &str| machine(name, n, &format!("  address: {address}"));
    check(
        &all(&[
            subnet.clone(),
            at("a", 1, "10.0.0.7"),
            at("b", 2, "10.0.0.7"),
        ]),
        &[(
            20,
            "address 10.0.0.7 is given to Machine/a already, at a.yaml:13",
        )],
    );
    for (address, words) in [
        ("10.0.1.7", "lies in no Subnet"),
        ("10.0.0.0", "network address"),
        ("10.0.0.255", "broadcast address"),
        ("10.0.0.1", "is the gateway"),
    ] {
        check(&all(&[subnet.clone(), at("a", 1, address)]), &[(13, words)]);
    }
    let other = resource("Subnet", "t", "  cidr: 10.0.1.0/24");
    let pool = resource("NodePool", "p", "  image: d\n  subnet: s");
    check(
        &all(&[
            subnet,
            other,
            pool,
            machine("a", 1, "  pool: p\n  address: 10.0.1.7"),
        ]),
        &[(27, "lies outside of 10.0.0.0/24, Subnet \"s\" of its pool")],
    );
}

#[test]
fn pools() {
    let chassis = resource(
        "Chassis",
        "m1",
        "  address: m1\n  credentials: {secret: m1}",
    );
    let pool =
        |name: &str, more: &str| resource("NodePool", name, &format!("  image: debian\n{more}"));
    check(
        &all(&[pool("a", "  catchAll: true"), pool("b", "  catchAll: true")]),
        &[(13, "NodePool \"a\" takes all machines already, at a.yaml:6")],
    );
    check(
        &all(&[
            chassis.clone(),
            pool("a", "  machines: {slots: [m1/c1n1, m1, m1/c0n1]}"),
            pool("b", "  machines: {slots: [m1/C1N1, m1/*]}"),
        ]),
        &[
            (13, "\"m1\" is no slot"),
            (13, "\"m1/c0n1\" is no slot"),
            (20, "slot m1/c1n1 is given to NodePool/a already"),
        ],
    );
    let macs = "  machines: {macs: [94:57:a5:00:00:01]}";
    check(
        &all(&[pool("a", macs), pool("b", macs)]),
        &[(13, "MAC 94:57:a5:00:00:01 is given to NodePool/a already")],
    );
    check(
        &pool("a", "  machines: {macs: [00:00:00:00:00:00]}"),
        &[(6, "no address of one NIC")],
    );
    check(
        &all(&[pool("a", macs), pool("b", ""), machine("n", 1, "  pool: b")]),
        &[(6, "which names pool \"b\" itself")],
    );
    check(
        &pool("a", "  machines: {matchLabels: {\"a b\": c}}"),
        &[(6, "label \"a b\"")],
    );
    check(
        &resource("NodePool", "a", "  image: sha256:12"),
        &[(5, "is no digest")],
    );
    check(
        &resource("NodePool", "a", "  image: docker.io/debian"),
        &[(5, "no name of an image")],
    );
    let image = resource(
        "Image",
        "debian",
        &format!("  digest: sha256:{}", "0".repeat(64)),
    );
    check(
        &all(&[image.clone(), resource("NodePool", "a", "  image: debain")]),
        &[(11, "did you mean debian?")],
    );
    check(
        &all(&[image, resource("NodePool", "a", "  image: debian-13")]),
        &[],
    );
}

#[test]
fn mistakes_are_sorted_and_shown_with_their_resource() {
    let loaded = load_text(&all(&[
        resource("Subnet", "s", "  cidr: x"),
        machine("a", 1, "  pool: nowhere"),
    ]));
    let shown: Vec<String> = loaded.mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[0],
        "a.yaml:5:9: Subnet/s: spec.cidr: \"x\" is not a network\n    write a network and its prefix length, such as 10.28.0.0/16"
    );
    assert_eq!(
        shown[1],
        "a.yaml:12:9: Machine/a: spec.pool: there is no NodePool \"nowhere\"\n    none is declared in these files"
    );
}

#[test]
fn loaders() {
    let pool = |loaders: &str| {
        let spec =
            format!("  image: debian\n  secureBoot: true\n  loader: grub\n  loaders: {loaders}");
        resource("NodePool", "p", &spec)
    };
    check(&pool("{7: ipxe.efi, '16': 'http://10.0.0.1/x.efi'}"), &[]);
    check(
        &pool("{x64: a.efi, 7: ../a.efi, 9: ''}"),
        &[
            (8, "\"x64\" is no client architecture"),
            (8, "\"../a.efi\" is no loader"),
            (8, "\"\" is no loader"),
        ],
    );
    check(
        &resource("NodePool", "p", "  image: debian\n  loader: grup"),
        &[(6, "grub")],
    );
}
