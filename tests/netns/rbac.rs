//! The rights that the chart gives our programs are those that they need: each
//! runs with its service account's token on a real API server, and nothing that it
//! does is forbidden.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use moonfarm_tests::charts::checkout;
use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{Process, ProcessSpec};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::kubernetes_agent::{FARM, Lab};

/// A Profile that is right, and a NodePool that is not.
const MORE: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: base, namespace: farm}
spec: {mtu: 1500}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: wrong, namespace: farm}
spec: {image: none, profiles: [absent]}
"#;

/// The accounts and rights of the chart, without its workloads.
fn rights(lab: &Lab) -> Option<String> {
    let helm = needs::folder("MOONFARM_TOOLS")?.join("helm");
    let chart = checkout().join("deploy/helm/moonfarm");
    let mut command = lab.network.command(helm);
    command.args(["template", "moonfarm"]).arg(&chart);
    command.args(["--namespace", "farm", "--show-only", "templates/rbac.yaml"]);
    command
        .arg("--values")
        .arg(chart.join("ci/kubernetes-values.yaml"));
    Some(output(command).unwrap_or_else(|error| panic!("{}", error.chain())))
}

/// A kubeconfig of a service account.
fn kubeconfig(lab: &Lab, account: &str) -> PathBuf {
    let token = lab.kubectl(&format!("-n farm create token {account}"));
    assert!(!token.is_empty(), "there is no account {account}");
    let text = fs::read_to_string(lab.plane.kubeconfig()).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    let path = lab.path(&format!("{account}.conf"));
    fs::write(&path, config.to_string()).unwrap();
    path
}

fn start(lab: &Lab, program: &str, verb: &str, more: &[&str]) -> Process {
    let config = kubeconfig(lab, &format!("moonfarm-{program}"));
    let state = lab.path(&format!("{program}-state"));
    let spec = ProcessSpec::new(program, lab.programs.join(program), &lab.path(""))
        .args([verb, "--kubernetes", "--namespace", "farm"])
        .args(more)
        .args(["--kubeconfig".into(), config.into_os_string()])
        .args(["--state".into(), state.into_os_string()])
        .within(lab.network.name());
    spec.spawn()
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

#[test]
fn nothing_that_the_programs_do_is_forbidden() {
    let Some(lab) = Lab::new() else { return };
    let Some(rights) = rights(&lab) else { return };
    lab.apply("farm.yaml", FARM);
    lab.apply("rights.yaml", &rights);
    lab.apply("more.yaml", MORE);
    let _chassis = lab.chassis();
    let _boot_server = start(&lab, "boot-server", "serve", &["--no-tftp"]);
    let _agent = start(&lab, "chassis-agent", "run", &[]);
    lab.wait_for("machines", "found, and in their pool", 60, |list| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.len() == 7 && items.iter().all(|it| it["status"]["pool"] == "work")
    });
    for (object, status) in [
        ("nodepool wrong", "False"),
        ("nodepool work", "True"),
        ("profile base", "True"),
        ("chassis m1", "True"),
        ("subnet lan", "True"),
    ] {
        lab.wait_for(object, "is told whether it is used", 30, |object| {
            crate::kubernetes_agent::condition(object, "Accepted").starts_with(status)
        });
    }
    // A cartridge asks for a boot, and has its address claimed.
    let claimed = until(Duration::from_secs(30), || {
        lab.ask_for_a_boot();
        (!lab.kubectl("-n farm get addressclaims -o name").is_empty()).then_some(())
    });
    assert!(claimed.is_some(), "{}", lab.log("boot-server"));
    lab.wait_for("events", "tell", 20, |list| {
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let has = |reason: &str| all.iter().any(|event| event["reason"] == reason);
        has("Mistake") && has("Found")
    });
    for program in ["boot-server", "chassis-agent"] {
        let log = lab.log(program);
        let refused: Vec<&str> = log
            .lines()
            .filter(|line| line.to_lowercase().contains("forbidden"))
            .collect();
        assert!(refused.is_empty(), "{program}: {refused:#?}");
    }
}
