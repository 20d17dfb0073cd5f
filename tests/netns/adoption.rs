//! A machine that was found in a chassis and joined through the catch-all pool is
//! given to another pool, on a real API server: drained with its budget kept,
//! powered off and on by its chassis, and gone under its old name.

use std::fs;
use std::time::Duration;

use boot_proto::report::{BootReport, Phase, Progress};
use moonfarm_tests::lab::Process;
use moonfarm_tests::lab::process::output;
use moonfarm_tests::wait::until;

use crate::kubernetes_agent::{Lab, condition};

const MACHINE: &str = "m1-c7n1";
const MAC: &str = "02:4d:46:07:01:01";
const NEW_NODE: &str = "worker-02-4d-46-07-01-01";
const FARM: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: m1-login, namespace: farm}
stringData: {username: Administrator, password: moonfarm-secret}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1, namespace: farm}
spec: {address: "10.77.0.1:2222", credentials: {secret: m1-login}, scanInterval: 10s, powerInterval: 5s}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {name: c1, namespace: farm}
spec:
  endpoint: 10.77.0.1:6443
  caCertHashes: ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
  kubeconfigSecret: c1
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: newcomers, namespace: farm}
spec: {image: none, cluster: c1, catchAll: true}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers, namespace: farm}
spec: {image: none, cluster: c1, hostname: "worker-{mac}"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan, namespace: farm}
spec: {cidr: 10.77.0.0/24, probe: false, ranges: [{from: 10.77.0.100, to: 10.77.0.199}]}
"#;
/// The Node as its kubelet would keep it, a pod on it, and a budget of that pod.
const NODE: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: m1-c7n1}
status: {conditions: [{type: Ready, status: "True", reason: KubeletReady, message: ready}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  nodeName: m1-c7n1
  automountServiceAccountToken: false
  containers: [{name: web, image: none}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"#;

fn chassis(lab: &Lab) -> Process {
    let password = lab.path("password");
    fs::write(&password, "moonfarm-secret\n").unwrap();
    let password = password.display().to_string();
    let mut arguments = vec!["--listen", "10.77.0.1:2222", "--settle-ms", "300"];
    arguments.extend(["--password-file", &password, "--cartridge", "7:1:on"]);
    lab.spawn("chassis", "virtual-chassis", &arguments)
}

/// What a machine does from its firmware on until its node has joined.
pub fn boots_and_joins(lab: &Lab) {
    lab.takes_its_address();
    let mut config = lab.wire.command("curl");
    config.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]);
    config.arg(format!("http://10.77.0.1:8080/v1/boot-config?mac={MAC}"));
    // The store has no image: all before that is as in any boot.
    assert_eq!(output(config).unwrap(), "404");
    let report = BootReport {
        version: 1,
        mac: MAC.parse().unwrap(),
        phase: Phase::Join,
        progress: Progress::Done,
        percent: None,
        uptime_ms: 1_000,
        elapsed_ms: 100,
        message: String::new(),
        log: String::new(),
        facts: None,
        phases: Vec::new(),
    };
    let mut told = lab.wire.command("curl");
    told.args(["-sS", "-w", "%{http_code}", "-d"]);
    told.arg(serde_json::to_string(&report).unwrap());
    told.arg("http://10.77.0.1:8080/v1/report");
    assert_eq!(output(told).unwrap(), "204");
}

#[test]
fn a_found_machine_moves_to_another_pool() {
    let Some(lab) = Lab::new() else { return };
    let kubeconfig = lab.plane.kubeconfig().display().to_string();
    lab.kubectl("create namespace farm");
    lab.kubectl(&format!(
        "-n farm create secret generic c1 --from-file=kubeconfig={kubeconfig}"
    ));
    lab.apply("farm.yaml", FARM);
    let _chassis = chassis(&lab);
    let _boot_server = lab.boot_server();
    let _agent = lab.agent("a", "farm", &[]);
    let machine = format!("machine {MACHINE}");
    lab.wait_for(&machine, "is found", 60, |machine| {
        machine["status"]["power"] == "On" && machine["status"]["pool"] == "newcomers"
    });
    boots_and_joins(&lab);
    lab.wait_for(&machine, "is a node", 30, |machine| {
        machine["status"]["membership"]["joined"]["node"] == MACHINE
    });
    lab.apply("node.yaml", NODE);
    // A budget covers pods that run.
    let status =
        r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    lab.kubectl(&format!(
        "patch pod web --subresource=status --type=merge -p {status}"
    ));

    let mut adopt = lab.network.command(lab.programs.join("boot-server"));
    adopt.args(["adopt", MACHINE, "--pool", "workers", "--kubernetes"]);
    adopt.args(["--kubeconfig", &kubeconfig, "--namespace", "farm"]);
    let told = output(adopt).unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(told.contains("belongs to pool workers"), "{told}");

    a_budget_keeps_the_node(&lab, &machine);
    its_chassis_restarts_it(&lab, &machine);
    boots_and_joins(&lab);
    lab.wait_for(&machine, "is another node", 30, |machine| {
        machine["status"]["membership"]["joined"]["node"] == NEW_NODE
            && machine["status"]["membership"]["left"].is_null()
            && condition(machine, "Moving").is_empty()
            && machine["status"]["pool"] == "workers"
    });
    assert_eq!(lab.kubectl("get nodes -o name"), "");
    let events = lab.kubectl("-n farm get events -o jsonpath={.items[*].reason}");
    for reason in ["Draining", "PoweringOff", "Restarting", "Moved"] {
        assert!(events.contains(reason), "{reason}: {events}");
    }
}

fn a_budget_keeps_the_node(lab: &Lab, machine: &str) {
    lab.wait_for(machine, "is kept by a budget", 30, |machine| {
        let all = machine["status"]["conditions"].as_array();
        let told = all.and_then(|all| all.iter().find(|one| one["type"] == "Moving"));
        told.is_some_and(|told| {
            let message = told["message"].as_str().unwrap_or_default();
            told["reason"] == "Draining"
                && message.contains("pod default/web may not leave")
                && message.contains("web")
        })
    });
    let cordoned = lab.kubectl("get node m1-c7n1 -o jsonpath={.spec.unschedulable}");
    assert_eq!(cordoned, "true");
    assert_eq!(lab.get(machine)["status"]["power"], "On");
    let status = r#"{"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}"#;
    lab.kubectl(&format!(
        "patch pdb web --subresource=status --type=merge -p {status}"
    ));
    // There is no kubelet that would end the pod.
    let ended = until(Duration::from_secs(30), || {
        let at = lab.kubectl("get pod web -o jsonpath={.metadata.deletionTimestamp}");
        (!at.is_empty()).then(|| lab.kubectl("delete pod web --force --grace-period=0"))
    });
    if ended.is_none() {
        lab.show_logs();
        panic!("the pod was not evicted");
    }
}

fn its_chassis_restarts_it(lab: &Lab, machine: &str) {
    lab.wait_for(machine, "is off, and no node any more", 60, |machine| {
        let status = &machine["status"];
        status["membership"]["joined"].is_null() && status["membership"]["left"].is_null()
    });
    assert_eq!(lab.kubectl("get nodes -o name"), "");
    lab.wait_for(machine, "is on again", 60, |machine| {
        machine["status"]["power"] == "On" && condition(machine, "Moving") == "True Restarting"
    });
}
