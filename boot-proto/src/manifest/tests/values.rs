//! Values that Kubernetes, systemd, Linux or a chassis manager would refuse.

use super::{all, check, machine, resource};

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
        ("  overlay: {place: disk}", "needs a label"),
        (
            "  overlay: {place: disk, label: \"/dev/sda\"}",
            "is no label",
        ),
        (
            "  overlay: {place: zram, label: x}",
            "is for an overlay on a disk",
        ),
        ("  keepImage: {label: a b}", "is no label"),
        (
            "  keepImage: {label: images, onCorruption: error}",
            "nothing finds a wrong block",
        ),
        (
            "  keepImage: {label: images, verity: true, onCorruption: ignore}",
            "ignore",
        ),
        (
            "  imageServers: [\"http://images:8080\"]",
            "no server that a node could ask",
        ),
        (
            "  imageServers: [\"http://10.0.0.2:8080/x\"]",
            "no server that a node could ask",
        ),
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
            vec![
                (6, "neither password nor key"),
                (6, "there is no field \"password\""),
            ],
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
        check(&chassis(spec), &expected);
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
