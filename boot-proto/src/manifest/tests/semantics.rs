//! Mistakes that only show when the manifests are seen together.

use super::{check, load_text, resource};

fn all(parts: &[String]) -> String {
    parts.join("---\n")
}

/// A machine with a MAC of its own that ends in `n`; its spec begins in line 5.
fn machine(name: &str, n: u8, more: &str) -> String {
    resource(
        "Machine",
        name,
        &format!("  macs: [94:57:a5:00:00:{n:02x}]\n{more}"),
    )
}

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
fn labels_and_taints() {
    check(
        &resource(
            "NodePool",
            "a",
            "  image: d\n  labels:\n    a b: x\n    ok: -x\n    example.com/Role: worker",
        ),
        &[(7, "label \"a b\""), (8, "label ok")],
    );
    check(
        &resource(
            "Profile",
            "a",
            &format!("  labels: {{{}: x}}", "a".repeat(64)),
        ),
        &[(5, "more than 63")],
    );
    check(
        &resource(
            "Profile",
            "a",
            &format!("  labels: {{a: {}}}", "a".repeat(64)),
        ),
        &[(5, "more than 63")],
    );
    check(
        &resource(
            "Profile",
            "a",
            "  taints:\n  - {key: a/b/c, effect: NoSchedule}\n  - {key: a, value: x y, effect: NoSchedule}\n  - {key: a, value: z, effect: NoSchedule}\n  - {key: a, effect: NoExecute}",
        ),
        &[
            (6, "taint \"a/b/c\""),
            (7, "taint a: \"x y\""),
            (8, "is given twice"),
        ],
    );
    let profile = resource(
        "Profile",
        "p",
        "  taints: [{key: a, value: x, effect: NoSchedule}]",
    );
    check(
        &all(&[
            profile,
            resource(
                "NodePool",
                "n",
                "  image: d\n  profiles: [p]\n  taints: [{key: a, value: y, effect: NoSchedule}]",
            ),
        ]),
        &[(13, "another value")],
    );
    check(
        &machine("a", 1, "  labels: {-a: x}"),
        &[(6, "label \"-a\"")],
    );
}

#[test]
fn profiles() {
    for (spec, words) in [
        ("  tmpfs: [{path: var/lib, size: 1Mi}]", "no absolute path"),
        ("  tmpfs: [{path: /var/lib, size: 0}]", "size 0"),
        (
            "  tmpfs: [{path: /a, size: 1Mi}, {path: /a, size: 2Mi}]",
            "is given twice",
        ),
        (
            "  tmpfs: [{path: /a, size: 1Mi, mode: rwx}]",
            "no octal mode",
        ),
        ("  overlaySize: 0", "no room to write"),
        (
            "  files: [{path: /etc/../shadow, content: x}]",
            "no absolute path",
        ),
        (
            "  files: [{path: /a, content: x, mode: \"0999\"}]",
            "no octal mode",
        ),
        ("  files: [{path: /a, content: x, owner: root}]", "no owner"),
        ("  units: [{name: chrony}]", "no unit name"),
        ("  units: [{name: chrony.servce}]", "no unit name"),
        (
            "  units: [{name: a.service, masked: true, enabled: true}]",
            "masked",
        ),
        ("  kernelArguments: [\"a b\"]", "not one kernel argument"),
        ("  kernelArguments: [\"\"]", "not one kernel argument"),
        ("  modules: [\"../evil\"]", "no kernel module"),
        ("  sysctls: {ip_forward: \"1\"}", "no sysctl"),
        ("  mtu: 100", "out of reach"),
        ("  timeZone: \"../../etc/passwd\"", "no time zone"),
        ("  sshAuthorizedKeys: [hello]", "no SSH public key"),
        (
            "  sshAuthorizedKeys: [\"-----BEGIN OPENSSH PRIVATE KEY-----\"]",
            "private key",
        ),
        ("  kubeletArguments: {--max-pods: \"50\"}", "write max-pods"),
        ("  kubeletArguments: {node-labels: a=b}", "use labels"),
        (
            "  kubeletArguments: {max pods: \"50\"}",
            "no kubelet argument",
        ),
    ] {
        check(&resource("Profile", "p", spec), &[(5, words)]);
    }
    check(
        &resource(
            "Profile",
            "p",
            "  kernelArguments: ['dyndbg=\"file a +p\"', quiet]\n  sysctls: {net.ipv4.ip_local_port_range: \"1024\\t65000\", net/ipv4/conf/eth0.1/forwarding: \"1\"}\n  modules: [bonding mode=4, nf_conntrack]\n  timeZone: America/Argentina/Buenos_Aires\n  sshAuthorizedKeys: ['from=\"10.0.0.0/8\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@host', ecdsa-sha2-nistp256 AAAAE2Vj]\n  units: [{name: getty@tty1.service, masked: true}]\n  files: [{path: /a, content: x, mode: \"4755\", owner: \"0:0\"}]",
        ),
        &[],
    );
}

#[test]
fn chassis_and_clusters() {
    let chassis = |more: &str| resource("Chassis", "m1", more);
    for (spec, expected) in [
        (
            "  address: \"m1:99999\"\n  credentials: {secret: a}",
            vec![(5, "no address of a chassis manager")],
        ),
        (
            "  address: ssh://m1\n  credentials: {secret: a}",
            vec![(5, "no address of a chassis manager")],
        ),
        (
            "  address: https://admin:pw@m1\n  credentials: {secret: a}",
            vec![(5, "holds a login")],
        ),
        (
            "  address: m1\n  credentials: {}",
            vec![(6, "neither password nor key")],
        ),
        (
            "  address: m1\n  credentials: {username: a}",
            vec![(6, "neither password nor key")],
        ),
        (
            "  address: m1\n  credentials: {passwordFile: a}",
            vec![(6, "no user name")],
        ),
        (
            "  address: m1\n  credentials: {username: a, passwordFile: b, privateKeyFile: c}",
            vec![(6, "passwordFile and privateKeyFile at once")],
        ),
        (
            "  address: m1\n  credentials: {username: a, password: b}",
            vec![(6, "there is no field \"password\"")],
        ),
        (
            "  address: m1\n  credentials: {secret: a}\n  hostKey: 12:34",
            vec![(7, "no host key fingerprint")],
        ),
        (
            "  address: m1\n  credentials: {secret: a}\n  certificate: abcd",
            vec![(7, "no SHA-256 fingerprint")],
        ),
        (
            "  address: m1\n  credentials: {secret: a}\n  scanInterval: 1s",
            vec![(7, "5s or more")],
        ),
        (
            "  address: https://m1:8443/redfish\n  credentials: {username: a, privateKeyFile: b}\n  hostKey: SHA256:JqYWqOq4DzTpG8tS8P4YIgsH4UO9TJmTPqdKGvT2UGI",
            vec![],
        ),
    ] {
        let loaded = load_text(&chassis(spec));
        if spec.contains("password: b") {
            assert!(
                loaded
                    .mistakes
                    .iter()
                    .any(|mistake| mistake.to_string().contains(expected[0].1))
            );
        } else {
            check(&chassis(spec), &expected);
        }
    }
    let hash = format!("sha256:{}", "a".repeat(64));
    for (spec, expected) in [
        (
            format!(
                "  endpoint: https://a:6443\n  caCertHashes: [\"{hash}\"]\n  kubeconfigFile: k"
            ),
            vec![(5, "is no endpoint")],
        ),
        (
            format!("  endpoint: a\n  caCertHashes: [\"{hash}\"]\n  kubeconfigFile: k"),
            vec![(5, "is no endpoint")],
        ),
        (
            "  endpoint: a:6443\n  caCertHashes: []\n  kubeconfigFile: k".into(),
            vec![(6, "without a CA hash")],
        ),
        (
            "  endpoint: a:6443\n  caCertHashes: [\"sha1:12\"]\n  kubeconfigFile: k".into(),
            vec![(6, "is no CA hash")],
        ),
        (
            format!("  endpoint: a:6443\n  caCertHashes: [\"{hash}\"]"),
            vec![(4, "no kubeconfig")],
        ),
        (
            format!(
                "  endpoint: a:6443\n  caCertHashes: [\"{hash}\"]\n  kubeconfigFile: k\n  kubeconfigSecret: s"
            ),
            vec![(8, "at once")],
        ),
        (
            format!(
                "  endpoint: a:6443\n  caCertHashes: [\"{hash}\"]\n  kubeconfigFile: k\n  tokenLifetime: 1s"
            ),
            vec![(8, "60s or more")],
        ),
    ] {
        check(&resource("Cluster", "c", &spec), &expected);
    }
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
        "a.yaml:12:9: Machine/a: spec.pool: there is no NodePool \"nowhere\"\n    declared as NodePool: none"
    );
}
