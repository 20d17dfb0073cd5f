//! Mistakes in what profiles make of a node: network, disks, users, scripts.

use super::{all, check, resource};

fn profile(spec: &str) -> String {
    resource("Profile", "p", spec)
}

#[test]
fn a_whole_profile_has_no_mistake() {
    let text = profile(include_str!("node/whole.yaml"));
    let pool = resource("NodePool", "w", "  image: d\n  profiles: [p]");
    check(&all(&[text, pool]), &[]);
}

#[test]
fn interfaces_and_bonds() {
    for (spec, expected) in [
        (
            "a/b: {match: {boot: true}}",
            vec![(7, "no name of an interface")],
        ),
        ("a: {mtu: 9000}", vec![(7, "neither a NIC nor")]),
        (
            "a: {match: {boot: true}, vlan: {link: b, id: 2}}",
            vec![(7, "more than one kind")],
        ),
        ("a: {match: {}}", vec![(7, "would be every NIC")]),
        ("a: {vlan: {link: b, id: 4095}}", vec![(7, "no VLAN 4095")]),
        (
            "a: {match: {boot: true}, mtu: 9}",
            vec![(7, "out of reach")],
        ),
        (
            "a: {match: {boot: true}, macAddress: x}",
            vec![(7, "neither \"boot\" nor a MAC")],
        ),
        (
            "a: {match: {boot: true}, routes: [{to: default}]}",
            vec![(7, "without a router")],
        ),
        (
            "a: {match: {boot: true}, routes: [{to: x, via: 10.0.0.1}]}",
            vec![(7, "nor a network")],
        ),
        (
            "a: {match: {boot: true}, lease: keep}",
            vec![(7, "write one of: static, dhcp, drop")],
        ),
        ("a: {bond: {mode: 802.3ad}}", vec![(7, "has no ports")]),
        (
            "a: {bond: {ports: [b], mode: lacp}}",
            vec![(7, "\"lacp\" is not known here")],
        ),
        (
            "a: {bond: {ports: [b], lacpRate: fast}}",
            vec![(7, "means nothing in mode active-backup")],
        ),
        (
            "a: {bond: {ports: [b], mode: 802.3ad, primary: b}}",
            vec![(7, "has no primary port")],
        ),
        (
            "a: {bond: {ports: [b], primary: c}}",
            vec![(7, "is no port of a")],
        ),
        (
            "a: {bond: {ports: [b], arpInterval: 100}}",
            vec![(7, "nobody is named")],
        ),
        (
            "a: {bond: {ports: [b], upDelay: 150}}",
            vec![(7, "no multiple of miimon")],
        ),
        (
            "a: {bond: {ports: [b], learnPacketInterval: 5, arpValidate: all}}",
            vec![
                (7, "learnPacketInterval means nothing"),
                (7, "arpValidate means nothing"),
            ],
        ),
        (
            "a: {bond: {ports: [b], mode: balance-alb, primaryReselect: better, failOverMac: follow}}",
            vec![
                (7, "primaryReselect means nothing"),
                (7, "failOverMac means nothing"),
            ],
        ),
        (
            "a: {bond: {ports: [b], adActorSystemPriority: 1, adActorSystem: 02:00:00:00:00:01, adUserPortKey: 5}}",
            vec![
                (7, "adActorSystemPriority means nothing"),
                (7, "adActorSystem means nothing"),
                (7, "adUserPortKey means nothing"),
            ],
        ),
        (
            "a: {bond: {ports: [b], mode: 802.3ad, adActorSystemPriority: 0, adActorSystem: 01:80:c2:00:00:02, adUserPortKey: 1024}}",
            vec![
                (7, "there is no priority 0"),
                (7, "is no address of one machine"),
                (7, "more than ten bits"),
            ],
        ),
        (
            "a: {bond: {ports: [b], miimon: 200, peerNotifyDelay: 300}}",
            vec![(7, "peerNotifyDelay is no multiple of miimon (200 ms)")],
        ),
        (
            "a: {bond: {ports: [b], arpInterval: 100, arpTargets: [10.0.0.1], peerNotifyDelay: 100}}",
            vec![(7, "peerNotifyDelay means nothing")],
        ),
        (
            "a: {match: {boot: true}, routes: [{to: 10.0.0.0/8, via: \"fd00::1\"}]}",
            vec![(7, "one is of IPv4, the other of IPv6")],
        ),
        (
            "a: {bond: {ports: [b], gratuitousArp: 256}}",
            vec![(7, "256")],
        ),
    ] {
        check(
            &profile(&format!("  network:\n    interfaces:\n      {spec}")),
            &expected,
        );
    }
}

#[test]
fn the_profiles_of_a_pool_make_one_network() {
    let pool = |names: &str| resource("NodePool", "w", &format!("  image: d\n  profiles: {names}"));
    let nics = |more: &str| {
        let text = format!("  network:\n    interfaces:\n      a: {{match: {{boot: true}}{more}}}");
        resource("Profile", "nics", &text)
    };
    let bond = resource(
        "Profile",
        "bond",
        "  network:\n    interfaces:\n      bond0: {bond: {ports: [a]}}",
    );
    // Either profile may leave to the other what the pool brings together.
    check(&all(&[nics(""), bond.clone(), pool("[nics, bond]")]), &[]);
    check(
        &all(&[bond.clone(), pool("[bond]")]),
        &[(14, "made of \"a\", which is no interface")],
    );
    check(
        &all(&[
            nics(", addresses: [10.0.0.1/8]"),
            bond,
            pool("[nics, bond]"),
        ]),
        &[(22, "a is a port of bond0 and has addresses")],
    );
    let ring = resource(
        "Profile",
        "ring",
        "  network:\n    boot: x\n    interfaces:\n      a: {vlan: {link: b, id: 1}}\n      b: {bridge: {ports: [a]}}",
    );
    check(
        &all(&[ring, pool("[ring]")]),
        &[
            (16, "a is made of itself"),
            (16, "b is made of itself"),
            (16, "boots over \"x\""),
        ],
    );
}

#[test]
fn routers_and_mtus_fit_what_is_below() {
    let pool = resource("NodePool", "w", "  image: d\n  profiles: [p]");
    for (b, v, expected) in [
        ("mtu: 9000", "mtu: 9000", vec![]),
        ("", "mtu: 9000", vec!["MTU of 9000, and b below it 1500"]),
        ("mtu: 1400", "mtu: 1500", vec!["and b below it 1400"]),
        (
            "addresses: [10.9.0.5/24], routes: [{to: 10.8.0.0/16, via: 10.7.0.1}]",
            "",
            vec!["10.7.0.1, a router of b, is in none of its networks"],
        ),
        (
            "addresses: [10.9.0.5/24], routes: [{to: 10.8.0.0/16, via: 10.7.0.1, onLink: true}]",
            "derivedAddresses: [{network: 10.7.0.0/16}], routes: [{to: default, via: 10.7.0.1}]",
            vec![],
        ),
        (
            "dhcp: true, routes: [{to: 10.8.0.0/16, via: 10.7.0.1}]",
            "addresses: [\"fd00::5/64\"], routes: [{to: \"fd01::/64\", via: \"fe80::1\"}]",
            vec![],
        ),
    ] {
        let text = format!(
            "  network:\n    boot: a\n    interfaces:\n      a: {{match: {{boot: true}}}}\n      \
             b: {{match: {{boot: false}}, {b}}}\n      v: {{vlan: {{link: b, id: 2}}, {v}}}"
        );
        let expected: Vec<_> = expected.into_iter().map(|text| (17, text)).collect();
        check(
            &all(&[resource("Profile", "p", &text), pool.clone()]),
            &expected,
        );
    }
}

#[test]
fn disks_are_named_without_doubt() {
    let part = "partitions: [{label: data}]";
    for (spec, expected) in [
        (
            format!("{{name: a, match: {{serial: S1}}, format: ifEmpty, {part}}}"),
            vec![],
        ),
        (
            format!("{{name: a, match: {{}}, {part}}}"),
            vec![(6, "could be any disk")],
        ),
        (
            format!("{{name: a, match: {{model: X}}, format: ifEmpty, {part}}}"),
            vec![(6, "could be any disk")],
        ),
        (format!("{{name: a, match: {{model: X}}, {part}}}"), vec![]),
        (
            format!("{{name: a, match: {{serial: S}}, format: always, {part}}}"),
            vec![(6, "write one of: never, ifEmpty")],
        ),
        (
            "{name: a, match: {serial: S}, partitions: []}".into(),
            vec![(6, "1 to 16 partitions")],
        ),
        (
            "{name: a, match: {serial: S}, partitions: [{label: a b}]}".into(),
            vec![(6, "is no label")],
        ),
        (
            "{name: a, match: {serial: S}, partitions: [{label: a}, {label: a}]}".into(),
            vec![(6, "is not the last"), (6, "given twice")],
        ),
        (
            "{name: a, match: {serial: S}, partitions: [{label: a, size: 1Ki}]}".into(),
            vec![(6, "16Mi at least")],
        ),
        (
            "{name: a, match: {serial: S}, partitions: [{label: a, path: /etc}]}".into(),
            vec![(6, "belongs to the boot")],
        ),
    ] {
        check(&profile(&format!("  disks:\n    - {spec}")), &expected);
    }
    for (spec, expected) in [
        ("{device: LABEL=x, path: /data}", vec![]),
        ("{device: LABEL=x, path: none, type: swap}", vec![]),
        (
            "{device: 'a b', path: /data}",
            vec![(6, "cannot stand in fstab")],
        ),
        ("{device: a, path: data}", vec![(6, "no absolute path")]),
        (
            "{device: a, path: /data, options: ['x y']}",
            vec![(6, "no mount option")],
        ),
    ] {
        check(&profile(&format!("  fstab:\n    - {spec}")), &expected);
    }
}

#[test]
fn users_scripts_and_module_options() {
    for (spec, expected) in [
        ("users: [{name: Ann}]", vec![(5, "no login name")]),
        ("users: [{name: a}, {name: a}]", vec![(5, "given twice")]),
        ("users: [{name: a, uid: 0}]", vec![(5, "root's")]),
        (
            "users: [{name: root, uid: 5}]",
            vec![(5, "root has number 0")],
        ),
        (
            "users: [{name: a, shell: bash}]",
            vec![(5, "no absolute path")],
        ),
        (
            "users: [{name: a, passwordHash: hunter2}]",
            vec![(5, "this is no password hash")],
        ),
        ("users: [{name: a, passwordHash: $6$salt$abc/def.}]", vec![]),
        (
            "users: [{name: a, sshAuthorizedKeys: [x]}]",
            vec![(5, "no SSH public key")],
        ),
        (
            "scripts: [{name: a, when: inRoot, content: ls}]",
            vec![(5, "does not say what runs it")],
        ),
        (
            "scripts: [{name: ../a, when: inRoot, content: '#!/bin/sh'}]",
            vec![(5, "no name of a script")],
        ),
        (
            "scripts: [{name: a, when: later, content: '#!/bin/sh'}]",
            vec![(5, "write one of: beforeRoot, inRoot, afterNetwork")],
        ),
        (
            "scripts: [{name: a, content: '#!/bin/sh'}]",
            vec![(5, "when is missing")],
        ),
        ("hosts: {10.0.0.1: [a_b]}", vec![(5, "no host name")]),
        ("hosts: {x: [a]}", vec![(5, "no")]),
        ("moduleOptions: {'a b': x=1}", vec![(5, "no kernel module")]),
        ("moduleOptions: {a: ''}", vec![(5, "no options")]),
        ("recovery: {watchdogSeconds: 5}", vec![(5, "out of reach")]),
        (
            "recovery: {onFailure: shout}",
            vec![(5, "write one of: restart, wait")],
        ),
        (
            "sshHostKeys: fresh",
            vec![(5, "write one of: stable, image")],
        ),
    ] {
        check(&profile(&format!("  {spec}")), &expected);
    }
}
