//! The charts: Helm's own lint, rendered with several values, and taken by a real
//! API server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use moonfarm_tests::charts::{checkout, install_crds, install_kinds};
use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::{Namespace, process};
use moonfarm_tests::needs;
use serde::Deserialize as _;

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
    install_kinds(&plane, &tools.join("crds"));
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

/// The oldest minor that the chart renders; kubeadm knows the minor before its own.
#[test]
fn kubeadm_takes_the_configuration_of_the_oldest_minor() {
    let (Some(programs), Some(tools)) = (
        needs::folder("MOONFARM_KUBE_BIN"),
        needs::folder("MOONFARM_TOOLS"),
    ) else {
        return;
    };
    let mut render = vec!["template", "c1", "control-plane"];
    let values = [
        "controlPlaneEndpoint=10.0.0.1:6443",
        "kubernetesVersion=v1.34.0",
    ];
    render.extend(values.iter().flat_map(|value| ["--set", value]));
    let text = process::output(helm(&tools.join("helm"), &render))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let objects = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| serde_json::Value::deserialize(document).unwrap_or_default());
    let config = objects
        .into_iter()
        .find_map(|object| Some(object["data"]["kubeadm.yaml"].as_str()?.to_owned()));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config.expect("a configuration for kubeadm")).unwrap();
    let kubeadm = |words: &[&str]| {
        let mut command = Command::new(programs.join("kubeadm"));
        command.args(words).arg("--config").arg(file.path());
        process::output(command).unwrap_or_else(|error| panic!("{}", error.chain()))
    };
    kubeadm(&["config", "validate"]);
    let images = kubeadm(&["config", "images", "list"]);
    assert!(images.contains("kube-apiserver:v1.34.0"), "{images}");
}

/// What the schema or the chart itself refuses, and the word that it says.
#[test]
fn wrong_values_are_refused_with_their_place() {
    let Some(tools) = needs::folder("MOONFARM_TOOLS") else {
        return;
    };
    let endpoint = "controlPlaneEndpoint=10.0.0.1:6443";
    for (chart, set, word) in [
        ("control-plane", "typo=1", "typo"),
        (
            "control-plane",
            "controlPlaneEndpoint=10.0.0.1",
            "HOST:PORT",
        ),
        ("control-plane", "etcd.replicas=2", "/etcd/replicas"),
        (
            "control-plane",
            "kubernetesVersion=v1.33.1",
            "kubernetesVersion",
        ),
        (
            "control-plane",
            "apiServer.version=1.36",
            "/apiServer/version",
        ),
        (
            "control-plane",
            "etcd.backup.schedule=daily",
            "/etcd/backup/schedule",
        ),
        ("moonfarm", "typo=1", "typo"),
        ("moonfarm", "store.kind=etcd", "/store/kind"),
    ] {
        let mut render = vec!["template", "release", chart];
        if chart == "control-plane" {
            render.extend(["--set", endpoint]);
        }
        render.extend(["--set", set]);
        let refused = process::output(helm(&tools.join("helm"), &render));
        let told = refused.expect_err(set).chain();
        assert!(told.contains(word), "{set}: {told}");
    }
}
