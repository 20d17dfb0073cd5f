//! What may stand in the way of a join, one after the other on one machine: each
//! is told on the console and in `boot-server get boots`, and passes.

use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::farm::{ClusterOptions, latest_boot};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images;
use crate::support::{TO_READY, TestFarm, artefacts, keep_picture, now};

const NAME: &str = "joiner";
const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0x10, 0x17, 1]);
const PORT: &str = "joiner";
/// What lets a machine with a token read how the cluster is configured.
const RIGHT: &str = "kubeadm:nodes-kubeadm-config";
/// Pause between two looks; kubectl is no small program.
const PAUSE: Duration = Duration::from_secs(2);

/// What one of kubeadm's checks finds, until it was told.
const IN_THE_WAY: &str = "apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata:
  name: in-the-way
spec:
  units:
    - name: in-the-way.service
      enabled: true
      content: |
        [Unit]
        Before=node-agent-join.service
        [Service]
        ExecStartPre=/bin/sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'
        ExecStart=/bin/sh -c 'until journalctl -u node-agent-join | grep -q ip_forward; do sleep 3; done; echo 1 > /proc/sys/net/ipv4/ip_forward'
        [Install]
        WantedBy=multi-user.target
";

struct Joiner {
    test: TestFarm,
    since: WallClock,
    console: std::path::PathBuf,
}

impl Joiner {
    fn kubectl(&self, arguments: &[&str]) {
        let told = self.test.farm.control_plane().kubectl_output(arguments);
        told.unwrap_or_else(|error| panic!("{}", error.chain()));
    }

    /// Waits until boot-server has a reason with this text, and the console too;
    /// `meanwhile` is done at each look.
    fn is_told(&self, text: &str, meanwhile: &dyn Fn()) {
        let mut seen = Vec::new();
        let found = until(TO_READY, || {
            meanwhile();
            std::thread::sleep(PAUSE);
            let boots = self.test.farm.boots().ok()?;
            let reason = latest_boot(NAME, self.since, &boots)?.reason.clone()?;
            let is_it = reason.contains(text);
            if seen.last() != Some(&reason) {
                self.test.say(&reason);
                seen.push(reason);
            }
            is_it.then_some(())
        });
        if found.is_none() {
            self.test.explain(NAME, self.since, &self.console);
            panic!("{text:?} is not told; what is: {seen:#?}");
        }
        let log = console::text(&self.console);
        assert!(log.contains(text), "{text:?} is not on the console");
    }

    /// As if each token were over before it is used.
    fn spoil_tokens(&self) {
        let kind = "type=bootstrap.kubernetes.io/token";
        let list = [
            "-n",
            "kube-system",
            "delete",
            "secret",
            "--field-selector",
            kind,
        ];
        self.kubectl(&[&list[..], &["--ignore-not-found", "--wait=false"]].concat());
    }

    fn take_right(&self) {
        self.kubectl(&["-n", "kube-system", "delete", "rolebinding", RIGHT]);
    }

    fn give_right(&self) {
        let role = format!("--role={RIGHT}");
        let group = "--group=system:bootstrappers:kubeadm:default-node-token";
        let create = ["-n", "kube-system", "create", "rolebinding", RIGHT];
        self.kubectl(&[&create[..], &[&role, group, "--group=system:nodes"]].concat());
    }
}

#[test]
fn what_keeps_a_machine_from_joining_is_told_and_passes() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let kernel = images::direct_kernel(&artefacts.image, MAC, "");
    let cluster = Some(ClusterOptions::default());
    let test = TestFarm::start(artefacts, Vec::new(), cluster, &|facts| {
        let pool = Pool {
            name: "joining",
            machines: Some("names: [joiner]"),
            profiles: &["in-the-way"],
            labels: &["node-role.kubernetes.io/worker: \"\""],
            ..Pool::default()
        };
        vec![
            ("profile-in-the-way.yaml".into(), IN_THE_WAY.into()),
            manifests::machine_by_macs(NAME, &[MAC]),
            manifests::pool(facts, &pool),
        ]
    });
    let namespace = test.farm.namespace();
    namespace.add_tap(PORT, BRIDGE).expect("a tap");
    let spec = MachineSpec {
        name: NAME.into(),
        firmware: Firmware::Bios,
        nics: vec![NicSpec::new(MAC, PORT)],
        memory_mib: 2048,
        cpus: 2,
        folder: test.farm.layout().machine(NAME),
        kernel: Some(kernel),
        has_screen: true,
        // Its battery is empty.
        clock: Some("2010-01-01T00:00:00".into()),
        ..MachineSpec::default()
    };
    let mut machine = test.farm.machine(spec);
    let mut joiner = Joiner {
        console: machine.console_log(),
        since: now(),
        test,
    };
    joiner.take_right();
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));

    joiner.is_told("[ERROR FileContent--proc-sys-net-ipv4-ip_forward]", &|| {});
    joiner.is_told("the API server refused the token", &|| {
        joiner.spoil_tokens()
    });
    let log = console::text(&joiner.console);
    assert!(
        log.contains("off boot-server's; it is set now"),
        "the clock"
    );
    joiner.is_told("forbidden", &|| {});
    keep_picture(&mut machine, "join-refused");
    let plane = joiner.test.farm.control_plane();
    plane.freeze(true).expect("stopped");
    joiner.is_told("no join token", &|| {});
    let plane = joiner.test.farm.control_plane();
    plane.freeze(false).expect("goes on");
    joiner.give_right();
    let (since, console) = (joiner.since, joiner.console.clone());
    joiner.test.wait_until_ready(NAME, since, &console);
    // A kubelet may not give itself this label (NodeRestriction).
    let role = until(Duration::from_secs(30), || {
        let node = joiner.test.node(NAME);
        let label = &node["metadata"]["labels"]["node-role.kubernetes.io/worker"];
        (label == "").then_some(())
    });
    role.expect("the label is set from outside");
}
