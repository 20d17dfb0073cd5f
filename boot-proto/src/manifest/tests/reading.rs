//! Mistakes in YAML, in the envelope, and in fields.

use proptest::prelude::*;

use super::super::{SourceFile, load};
use super::{check, load_text, resource};
use crate::resources::Resource;

const SUBNET: &str = "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: s}\nspec: {cidr: 10.0.0.0/24}\n";

#[test]
fn good_documents_are_read() {
    let text = format!(
        "{SUBNET}---\n# nothing\n---\n\n---\n{}",
        resource("Profile", "p", "  mtu: 9000")
    );
    let loaded = load_text(&text);
    assert_eq!(loaded.mistakes, []);
    assert_eq!(loaded.resources.len(), 2);
    for text in ["", "\n# only a comment\n", "---\n", "--- # x\n...\n"] {
        check(text, &[]);
    }
    check(&format!("\u{feff}%YAML 1.2\n---\n{SUBNET}"), &[]);
    check(&SUBNET.replace('\n', "\r\n"), &[]);
    check(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: moonfarm.dev/v1alpha1\n  kind: Subnet\n  metadata: {name: s}\n  spec: {cidr: 10.0.0.0/24}\n",
        &[],
    );
}

#[test]
fn lines_may_end_with_a_carriage_return() {
    let text = format!("{SUBNET}---\n{}", SUBNET.replace("cidr", "cird"));
    for ending in ["\n", "\r\n", "\r"] {
        let mistakes = load_text(&text.replace('\n', ending)).mistakes;
        let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert!(
            lines.contains(&9) && lines.iter().all(|line| *line <= 9),
            "{lines:?}"
        );
    }
}

#[test]
fn a_mapping_of_very_many_keys_is_read_in_no_time() {
    let mut text = resource("Profile", "p", "  labels:");
    // Searched one by one, these would take minutes.
    for number in 0..40_000 {
        text.push_str(&format!("    l{number}: x\n"));
    }
    let begun = std::time::Instant::now();
    let _ = load_text(&text);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn what_kubectl_prints_is_read() {
    let text = "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata:\n  name: s\n  namespace: moonfarm\n  uid: 0b9d8f0a\n  resourceVersion: \"12\"\n  generation: 2\n  creationTimestamp: \"2024-01-01T00:00:00Z\"\n  managedFields: [{manager: kubectl}]\n  annotations: {a: b}\nspec: {cidr: 10.0.0.0/24}\nstatus: {anything: 1}\n";
    check(text, &[]);
}

#[test]
fn aliases_and_merge_keys() {
    let text = resource(
        "Profile",
        "p",
        "  labels: &base {a: x}\n  sysctls: {<<: *base, net.ipv4.ip_forward: \"1\"}",
    );
    // `a` is no sysctl, and is found where it was written.
    check(&text, &[(5, "\"a\" is no sysctl")]);
    let text = resource(
        "Profile",
        "p",
        "  tmpfs:\n  - &one {path: /a, size: 1Mi}\n  - {<<: *one, path: /b}",
    );
    let loaded = load_text(&text);
    assert_eq!(loaded.mistakes, []);
    let Some(Resource::Profile(profile)) = loaded.resources.first() else {
        panic!()
    };
    assert_eq!(profile.spec.tmpfs[1].size.0, 1 << 20);
}

#[test]
fn yaml_mistakes() {
    for (text, line, words) in [
        ("a: b: c\n", 1, "this is not YAML"),
        ("apiVersion: x\n\tkind: y\n", 2, "replace the tab"),
        ("a: [1, 2\n", 2, "this is not YAML"),
        ("a: \"x\n", 2, "this is not YAML"),
        ("a: *nothing\n", 1, "not YAML"),
        ("just words\n", 1, "this is not a resource"),
        ("- a\n- b\n", 1, "this is not a resource"),
        ("42\n", 1, "this is not a resource"),
    ] {
        let loaded = load_text(text);
        let shown: Vec<String> = loaded.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{text:?}: {shown:?}");
        assert!(shown[0].contains(words), "{text:?}: {shown:?}");
        assert!(
            loaded.mistakes[0].line.abs_diff(line) <= 1,
            "{text:?}: {shown:?}"
        );
    }
}

#[test]
fn one_broken_document_does_not_hide_the_others() {
    let text = format!(
        "a: b: c\n---\n{SUBNET}---\n{}",
        resource("Subnet", "t", "  cidr: nonsense")
    );
    check(
        &text,
        &[(1, "not YAML"), (12, "\"nonsense\" is not a network")],
    );
    assert_eq!(load_text(&text).resources.len(), 1);
}

#[test]
fn duplicate_keys() {
    check(
        &resource(
            "Subnet",
            "s",
            "  cidr: 10.0.0.0/24\n  cidr: 10.0.1.0/24\n  gateway: 10.0.0.1\n  gateway: 10.0.0.2",
        ),
        &[
            (6, "\"cidr\" is given twice; the first is in line 5"),
            (8, "\"gateway\" is given twice"),
        ],
    );
    check(
        &resource("Profile", "p", "  labels: {a: x, a: y}"),
        &[(5, "\"a\" is given twice")],
    );
    check(
        &resource("Profile", "p", "  labels: {[a]: x}"),
        &[(5, "cannot be a key")],
    );
}

#[test]
fn bombs_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    check(&bomb, &[(5, "larger than 20000 parts")]);
    check(
        &format!("a: {}", "[".repeat(200)),
        &[(1, "nested deeper than 64")],
    );
    assert!(
        load_text("a: &a [*a]\n")
            .mistakes
            .iter()
            .any(|mistake| mistake.to_string().contains("a part of"))
    );
    let large = SourceFile {
        name: "big.yaml".into(),
        text: vec![b'#'; (4 << 20) + 1],
    };
    assert!(
        load(&[large]).mistakes[0]
            .to_string()
            .contains("big.yaml: the file is larger than 4 MiB")
    );
    let binary = SourceFile {
        name: "b.yaml".into(),
        text: b"a: b\nc: \xff\n".to_vec(),
    };
    assert!(
        load(&[binary]).mistakes[0]
            .to_string()
            .starts_with("b.yaml:2: this is not UTF-8")
    );
}

#[test]
fn envelope() {
    let head = |version: &str, kind: &str| {
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: s}}\nspec: {{cidr: 10.0.0.0/24}}\n"
        )
    };
    check(
        &head("moonfarm.dev/v1", "Subnet"),
        &[(1, "this release knows moonfarm.dev/v1alpha1")],
    );
    check(
        &head("v1", "Secret"),
        &[(1, "other API groups"), (2, "there is no kind \"Secret\"")],
    );
    check(
        &head("moonfarm.dev/v1alpha1", "Subent"),
        &[(2, "did you mean Subnet?")],
    );
    check(
        &head("moonfarm.dev/v1alpha1", "subnet"),
        &[(2, "did you mean Subnet?")],
    );
    check(
        "kind: Subnet\nmetadata: {name: s}\nspec: {cidr: 10.0.0.0/24}\n",
        &[(1, "apiVersion is missing")],
    );
    check(
        "apiVersion: moonfarm.dev/v1alpha1\nmetadata: {name: s}\n",
        &[(1, "kind is missing")],
    );
    check(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nspec: {cidr: 10.0.0.0/24}\n",
        &[(1, "metadata is missing")],
    );
    check(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata:\n  labels: {a: b}\nspec: {cidr: 10.0.0.0/24}\n",
        &[(3, "name is missing")],
    );
    check(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: s}\n",
        &[(1, "spec is missing")],
    );
    check(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: s}\nspec:\n",
        &[(1, "spec is missing")],
    );
    check(
        &SUBNET.replace("spec:", "sepc:"),
        &[(1, "spec is missing"), (4, "there is no field \"sepc\"")],
    );
    check(
        &SUBNET.replace("name: s", "name: 12"),
        &[(3, "put it in quotes: \"12\"")],
    );
    check(
        &SUBNET.replace("name: s", "nmae: s"),
        &[(3, "name is missing"), (3, "did you mean name?")],
    );
}

#[test]
fn every_mistake_of_a_resource_is_reported() {
    let text = resource(
        "Subnet",
        "s",
        r#"
  cidr: 10.0.0.0/24
  gatway: 10.0.0.1
  dns: [10.0.0.1, dns.example.com]
  ranges:
    - from: 10.0.0.10
    - {from: 10.0.0.300, to: 10.0.0.20, step: 2}
  leaseTime: 12
  mode: Full
  dhcpOptions: {42: 10.0.0.1, ntp-servers: 5}
"#,
    );
    check(
        &text,
        &[
            (6, "did you mean gateway?"),
            (7, "\"dns.example.com\" is not an IPv4 address"),
            (9, "to is missing"),
            (10, "\"10.0.0.300\" is not an IPv4 address"),
            (10, "there is no field \"step\""),
            (11, "a duration such as"),
            (12, "did you mean full?"),
            (13, "put it in quotes: \"5\""),
        ],
    );
}

#[test]
fn several_missing_fields() {
    check(
        &resource("Cluster", "c", "  tokenLifetime: 10m"),
        &[
            (4, "caCertHashes is missing"),
            (4, "endpoint is missing"),
            (4, "no kubeconfig"),
        ],
    );
    check(
        &resource("Chassis", "m1", "  profile: auto"),
        &[(4, "address is missing"), (4, "credentials is missing")],
    );
    check(
        &resource(
            "Profile",
            "p",
            "  tmpfs:\n  - mode: \"0755\"\n  taints:\n  - value: x",
        ),
        &[
            (6, "path is missing"),
            (6, "size is missing"),
            (8, "effect is missing"),
            (8, "key is missing"),
        ],
    );
}

#[test]
fn wrong_kinds_of_values() {
    for (kind, spec, words) in [
        ("Profile", "  mtu: large", "u32"),
        ("Profile", "  mtu: -1", "whole number"),
        ("Profile", "  mtu: [1]", ""),
        ("Profile", "  overlaySize: 1.5Gi", "1.5Gi"),
        ("Profile", "  overlaySize: -1", "is not a size"),
        ("Profile", "  overlaySize: 10GB", "10GB"),
        ("Profile", "  kernelArguments: quiet", "write a list"),
        ("Profile", "  labels: [a]", ""),
        ("Profile", "  kernelArguments: [~]", "this item is empty"),
        (
            "Profile",
            "  labels: {a: true}",
            "put it in quotes: \"true\"",
        ),
        (
            "Profile",
            "  files: [{path: /a, content: x, mode: 0644}]",
            "put it in quotes: \"0644\"",
        ),
        (
            "Profile",
            "  units: [{name: a.service, masked: maybe}]",
            "write true or false",
        ),
        (
            "Profile",
            "  taints: [{key: a, effect: NoSchedul}]",
            "did you mean NoSchedule?",
        ),
        ("Machine", "  macs: [94:57:a5:d3:ec]", "MAC address"),
        (
            "Machine",
            "  {macs: [94:57:a5:d3:ec:f2], slot: c0n1}",
            "slot such as c11n1",
        ),
        ("Machine", "  {macs: [94:57:a5:d3:ec:f2], power: on}", "On"),
        ("Image", "  digest: sha256:12", "64 hex digits"),
        ("Subnet", "  cidr: 10.0.0.0/33", "is not a network"),
        (
            "Subnet",
            "  {cidr: 10.0.0.0/24, leaseTime: 5 minutes}",
            "a duration such as",
        ),
    ] {
        check(&resource(kind, "x", spec), &[(5, words)]);
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = load_text(&text);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "([a-c:\\-\\[\\]{}&*!|>'\"#%@,? \t\n0-9<]|apiVersion: moonfarm.dev/v1alpha1\nkind: (Subnet|Machine|NodePool)\n|metadata: \\{name: x\\}\nspec:\n  |  ranges: \\[){0,60}") {
        let _ = load_text(&text);
    }

    #[test]
    fn damaged_manifests_never_panic(at in 0usize..400, with in "\\PC{0,3}", cut in 0usize..6) {
        let good = resource("NodePool", "p", "  image: debian\n  machines: {slots: [m1/c1n1], macs: [94:57:a5:d3:ec:f2]}\n  labels: {a/b: c}\n  taints: [{key: a, effect: NoSchedule}]\n  hostname: n-{slot}");
        let mut text: Vec<char> = good.chars().collect();
        let at = at.min(text.len());
        let to = (at + cut).min(text.len());
        text.splice(at..to, with.chars());
        let _ = load_text(&text.into_iter().collect::<String>());
    }
}
