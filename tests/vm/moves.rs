//! One machine, started again and again: its old Node is awaited where its Cluster
//! says so, and when its pool goes to another cluster, so does it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;
use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::farm::{ClusterOptions, latest_boot};
use moonfarm_tests::lab::{Firmware, MachineSpec, Namespace, NicSpec, QemuMachine};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::images;
use crate::support::{TO_READY, TestFarm, artefacts, now};

const NAME: &str = "mover";
const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0x30, 0x7e, 1]);
const PORT: &str = "mover";
/// The other cluster's API server.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// More than a restart takes, so that the old Node still counts as Ready then.
const GRACE: Duration = Duration::from_secs(120);
/// Pause between two looks; kubectl is no small program.
const PAUSE: Duration = Duration::from_secs(2);
/// How long what boot-server does by itself may take.
const SOON: Duration = Duration::from_secs(60);

/// A cluster on a host of its own.
struct Other {
    // Dropped in this order.
    plane: ControlPlane,
    _host: Namespace,
}

impl Other {
    fn start(test: &TestFarm, programs: &std::path::Path) -> Self {
        let host = Namespace::create().expect("a namespace");
        test.farm
            .namespace()
            .add_host(&host, "other", BRIDGE)
            .expect("a host");
        host.ip(&["address", "add", &format!("{OTHER}/24"), "dev", "eth0"])
            .expect("an address");
        let folder = test.farm.layout().folder().join("other");
        let options = Options::new(programs, host.name(), &folder, OTHER);
        let plane = ControlPlane::start(&options, &mut |step| test.say(&format!("other: {step}")));
        let plane = plane.unwrap_or_else(|error| panic!("{}", error.chain()));
        Self { plane, _host: host }
    }

    fn manifest(&self) -> String {
        format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: other\nspec:\n  \
             endpoint: {}\n  caCertHashes:\n    - {}\n  kubeconfigFile: {}\n",
            self.plane.endpoint(),
            self.plane.ca_hash(),
            self.plane.kubeconfig().display()
        )
    }
}

/// The machine and the farm it is in.
struct Mover {
    test: TestFarm,
    machine: QemuMachine,
    console: PathBuf,
}

impl Mover {
    fn start(artefacts: moonfarm_tests::lab::farm::Artefacts) -> Self {
        let kernel = images::direct_kernel(&artefacts.image, MAC, "");
        let cluster = Some(ClusterOptions {
            node_grace: Some(GRACE),
            ..ClusterOptions::default()
        });
        let test = TestFarm::start(artefacts, Vec::new(), cluster, &|facts| {
            let pool = Pool {
                name: "moving",
                machines: Some("names: [mover]"),
                labels: &["node-role.kubernetes.io/worker: \"\""],
                ..Pool::default()
            };
            vec![
                manifests::machine_by_macs(NAME, &[MAC]),
                manifests::pool(facts, &pool),
            ]
        });
        test.farm.namespace().add_tap(PORT, BRIDGE).expect("a tap");
        let spec = MachineSpec {
            name: NAME.into(),
            firmware: Firmware::Bios,
            nics: vec![NicSpec::new(MAC, PORT)],
            memory_mib: 2048,
            cpus: 2,
            folder: test.farm.layout().machine(NAME),
            kernel: Some(kernel),
            ..MachineSpec::default()
        };
        let machine = test.farm.machine(spec);
        Self {
            console: machine.console_log(),
            machine,
            test,
        }
    }

    /// Changes a manifest and waits until boot-server goes by it.
    fn declare(&self, file: &str, change: impl FnOnce(String) -> String, sign: &str) {
        let path = self.test.farm.layout().manifests().join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, change(text)).expect("written");
        let taken = until(SOON, || {
            std::thread::sleep(PAUSE);
            let told = self.test.farm.boot_server_command(&["explain", NAME]);
            told.is_ok_and(|told| told.contains(sign)).then_some(())
        });
        let told = self.test.farm.boot_server_command(&["explain", NAME]);
        assert!(taken.is_some(), "{file} is not taken: {told:?}");
    }

    fn restart(&mut self) -> WallClock {
        let since = now();
        self.machine
            .reset()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        since
    }

    fn is_told(&self, text: &str, since: WallClock) {
        let told = until(TO_READY, || {
            std::thread::sleep(PAUSE);
            let boots = self.test.farm.boots().ok()?;
            let reason = latest_boot(NAME, since, &boots)?.reason.clone()?;
            reason.contains(text).then_some(reason)
        });
        let Some(told) = told else {
            self.test.explain(NAME, since, &self.console);
            panic!("{text:?} is not told");
        };
        self.test.say(&told);
    }

    fn wait_until_ready(&mut self, since: WallClock) -> Value {
        let console = self.console.clone();
        self.test.wait_until_ready(NAME, since, &console);
        self.test.node(NAME)
    }
}

fn uid(node: &Value) -> &str {
    node["metadata"]["uid"].as_str().expect("a UID")
}

fn boot_id(node: &Value) -> &str {
    node["status"]["nodeInfo"]["bootID"]
        .as_str()
        .expect("an ID")
}

#[test]
fn an_old_node_is_awaited_and_a_pool_moves_to_another_cluster() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let programs = artefacts.kube.clone();
    let mut mover = Mover::start(artefacts);
    let since = now();
    mover
        .machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let first = mover.wait_until_ready(since);

    let awaits = |text| format!("{text}  oldNode: await\n");
    mover.declare("cluster.yaml", awaits, "");
    let since = mover.restart();
    mover.is_told("still counts as Ready", since);
    let second = mover.wait_until_ready(since);
    assert_eq!(uid(&second), uid(&first), "the Node stays");
    assert_ne!(boot_id(&second), boot_id(&first), "it has not started anew");

    let other = Other::start(&mover.test, &programs);
    mover.declare("cluster-other.yaml", |_| other.manifest(), "");
    let moves = |text: String| text.replace("cluster: farm", "cluster: other");
    mover.declare("pool-moving.yaml", moves, "other");
    let since = mover.restart();
    let joined = until(TO_READY, || {
        std::thread::sleep(PAUSE);
        other.plane.is_node_ready(NAME).then_some(())
    });
    if joined.is_none() {
        mover.test.explain(NAME, since, &mover.console);
        panic!("it does not join the other cluster");
    }
    mover.test.say("Ready in the other cluster");
    let role = until(SOON, || {
        std::thread::sleep(PAUSE);
        let path = "jsonpath={.metadata.labels}";
        let labels = other
            .plane
            .kubectl_output(&["get", "node", NAME, "--output", path]);
        let labels = labels.ok()?;
        labels
            .contains("node-role.kubernetes.io/worker")
            .then_some(())
    });
    role.expect("the label is set from outside there, too");
    let gone = until(SOON, || {
        std::thread::sleep(PAUSE);
        mover.test.node(NAME).is_null().then_some(())
    });
    gone.expect("nothing is left of it in the first cluster");
    let tokens = [
        "--field-selector=type=bootstrap.kubernetes.io/token",
        "--output=name",
    ];
    let list = [
        &["--namespace", "kube-system", "get", "secrets"][..],
        &tokens,
    ]
    .concat();
    for plane in [mover.test.farm.control_plane(), &other.plane] {
        let left = plane.kubectl_output(&list);
        let left = left.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert_eq!(left.trim(), "", "a join token is left");
    }
}
