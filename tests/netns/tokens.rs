//! Join tokens on a real API server, when the boot-server that made one is gone:
//! another one revokes it when the machine asks again, or when its node is there.

use std::collections::BTreeSet;
use std::time::Duration;

use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{Process, ProcessSpec};
use moonfarm_tests::wait::until;

use crate::kubernetes_agent::Lab;

const MAC: &str = "02:4d:46:07:01:01";
const NODE: &str = "worker-one";

fn farm(lab: &Lab) -> String {
    format!(
        r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {{name: c1, namespace: farm}}
spec: {{endpoint: "{endpoint}", caCertHashes: ["{hash}"], kubeconfigSecret: c1}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {{name: workers, namespace: farm}}
spec: {{image: none, cluster: c1, hostname: "worker-{{machine}}"}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Machine
metadata: {{name: one, namespace: farm}}
spec: {{pool: workers, macs: ["{MAC}"], address: 10.77.0.12}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {{name: lan, namespace: farm}}
spec: {{cidr: 10.77.0.0/24, probe: false}}
"#,
        endpoint = lab.plane.endpoint(),
        hash = lab.plane.ca_hash(),
    )
}

/// A boot-server with a state folder of its own, as on another host.
fn server(lab: &Lab, name: &str) -> Process {
    ProcessSpec::new(name, lab.programs.join("boot-server"), &lab.path(""))
        .args(["serve", "--no-tftp", "--kubernetes", "--namespace", "farm"])
        .args(["--kubeconfig".into(), lab.plane.kubeconfig()])
        .args(["--state".into(), lab.path(&format!("state-{name}"))])
        .within(lab.network.name())
        .spawn()
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// The machine asks until it is given a token.
fn is_given_a_token(lab: &Lab, server: &Process) {
    let given = until(Duration::from_secs(30), || {
        let mut curl = lab.wire.command("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]);
        curl.arg(format!("http://10.77.0.1:8080/v1/join-token?mac={MAC}"));
        (output(curl).ok()? == "200").then_some(())
    });
    assert!(given.is_some(), "{}", server.log_tail(40));
}

/// The bootstrap tokens in the cluster.
fn alive(lab: &Lab) -> BTreeSet<String> {
    let words = "-n kube-system get secrets -o name \
                 --field-selector=type=bootstrap.kubernetes.io/token";
    lab.kubectl(words).lines().map(str::to_owned).collect()
}

#[test]
fn tokens_of_a_server_that_is_gone_are_revoked_by_another() {
    let Some(lab) = Lab::new() else { return };
    let kubeconfig = lab.plane.kubeconfig().display().to_string();
    lab.kubectl("create namespace farm");
    lab.kubectl(&format!(
        "-n farm create secret generic c1 --from-file=kubeconfig={kubeconfig}"
    ));
    lab.apply("farm.yaml", &farm(&lab));
    lab.wire
        .ip(&["address", "add", "10.77.0.12/24", "dev", "eth0"])
        .unwrap();
    // Somebody's own token is nobody's business.
    lab.plane.create_token(Duration::from_secs(600)).unwrap();
    let own = alive(&lab);
    assert_eq!(own.len(), 1);

    let first = server(&lab, "first");
    is_given_a_token(&lab, &first);
    let of_first: BTreeSet<_> = alive(&lab).difference(&own).cloned().collect();
    assert_eq!(of_first.len(), 1);
    drop(first);

    let second = server(&lab, "second");
    is_given_a_token(&lab, &second);
    let of_second: BTreeSet<_> = alive(&lab).difference(&own).cloned().collect();
    assert_eq!(of_second.len(), 1, "{}", second.log_tail(40));
    assert_ne!(of_second, of_first);
    drop(second);

    // It has joined, and the server that it would tell is gone.
    std::thread::sleep(Duration::from_secs(1));
    let node = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n");
    lab.apply("node.yaml", &node);
    assert_eq!(alive(&lab).len(), 2);
    let third = server(&lab, "third");
    let revoked = until(Duration::from_secs(20), || {
        (alive(&lab) == own).then_some(())
    });
    assert!(revoked.is_some(), "{}", third.log_tail(40));
}
