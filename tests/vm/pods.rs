//! Pods on a node that no registry can be asked from: of the sandbox image, which
//! came with the node image.

use std::time::Duration;

use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::support::TestFarm;

/// How long a pod may take from its order to its phase.
const TO_PHASE: Duration = Duration::from_secs(120);

/// One that says something and ends, one that stays.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: default}
spec:
  NODE
  hostNetwork: true
  restartPolicy: Never
  containers: [{name: it, image: "localhost/moonfarm/pause:1", imagePullPolicy: Never, command: [/catatonit, --version]}]
---
apiVersion: v1
kind: Pod
metadata: {name: sleeper, namespace: default}
spec:
  NODE
  hostNetwork: true
  containers: [{name: it, image: "localhost/moonfarm/pause:1", imagePullPolicy: Never}]
"#;

/// Both, on this node, or where a scheduler puts them.
pub fn manifest(node: Option<&str>) -> String {
    let place = node.map(|node| format!("nodeName: \"{node}\""));
    PODS.replace("NODE", &place.unwrap_or_default())
}

/// Runs both on a node, and has the API server ask its kubelet what they say.
pub fn run_on(test: &TestFarm, node: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pods.yaml");
    std::fs::write(&file, manifest(Some(node))).expect("written");
    kubectl(test, &["apply", "-f", &file.display().to_string()]).expect("two pods");
    for (name, phase) in [("teller", "Succeeded"), ("sleeper", "Running")] {
        let pod = || pod(test, name).unwrap_or_default();
        let is_there = until(TO_PHASE, || {
            (pod()["status"]["phase"] == phase).then_some(())
        });
        if is_there.is_none() {
            let events = kubectl(test, &["get", "events"]);
            panic!("{name} is not {phase}: {:#}\n{events:?}", pod()["status"]);
        }
        test.say(&format!("{name} is {phase} on {node}"));
    }
    // `kubeadm init` makes it with the administrator's kubeconfig, which is made
    // otherwise here: the API server asks kubelets as one of this group.
    let binding = ["kubeadm:cluster-admins", "--clusterrole=cluster-admin"];
    let create = [&["create", "clusterrolebinding"][..], &binding].concat();
    let group = "--group=kubeadm:cluster-admins";
    kubectl(test, &[&create[..], &[group]].concat()).expect("its rights");
    for words in [
        &["logs", "teller"][..],
        &["exec", "sleeper", "--", "/catatonit", "--version"],
    ] {
        let told = kubectl(test, words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(told.contains("catatonit"), "{words:?}: {told:?}");
    }
}

fn pod(test: &TestFarm, name: &str) -> Option<Value> {
    let text = kubectl(test, &["get", "pod", name, "--output", "json"]).ok()?;
    serde_json::from_str(&text).ok()
}

fn kubectl(test: &TestFarm, words: &[&str]) -> Result<String, String> {
    let answer = test.farm.control_plane().kubectl_output(words);
    answer.map_err(|error| error.chain())
}
