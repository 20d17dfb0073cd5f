//! A machine that nobody declared is moved from one cluster to another, under a
//! new name, on two real control planes: nothing of its old name stays in the
//! cluster that it leaves.

use std::net::Ipv4Addr;
use std::time::Duration;

use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::Namespace;
use moonfarm_tests::lab::process::output;
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::adoption::boots_and_joins;
use crate::kubernetes_agent::{Lab, condition};

const OLD: &str = "02-4d-46-07-01-01";
const NEW: &str = "db-1";
const MAC: &str = "02:4d:46:07:01:01";
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// The second cluster, on another host of the network.
struct Second {
    plane: ControlPlane,
    _host: Namespace,
}

impl Second {
    fn start(lab: &Lab) -> Self {
        let host = Namespace::create().unwrap();
        lab.network.add_host(&host, "second", "br0").unwrap();
        let address = format!("{SECOND}/24");
        host.ip(&["address", "add", &address, "dev", "eth0"])
            .unwrap();
        let programs = needs::folder("MOONFARM_KUBE_BIN").unwrap();
        let folder = lab.path("second");
        let options = Options::new(&programs, host.name(), &folder, SECOND);
        let plane = ControlPlane::start(&options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        Self { plane, _host: host }
    }

    fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        self.plane
            .kubectl_output(&words)
            .unwrap_or_else(|error| panic!("{}", error.chain()))
    }
}

fn cluster(name: &str, pool: &str, more: &str, plane: &ControlPlane) -> String {
    format!(
        r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata: {{name: {name}, namespace: farm}}
spec: {{endpoint: "{}", caCertHashes: ["{}"], kubeconfigSecret: {name}}}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {{name: {pool}, namespace: farm}}
spec: {{image: none, cluster: {name}{more}}}
---
"#,
        plane.endpoint(),
        plane.ca_hash(),
    )
}

/// The machine is given a token, as `node-agent` asks for one.
fn asks_for_a_token(lab: &Lab) {
    let given = until(Duration::from_secs(20), || {
        let mut curl = lab.wire.command("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]);
        curl.arg(format!("http://10.77.0.1:8080/v1/join-token?mac={MAC}"));
        (output(curl).ok()? == "200").then_some(())
    });
    if given.is_none() {
        lab.show_logs();
        panic!("no token");
    }
}

const TOKENS: &str =
    "-n kube-system get secrets -o name --field-selector=type=bootstrap.kubernetes.io/token";

#[test]
fn a_found_machine_moves_to_another_cluster_under_a_new_name() {
    let Some(lab) = Lab::new() else { return };
    let second = Second::start(&lab);
    lab.kubectl("create namespace farm");
    for (name, plane) in [("c1", &lab.plane), ("c2", &second.plane)] {
        let kubeconfig = plane.kubeconfig().display().to_string();
        lab.kubectl(&format!(
            "-n farm create secret generic {name} --from-file=kubeconfig={kubeconfig}"
        ));
    }
    let lan = "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: lan, namespace: farm}\n\
               spec: {cidr: 10.77.0.0/24, probe: false, ranges: [{from: 10.77.0.100, to: 10.77.0.199}]}\n";
    let farm = cluster("c1", "newcomers", ", catchAll: true", &lab.plane)
        + &cluster("c2", "databases", "", &second.plane)
        + lan;
    lab.apply("farm.yaml", &farm);
    let _boot_server = lab.boot_server();

    lab.takes_its_address();
    asks_for_a_token(&lab);
    assert_eq!(lab.kubectl(TOKENS).lines().count(), 1);
    boots_and_joins(&lab);
    let node = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
             status: {{conditions: [{{type: Ready, status: \"True\", reason: KubeletReady, message: ready}}]}}\n"
        )
    };
    lab.apply("node.yaml", &node(OLD));
    lab.wait_for(&format!("machine {OLD}"), "is a node", 30, |machine| {
        machine["status"]["membership"]["joined"]["node"] == OLD
    });

    adopt(&lab);
    let machine = format!("machine {NEW}");
    lab.wait_for(&machine, "waits for a restart", 60, |machine| {
        condition(machine, "Moving") == "True RestartByHand"
    });
    let cordoned = lab.kubectl(&format!(
        "get node {OLD} -o jsonpath={{.spec.unschedulable}}"
    ));
    assert_eq!(cordoned, "true");

    // It restarts.
    lab.takes_its_address();
    asks_for_a_token(&lab);
    assert_eq!(lab.kubectl(TOKENS), "", "tokens in the cluster it leaves");
    assert_eq!(second.kubectl(TOKENS).lines().count(), 1);
    boots_and_joins(&lab);
    let file = lab.path("second-node.yaml");
    std::fs::write(&file, node(NEW)).unwrap();
    second.kubectl(&format!("apply --server-side -f {}", file.display()));
    lab.wait_for(&machine, "is a node of the other cluster", 60, |machine| {
        let membership = &machine["status"]["membership"];
        membership["joined"]["cluster"] == "c2"
            && membership["joined"]["node"] == NEW
            && membership["left"].is_null()
            && condition(machine, "Moving").is_empty()
    });
    assert_eq!(lab.kubectl("get nodes -o name"), "");
    assert_eq!(second.kubectl("get nodes -o name").trim(), "node/db-1");
    let revoked = until(Duration::from_secs(20), || {
        second.kubectl(TOKENS).is_empty().then_some(())
    });
    assert!(revoked.is_some(), "{}", second.kubectl(TOKENS));
    let machines = lab.kubectl("-n farm get machines -o name");
    assert_eq!(machines.trim(), "machine.moonfarm.dev/db-1", "one record");
}

/// As an operator does it; once more is an error that names the Machine.
fn adopt(lab: &Lab) {
    let kubeconfig = lab.plane.kubeconfig().display().to_string();
    let order = || {
        let mut adopt = lab.network.command(lab.programs.join("boot-server"));
        adopt.args(["adopt", OLD, "--pool", "databases", "--name", NEW]);
        adopt.args(["--kubernetes", "--namespace", "farm", "--kubeconfig"]);
        adopt.arg(&kubeconfig);
        output(adopt)
    };
    let told = order().unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(told.contains("db-1 belongs to pool databases"), "{told}");
    let again = order().unwrap_err().chain();
    let is_told = again.contains("already exists") || again.contains("not found");
    assert!(is_told && again.contains("Machine"), "{again}");
}
