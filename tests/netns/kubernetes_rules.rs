//! What the API server itself makes of our resources: every example is taken, and
//! what `boot-server check` finds is refused there too, where a schema or a rule
//! can see it.

use std::fs;

use moonfarm_tests::charts::checkout;
use moonfarm_tests::lab::process::output;

use crate::kubernetes_agent::Lab;

/// Who finds a mistake beside `boot-server check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The API server refuses the object.
    ApiServer,
    /// It cannot: why. boot-server says it in the condition `Accepted`.
    CheckAlone(&'static str),
}
use By::{ApiServer, CheckAlone};

/// A rule sees one object.
const OTHERS: By = CheckAlone("it takes the sight of other objects");

/// Kind, name, spec, and who finds what is wrong with it.
const MISTAKES: &[(&str, &str, &str, By)] = &[
    ("Subnet", "rack_1", "{cidr: 10.0.0.0/24}", ApiServer),
    ("Subnet", "s", "{cidr: 10.0.0.0/33}", ApiServer),
    ("Subnet", "s", "{cidr: 10.0.0.0/24, mode: half}", ApiServer),
    ("Subnet", "s", "{cidr: 10.0.0.4/31}", ApiServer),
    (
        "Subnet",
        "s",
        "{cidr: 10.0.0.0/24, gateway: 10.0.1.1}",
        ApiServer,
    ),
    (
        "Subnet",
        "s",
        "{cidr: 10.0.0.0/24, gatway: 10.0.0.1}",
        ApiServer,
    ),
    (
        "Subnet",
        "s",
        "{cidr: 10.0.0.0/24, ranges: [{from: 10.0.0.9, to: 10.0.0.5}]}",
        ApiServer,
    ),
    (
        "Subnet",
        "s",
        "{cidr: 10.0.0.0/24, ranges: [{from: 10.0.0.9, to: 10.0.9.5}]}",
        ApiServer,
    ),
    (
        "Subnet",
        "s",
        "{cidr: 10.0.0.0/24, leaseTime: 1}",
        ApiServer,
    ),
    ("Machine", "a", "{macs: ['00:00:00:00:00:00']}", ApiServer),
    ("Machine", "a", "{macs: ['01:00:5e:00:00:01']}", ApiServer),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01', '02:00:00:00:00:01']}",
        ApiServer,
    ),
    ("Machine", "a", "{macs: [hello]}", ApiServer),
    ("Machine", "a", "{uuid: not-a-uuid}", ApiServer),
    (
        "Machine",
        "a",
        "{uuid: 00000000-0000-0000-0000-000000000000}",
        ApiServer,
    ),
    ("Machine", "a", "{power: 'On'}", ApiServer),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], power: Maybe}",
        ApiServer,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], slot: c1n1}",
        ApiServer,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], hostname: Web_1}",
        ApiServer,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], address: 10.0.0}",
        ApiServer,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], labels: {-a: x}}",
        ApiServer,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], pool: nowhere}",
        OTHERS,
    ),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], profiles: [nowhere]}",
        OTHERS,
    ),
    ("Machine", "a", "{chassis: nowhere, slot: c1n1}", OTHERS),
    (
        "Machine",
        "a",
        "{macs: ['02:00:00:00:00:01'], address: 10.9.9.9}",
        OTHERS,
    ),
    ("NodePool", "p", "{}", ApiServer),
    ("NodePool", "p", "{imgae: debian}", ApiServer),
    ("NodePool", "p", "{image: 'sha256:12'}", ApiServer),
    ("NodePool", "p", "{image: docker.io/debian}", ApiServer),
    ("NodePool", "p", "{image: d, hostname: node}", ApiServer),
    (
        "NodePool",
        "p",
        "{image: d, hostname: 'n-{solt}'}",
        ApiServer,
    ),
    (
        "NodePool",
        "p",
        "{image: d, hostname: 'N-{slot}'}",
        ApiServer,
    ),
    ("NodePool", "p", "{image: d, loader: grup}", ApiServer),
    (
        "NodePool",
        "p",
        "{image: d, machines: {slots: [m1]}}",
        ApiServer,
    ),
    (
        "NodePool",
        "p",
        "{image: d, machines: {macs: ['00:00:00:00:00:00']}}",
        ApiServer,
    ),
    (
        "NodePool",
        "p",
        "{image: d, machines: {matchLabels: {'a b': c}}}",
        ApiServer,
    ),
    ("NodePool", "p", "{image: d, labels: {'a b': x}}", ApiServer),
    (
        "NodePool",
        "p",
        "{image: d, taints: [{key: a, effect: Never}]}",
        ApiServer,
    ),
    ("NodePool", "p", "{image: d, cluster: nowhere}", OTHERS),
    ("NodePool", "p", "{image: d, subnet: nowhere}", OTHERS),
    (
        "Profile",
        "p",
        "{tmpfs: [{path: var/lib, size: 1Mi}]}",
        ApiServer,
    ),
    ("Profile", "p", "{units: [{name: chrony}]}", ApiServer),
    ("Profile", "p", "{kernelArguments: ['a b']}", ApiServer),
    ("Profile", "p", "{modules: ['../evil']}", ApiServer),
    ("Profile", "p", "{sysctls: {ip_forward: '1'}}", ApiServer),
    ("Profile", "p", "{mtu: 100}", ApiServer),
    ("Profile", "p", "{timeZone: '../../etc/passwd'}", ApiServer),
    ("Profile", "p", "{sshAuthorizedKeys: [hello]}", ApiServer),
    (
        "Profile",
        "p",
        "{kubeletArguments: {node-labels: a=b}}",
        ApiServer,
    ),
    ("Chassis", "m1", "{address: m1}", ApiServer),
    (
        "Chassis",
        "m1",
        "{address: 'm 1', credentials: {secret: m1}}",
        ApiServer,
    ),
    ("Chassis", "m1", "{address: m1, credentials: {}}", ApiServer),
    (
        "Chassis",
        "m1",
        "{address: m1, credentials: {secret: m1, passwordFile: p}}",
        ApiServer,
    ),
    (
        "Chassis",
        "m1",
        "{address: m1, credentials: {secret: m1}, scanInterval: 1s}",
        ApiServer,
    ),
    (
        "Chassis",
        "m1",
        "{address: m1, credentials: {secret: m1}, hostKey: MD5}",
        ApiServer,
    ),
    (
        "Cluster",
        "c",
        "{endpoint: a, caCertHashes: [x], kubeconfigFile: k}",
        ApiServer,
    ),
    (
        "Cluster",
        "c",
        "{endpoint: 'a:6443', caCertHashes: [], kubeconfigFile: k}",
        ApiServer,
    ),
    ("Image", "i", "{digest: x}", ApiServer),
];

#[test]
fn examples_are_taken_and_mistakes_refused() {
    let Some(lab) = Lab::new() else { return };
    every_example_is_taken(&lab);
    let mut wrong = Vec::new();
    for (kind, name, spec, by) in MISTAKES {
        let text = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        let is_found = is_found_by_check(&lab, &text);
        let refusal = refusal(&lab, &text);
        let is_as_told = refusal.is_some() == (*by == ApiServer);
        if !is_found || !is_as_told {
            wrong.push(format!(
                "{kind} {name} {spec}: {by:?}, found by check: {is_found}, refused: {refusal:?}"
            ));
        }
    }
    let told = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{told}",
        wrong.len(),
        MISTAKES.len()
    );
}

fn every_example_is_taken(lab: &Lab) {
    let mut count = 0;
    for entry in fs::read_dir(checkout().join("deploy/examples")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        lab.kubectl(&format!("create namespace {name}"));
        // Manifests lie in the folder itself.
        let manifests = fs::read_dir(&folder).unwrap().filter_map(|file| {
            let path = file.unwrap().path();
            path.extension()
                .is_some_and(|it| it == "yaml")
                .then_some(path)
        });
        for file in manifests {
            let file = file.display().to_string();
            let words = [
                "apply",
                "--server-side",
                "--validate=strict",
                "-n",
                &name,
                "-f",
                &file,
            ];
            let taken = lab.plane.kubectl_output(&words);
            let taken = taken.unwrap_or_else(|error| panic!("{file}: {}", error.chain()));
            count += taken.lines().count();
        }
    }
    assert!(count > 30, "{count} objects");
}

fn is_found_by_check(lab: &Lab, text: &str) -> bool {
    let folder = lab.path("manifests");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("mistake.yaml"), text).unwrap();
    let mut check = lab.network.command(lab.programs.join("boot-server"));
    check.args(["check", "--manifests"]).arg(&folder);
    output(check).is_err()
}

/// Why the API server does not take it.
fn refusal(lab: &Lab, text: &str) -> Option<String> {
    let file = lab.path("mistake.yaml");
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let words = [
        "apply",
        "--server-side",
        "--validate=strict",
        "--dry-run=server",
        "-f",
        &file,
    ];
    let answer = lab.plane.kubectl(&words).unwrap();
    let told = String::from_utf8_lossy(&answer.stderr).into_owned();
    (!answer.status.success()).then_some(told)
}
