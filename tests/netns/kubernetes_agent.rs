//! chassis-agent beside boot-server on a real API server: Machines with what is
//! seen and what became of orders, Events, one agent of several, and machines as
//! hosts of dnsmasq-controller.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moonfarm_tests::charts::{checkout, install_crds};
use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{Namespace, Process, ProcessSpec};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

/// A Secret, a Chassis whose machines belong to a pool, and that pool.
pub const FARM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: farm}
---
apiVersion: v1
kind: Secret
metadata: {name: m1-login, namespace: farm}
stringData: {username: Administrator, password: moonfarm-secret}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1, namespace: farm}
spec:
  address: 10.77.0.1:2222
  credentials: {secret: m1-login}
  scanInterval: 10s
  powerInterval: 5s
  pool: work
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: work, namespace: farm}
spec: {image: none, power: "On"}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan, namespace: farm}
spec:
  cidr: 10.77.0.0/24
  gateway: 10.77.0.1
  probe: false
  ranges: [{from: 10.77.0.100, to: 10.77.0.199}]
"#;

/// A Chassis of a farm that runs dnsmasq-controller.
const KUBEFARM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: kubefarm}
---
apiVersion: v1
kind: Secret
metadata: {name: m1-login, namespace: kubefarm}
stringData: {username: Administrator, password: moonfarm-secret}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Chassis
metadata: {name: m1, namespace: kubefarm}
spec:
  address: 10.77.0.1:2222
  credentials: {secret: m1-login}
  scanInterval: 10s
  powerInterval: 5s
"#;

/// The cartridge that is off at first and asks for a boot when it is on.
const OBEDIENT: &str = "m1-c7n1";
/// Its first MAC, as the virtual chassis gives it.
const ITS_MAC: &str = "02:4d:46:07:01:01";
/// The one that is off at first and never asks.
const SILENT: &str = "m1-c9n1";

/// A control plane with our kinds, and a wire to a client.
pub struct Lab {
    pub network: Namespace,
    pub wire: Namespace,
    folder: tempfile::TempDir,
    pub programs: PathBuf,
    pub plane: ControlPlane,
}

impl Lab {
    /// `None`, with the reason printed, where there can be none.
    pub fn new() -> Option<Self> {
        if !needs::has_namespaces() {
            return None;
        }
        let kubernetes = needs::folder("MOONFARM_KUBE_BIN")?;
        let programs = needs::folder("MOONFARM_PROGRAMS")?;
        let network = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
        network.add_bridge("br0", "10.77.0.1/24").unwrap();
        let wire = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", wire.name()];
        network
            .ip(&[&["link", "add", "node"][..], &peer].concat())
            .unwrap();
        network
            .ip(&["link", "set", "node", "master", "br0", "up"])
            .unwrap();
        wire.ip(&["link", "set", "eth0", "address", ITS_MAC])
            .unwrap();
        wire.ip(&["link", "set", "eth0", "up"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = Ipv4Addr::new(10, 77, 0, 1);
        let plane_folder = folder.path().join("plane");
        let options = Options::new(&kubernetes, network.name(), &plane_folder, address);
        let plane = ControlPlane::start(&options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        install_crds(&plane);
        Some(Self {
            network,
            wire,
            folder,
            programs,
            plane,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn apply(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::write(&file, text).unwrap();
        self.apply_file(&file);
    }

    pub fn apply_file(&self, file: &Path) {
        let file = file.display().to_string();
        let words = ["apply", "--server-side", "-f", &file];
        self.plane
            .kubectl_output(&words)
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }

    pub fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        self.plane.kubectl_output(&words).unwrap_or_default()
    }

    pub fn get(&self, words: &str) -> Value {
        let text = self.kubectl(&format!("-n farm get {words} -o json"));
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn spawn(&self, name: &str, program: &str, arguments: &[&str]) -> Process {
        ProcessSpec::new(name, self.programs.join(program), self.folder.path())
            .args(arguments)
            .within(self.network.name())
            .spawn()
            .unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    pub fn chassis(&self) -> Process {
        let password = self.path("password");
        fs::write(&password, "moonfarm-secret\n").unwrap();
        let mut arguments = vec!["--listen", "10.77.0.1:2222", "--settle-ms", "300"];
        let password = password.display().to_string();
        arguments.extend(["--password-file", &password]);
        for cartridge in ["1:1:on", "3:4:on", "7:1:off", "9:1:off"] {
            arguments.extend(["--cartridge", cartridge]);
        }
        self.spawn("chassis", "virtual-chassis", &arguments)
    }

    pub fn boot_server(&self) -> Process {
        let state = self.path("boot-server").display().to_string();
        let kubeconfig = self.plane.kubeconfig().display().to_string();
        let mut arguments = vec!["serve", "--no-tftp", "--kubernetes", "--namespace", "farm"];
        arguments.extend(["--kubeconfig", &kubeconfig, "--state", &state]);
        self.spawn("boot-server", "boot-server", &arguments)
    }

    pub fn agent(&self, name: &str, namespace: &str, more: &[&str]) -> Process {
        let state = self.path(name).display().to_string();
        let kubeconfig = self.plane.kubeconfig().display().to_string();
        let mut arguments = vec!["run", "--kubernetes", "--namespace", namespace];
        arguments.extend(["--kubeconfig", &kubeconfig, "--state", &state]);
        arguments.extend(more);
        self.spawn(name, "chassis-agent", &arguments)
    }

    /// What firmware sends first, from the NIC of the obedient cartridge.
    pub fn ask_for_a_boot(&self) {
        let mut client = self.wire.command("udhcpc");
        client.args(["-i", "eth0", "-n", "-q", "-f", "-t", "2", "-T", "1"]);
        client.args(["-s", "/bin/true", "-V", "PXEClient:Arch:00000:UNDI:002001"]);
        client.args(["-x", "0x5d:0000"]);
        client.output().expect("udhcpc runs");
    }

    /// The machine on the wire is given an address, as firmware is, and takes it.
    pub fn takes_its_address(&self) {
        let script = self.path("bound.sh");
        let text = "#!/bin/sh\n[ \"$1\" = bound ] && ip addr flush dev $interface && \
                    ip addr replace $ip/24 dev $interface\nexit 0\n";
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut client = self.wire.command("udhcpc");
        client.args(["-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s"]);
        client.arg(&script);
        client.args(["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
        output(client).unwrap_or_else(|error| panic!("{}", error.chain()));
    }

    /// Waits until `holds` of the object; the test fails with what it is then.
    pub fn wait_for(&self, object: &str, what: &str, secs: u64, holds: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let found = until(Duration::from_secs(secs), || {
            last = self.get(object);
            std::thread::sleep(Duration::from_millis(400));
            holds(&last).then_some(())
        });
        if found.is_none() {
            self.show_logs();
            panic!("{object}: {what}: {last:#}");
        }
    }

    pub fn show_logs(&self) {
        for name in ["chassis", "boot-server", "a", "b"] {
            let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            eprintln!("---- {name}\n{log}");
        }
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

/// `STATUS REASON` of a condition.
pub fn condition(object: &Value, about: &str) -> String {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == about));
    found.map_or_else(String::new, |one| {
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("status"), word("reason"))
    })
}

#[test]
fn machines_orders_and_verdicts_live_in_the_api_server() {
    let Some(lab) = Lab::new() else { return };
    lab.apply("farm.yaml", FARM);
    let chassis = lab.chassis();
    let _boot_server = lab.boot_server();
    let more = ["--network-boot-wait", "20s"];
    let first = lab.agent("a", "farm", &more);

    machines_are_found_and_powered_on(&lab);
    let second = lab.agent("b", "farm", &more);
    requests_for_a_boot_are_proof(&lab);
    chassis_and_events_say_what_happened(&lab);
    one_agent_takes_over_from_the_other(&lab, first);
    a_chassis_that_is_away_leaves_its_machines(&lab, chassis);
    drop(second);
    dnsmasq_controller_gets_hosts(&lab);
}

fn machines_are_found_and_powered_on(lab: &Lab) {
    lab.wait_for(
        &format!("machine {OBEDIENT}"),
        "is powered on",
        60,
        |machine| {
            machine["status"]["power"] == "On"
                && condition(machine, "PowerObeyed") == "True Obeyed"
                && condition(machine, "BootOnceTaken") == "True Obeyed"
                && condition(machine, "Reachable") == "True Scanned"
                && !condition(machine, "NetworkBoot").is_empty()
        },
    );
    lab.wait_for("machines", "all in their pool", 20, |list| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.len() == 7
            && items.iter().all(|machine| {
                let macs = machine["status"]["observed"]["macs"].as_array();
                machine["status"]["pool"] == "work" && macs.is_some_and(|macs| macs.len() == 2)
            })
    });
    let table = lab.kubectl("-n farm get machines");
    let line = table.lines().find(|line| line.starts_with("m1-c3n4 "));
    assert!(line.is_some_and(|line| line.contains("work")), "{table}");
}

/// The one that asks is believed; the power of the one that does not is cut.
fn requests_for_a_boot_are_proof(lab: &Lab) {
    lab.ask_for_a_boot();
    lab.wait_for(&format!("machine {OBEDIENT}"), "has asked", 30, |machine| {
        condition(machine, "NetworkBoot") == "True RequestArrived"
            && machine["status"]["askedAt"].is_string()
    });
    lab.wait_for(
        &format!("machine {SILENT}"),
        "is tried again",
        60,
        |machine| condition(machine, "NetworkBoot") == "False NoRequest",
    );
    lab.wait_for("chassis m1", "says so too", 20, |chassis| {
        condition(chassis, "OrdersObeyed") == "False NotObeyed"
    });
}

fn chassis_and_events_say_what_happened(lab: &Lab) {
    lab.wait_for("chassis m1", "is well", 20, |chassis| {
        condition(chassis, "Reachable") == "True Answers"
            && condition(chassis, "Ready") == "True Read"
            && condition(chassis, "InventoryComplete").starts_with("True")
            && chassis["status"]["machines"] == 7
            && chassis["status"]["profile"] == "hpe-moonshot-1500"
    });
    let events = lab.get("events");
    let told = |name: &str, reason: &str| {
        let all = events["items"].as_array().unwrap();
        all.iter()
            .any(|event| event["involvedObject"]["name"] == name && event["reason"] == reason)
    };
    for (name, reason) in [
        (OBEDIENT, "Found"),
        (OBEDIENT, "PowerChanged"),
        (OBEDIENT, "Obeyed"),
        (OBEDIENT, "RequestArrived"),
        (SILENT, "NoRequest"),
        ("m1", "Answers"),
    ] {
        assert!(told(name, reason), "{name} {reason}: {events:#}");
    }
    // The password is nowhere.
    for name in ["a", "boot-server"] {
        assert!(!lab.log(name).contains("moonfarm-secret"), "{name}");
    }
}

fn one_agent_takes_over_from_the_other(lab: &Lab, mut first: Process) {
    let log = lab.log("b");
    assert!(
        log.contains("holds the Lease moonfarm-chassis-agent and looks after the Chassis"),
        "{log}"
    );
    assert!(!log.contains("there is no Chassis"), "{log}");
    let status = first.stop(Duration::from_secs(10));
    assert!(status.success(), "{status}: {}", first.log_tail(20));
    // Without letting go it would be 30 s.
    let worked = until(Duration::from_secs(12), || {
        lab.log("b").contains("scanned").then_some(())
    });
    assert!(worked.is_some(), "{}\n{}", lab.log("a"), lab.log("b"));
}

fn a_chassis_that_is_away_leaves_its_machines(lab: &Lab, chassis: Process) {
    drop(chassis);
    lab.wait_for("chassis m1", "is away", 60, |chassis| {
        condition(chassis, "Reachable") == "False Unreachable"
            && condition(chassis, "Ready") == "False Unreachable"
    });
    lab.wait_for("machines", "unknown, and all there", 20, |list| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.len() == 7
            && items.iter().all(|machine| {
                machine["status"]["power"] == "Unknown"
                    && condition(machine, "Reachable") == "Unknown ChassisUnreachable"
                    && machine["status"]["observed"]["macs"].is_array()
            })
    });
}

fn dnsmasq_controller_gets_hosts(lab: &Lab) {
    lab.apply_file(&checkout().join("tests/fixtures/kubernetes/dhcphosts-crd.yaml"));
    lab.kubectl("wait --for=condition=Established --timeout=30s crd/dhcphosts.dnsmasq.kvaps.cf");
    lab.apply("kubefarm.yaml", KUBEFARM);
    let _chassis = lab.chassis();
    let _agent = lab.agent("dhcphosts", "kubefarm", &["--publish", "dhcphosts"]);
    let mut last = String::new();
    let found = until(Duration::from_secs(30), || {
        last = lab.kubectl("-n kubefarm get dhcphosts m1 -o json");
        let object: Value = serde_json::from_str(&last).ok()?;
        object["spec"]["hosts"].as_array().cloned()
    });
    let hosts = found.unwrap_or_else(|| panic!("{last}\n{}", lab.log("dhcphosts")));
    assert_eq!(hosts.len(), 7);
    let its = hosts.iter().find(|host| host["hostname"] == "m1-c7n1");
    let macs = &its.expect("m1-c7n1")["macs"];
    assert_eq!(
        macs,
        &serde_json::json!(["02:4d:46:07:01:01", "02:4d:46:07:01:02"])
    );
    // Nothing is ordered: the cartridge stays off, no Machine is made.
    assert_eq!(lab.kubectl("-n kubefarm get machines -o name"), "");
}
