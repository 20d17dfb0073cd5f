//! The charts: Helm's own lint, rendered with several values, and taken by a real
//! API server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::{Namespace, process};
use moonfarm_tests::needs;

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Helm against an API server.
pub struct Helm<'a> {
    pub program: PathBuf,
    pub plane: &'a ControlPlane,
    pub network: &'a Namespace,
}

impl Helm<'_> {
    /// Installs or upgrades a release, as an operator would.
    pub fn install(
        &self,
        release: &str,
        chart: &Path,
        namespace: &str,
        values: &Path,
        set: &[&str],
    ) {
        let mut command = self.network.command(&self.program);
        command
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", self.plane.folder())
            .args(["upgrade", "--install", release])
            .arg(chart)
            .args(["--namespace", namespace, "--create-namespace", "--values"])
            .arg(values);
        for value in set {
            command.args(["--set", value]);
        }
        process::output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    }
}

/// Makes the resources' kinds known.
pub fn install_crds(plane: &ControlPlane) {
    let folder = checkout().join("deploy/crds").display().to_string();
    plane
        .kubectl_output(&["apply", "--server-side", "-f", &folder])
        .unwrap();
    plane
        .kubectl_output(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ])
        .unwrap();
}

/// Each chart with each of its `ci` values.
fn cases() -> Vec<(String, PathBuf)> {
    let mut cases = Vec::new();
    for chart in ["moonfarm", "control-plane"] {
        let folder = checkout().join("deploy/helm").join(chart).join("ci");
        for entry in fs::read_dir(folder).unwrap() {
            cases.push((chart.to_owned(), entry.unwrap().path()));
        }
    }
    cases.sort();
    cases
}

fn helm(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(checkout().join("deploy/helm"));
    command
}

#[test]
fn charts_pass_lint_and_a_real_api_server_takes_them() {
    if !needs::has_namespaces() {
        return;
    }
    let (Some(programs), Some(tools)) = (
        needs::folder("MOONFARM_KUBE_BIN"),
        needs::folder("MOONFARM_TOOLS"),
    ) else {
        return;
    };
    let network = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
    network.add_bridge("br0", "10.77.0.1/24").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(
        &programs,
        network.name(),
        folder.path(),
        Ipv4Addr::new(10, 77, 0, 1),
    );
    let plane = ControlPlane::start(&options, &mut |_| {})
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    install_crds(&plane);
    plane
        .kubectl_output(&["create", "namespace", "farm"])
        .unwrap();

    let cases = cases();
    assert!(cases.len() >= 6, "{cases:?}");
    for (chart, values) in cases {
        let file = values.display().to_string();
        let lint = helm(
            &tools.join("helm"),
            &["lint", "--strict", &chart, "--values", &file],
        );
        process::output(lint).unwrap_or_else(|error| panic!("{}", error.chain()));
        let render = [
            "template",
            "release",
            &chart,
            "--namespace",
            "farm",
            "--values",
            &file,
        ];
        let text = process::output(helm(&tools.join("helm"), &render))
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let text = without_unknown_kinds(&text);
        let rendered = folder.path().join("rendered.yaml");
        fs::write(&rendered, &text).unwrap();
        let count = text
            .lines()
            .filter(|line| line.starts_with("kind: "))
            .count();
        let taken = plane
            .kubectl_output(&[
                "apply",
                "--server-side",
                "--dry-run=server",
                "--namespace",
                "farm",
                "-f",
                &rendered.display().to_string(),
            ])
            .unwrap_or_else(|error| panic!("{file}: {}", error.chain()));
        assert_eq!(
            taken
                .lines()
                .filter(|line| line.contains("serverside-applied"))
                .count(),
            count,
            "{file}: {taken}"
        );
        eprintln!("{file}: {count} objects");
    }
}

/// cert-manager's and Prometheus' kinds are others' to install; their objects are
/// checked by Helm's rendering alone.
fn without_unknown_kinds(text: &str) -> String {
    let is_known = |document: &&str| {
        !document.contains("apiVersion: cert-manager.io/")
            && !document.contains("apiVersion: monitoring.coreos.com/")
    };
    text.split("\n---")
        .filter(is_known)
        .collect::<Vec<_>>()
        .join("\n---")
}

/// Arguments that the charts give our programs are arguments that these take.
#[test]
fn the_programs_take_the_arguments_that_the_chart_gives() {
    let (Some(programs), Some(tools)) = (
        needs::folder("MOONFARM_PROGRAMS"),
        needs::folder("MOONFARM_TOOLS"),
    ) else {
        return;
    };
    let values = checkout().join("deploy/helm/moonfarm/ci/load-balancer-values.yaml");
    let render = [
        "template",
        "release",
        "moonfarm",
        "--values",
        &values.display().to_string(),
    ];
    let text = process::output(helm(&tools.join("helm"), &render))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let mut checked = 0;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object: serde_json::Value =
            serde::Deserialize::deserialize(document).unwrap_or_default();
        let containers = object["spec"]["template"]["spec"]["containers"].as_array();
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap();
            let arguments = container["args"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|it| it.as_str());
            let mut command = Command::new(programs.join(name));
            // What comes before it is read first, and refused if it is not known.
            command.args(arguments).arg("--help");
            process::output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
            checked += 1;
        }
    }
    assert_eq!(checked, 2);
}
