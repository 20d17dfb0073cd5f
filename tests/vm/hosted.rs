//! A machine of a hosted control plane: boot-server takes the `Cluster` that the
//! chart wrote, the machine joins it, is reached through konnectivity alone, and
//! stays while the control plane goes to the next minor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boot_proto::ids::MacAddr;
use boot_proto::image::ImageManifest;
use moonfarm_tests::hosted::{
    self, API_SERVER, CONTROLLERS, Hosted, KONNECTIVITY, Programs, SCHEDULER,
};
use moonfarm_tests::kube::Access;
use moonfarm_tests::lab::farm::Artefacts;
use moonfarm_tests::lab::{
    LabError, MachineSpec, NicSpec, Process, ProcessSpec, QemuMachine, console, process,
};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::pods;
use crate::support::{TO_READY, artefacts, condition};

const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0x4d, 0x68, 1]);
/// What the release says beyond `ci/job-values.yaml`.
const VALUES: &str = "konnectivity.enabled=true";

/// The admin cluster's objects beside the Cluster, which the chart wrote.
const FARM: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: provisioning, namespace: cluster1}
spec: {cidr: 10.77.0.0/24, gateway: 10.77.0.1, dns: [10.77.0.1], ranges: [{from: 10.77.0.100, to: 10.77.0.199}]}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: base, namespace: cluster1}
spec:
  overlaySize: 256Mi
  tmpfs: [{path: /var/lib/kubelet, size: 128Mi}, {path: /var/lib/containerd, size: 512Mi}]
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: nodes, namespace: cluster1}
spec: {catchAll: true, image: IMAGE, cluster: c1, subnet: provisioning, profiles: [base], labels: {example.org/pool: nodes}}
"#;

/// The value, or a panic that tells the whole chain of causes.
fn well<T>(result: Result<T, LabError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", error.chain()))
}

fn kubectl(cluster: &Access, words: &str) -> Result<String, LabError> {
    cluster.run(&words.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_machine_joins_a_hosted_control_plane_and_stays_through_an_upgrade() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let (Some(tools), Some(next)) = (
        needs::folder("MOONFARM_TOOLS"),
        needs::folder("MOONFARM_KUBE_NEXT"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs {
        kube: artefacts.kube.clone(),
        tools,
    };
    let values = "job-values.yaml";
    let mut hosted = well(Hosted::install(programs, folder.path(), values, &[VALUES]));
    well(hosted.start(&hosted::COMPONENTS));
    well(hosted.run("job/c1-bootstrap-1", "bootstrap"));
    let admin = well(hosted.administrator());
    println!("the hosted control plane is up");

    well(hosted.admin().add_tap("node", hosted::BRIDGE));
    let boot_server = boot_server(&hosted, &artefacts, folder.path());
    let mut machine = QemuMachine::new(spec(folder.path()), Some(hosted.admin().name()));
    well(machine.power_on());
    wait_for_node(&admin, &machine, &boot_server, "");
    println!("the machine is Ready");

    let agent = well(hosted.start_agent());
    the_kubelet_is_reached_through_the_tunnel(&hosted, &admin, &agent);
    println!("logs and exec went through the tunnel");
    the_next_minor(&mut hosted, &admin, &next);
    println!("the control plane is at the next minor");

    // Diskless nodes join at each boot: one with the older image does so still.
    let before = boot_id(&admin);
    well(machine.reset());
    wait_for_node(&admin, &machine, &boot_server, &before);
}

fn spec(folder: &Path) -> MachineSpec {
    MachineSpec {
        name: "node".into(),
        nics: vec![NicSpec::new(MAC, "node")],
        memory_mib: 2048,
        cpus: 2,
        folder: folder.join("machine"),
        ..MachineSpec::default()
    }
}

/// boot-server with the admin cluster as its store.
fn boot_server(hosted: &Hosted, artefacts: &Artefacts, folder: &Path) -> Process {
    let program = artefacts.programs.join("boot-server");
    let state = folder.join("state");
    let mut add = hosted.admin().command(&program);
    add.args(["image", "add"]).arg(&artefacts.image);
    add.arg("--state").arg(&state);
    well(process::output(add));
    let manifest = fs::read(artefacts.image.join("manifest.json")).unwrap();
    let manifest: ImageManifest = serde_json::from_slice(&manifest).unwrap();
    let farm = folder.join("farm.yaml");
    fs::write(&farm, FARM.replace("IMAGE", &manifest.name)).unwrap();
    let farm = farm.display().to_string();
    well(hosted.plane().kubectl_output(&["apply", "-f", &farm]));
    let serve = ProcessSpec::new("boot-server", program, folder)
        .args(["serve", "--kubernetes", "--namespace", hosted::NAMESPACE])
        .args(["--kubeconfig".into(), hosted.plane().kubeconfig()])
        .args([PathBuf::from("--state"), state])
        .within(hosted.admin().name());
    well(serve.spawn())
}

/// The Node as its administrator sees it, or null.
fn node(admin: &Access) -> Value {
    let text = kubectl(admin, &format!("get node {} -o json", MAC.dashed()));
    serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
}

fn boot_id(admin: &Access) -> String {
    let node = node(admin);
    let id = node["status"]["nodeInfo"]["bootID"].as_str();
    id.unwrap_or_default().to_owned()
}

/// Waits until the machine is Ready, in another boot than `before`, and has its
/// pool's label.
fn wait_for_node(admin: &Access, machine: &QemuMachine, boot_server: &Process, before: &str) {
    let is_ready = until(TO_READY, || {
        let node = node(admin);
        let is_ready = condition(&node, "Ready").is_some_and(|it| it["status"] == "True");
        let is_labelled = node["metadata"]["labels"]["example.org/pool"] == "nodes";
        let boot = node["status"]["nodeInfo"]["bootID"].as_str();
        (is_ready && is_labelled && boot.is_some_and(|it| it != before)).then_some(())
    });
    if is_ready.is_none() {
        let shown = console::last_lines(&machine.console_log(), 40);
        let served = boot_server.log_tail(20);
        panic!("{}\nconsole: {shown}\nboot-server: {served}", node(admin));
    }
}

/// The API server has no route to any kubelet but konnectivity's.
fn the_kubelet_is_reached_through_the_tunnel(hosted: &Hosted, admin: &Access, agent: &Process) {
    let rule = "rule add to 10.77.0.0/24 ipproto tcp dport 10250 prohibit";
    well(hosted.network().ip(&rule.split(' ').collect::<Vec<_>>()));
    let healthz = format!("/api/v1/nodes/{}/proxy/healthz", MAC.dashed());
    let answer = until(Duration::from_secs(90), || {
        kubectl(admin, &format!("get --raw {healthz} --request-timeout 20s")).ok()
    });
    let answer = answer.unwrap_or_else(|| panic!("the agent says: {}", agent.log_tail(20)));
    assert_eq!(answer.trim(), "ok");

    let file = hosted.pods().folder.join("pods.yaml");
    fs::write(&file, pods::manifest(None)).unwrap();
    well(admin.run(&["apply", "-f", &file.display().to_string()]));
    let says = |words: &str| {
        let told = until(Duration::from_secs(180), || {
            let told = kubectl(admin, words).ok()?;
            told.contains("catatonit").then_some(())
        });
        assert!(told.is_some(), "{words}: {:?}", kubectl(admin, words));
    };
    says("logs teller");
    says("exec sleeper -- /catatonit --version");
}

/// The API server first, then the others, as the chart's README has it.
fn the_next_minor(hosted: &mut Hosted, admin: &Access, next: &Path) {
    let version = process::run(
        &next.join("kubeadm").display().to_string(),
        ["version", "-o", "short"],
    );
    let version = well(version).trim().to_owned();
    well(kubectl(admin, "create configmap kept --from-literal=a=b"));
    let api_server = format!("apiServer.version={version}");
    well(hosted.upgrade(&[VALUES, &api_server]));
    well(hosted.start_with(next, &[API_SERVER, KONNECTIVITY]));
    well(hosted.wait_until_ready());
    let server = well(kubectl(admin, "version"));
    assert!(
        server.contains(&format!("Server Version: {version}")),
        "{server}"
    );
    // The older controllers go on under the newer API server.
    well(kubectl(
        admin,
        "create deployment between --image example.com/web",
    ));
    made_by_controllers(admin, "between");

    let all = format!("kubernetesVersion={version}");
    well(hosted.upgrade(&[VALUES, &all]));
    well(hosted.run_with(next, "job/c1-pki-3", "pki"));
    well(hosted.start_with(next, &[API_SERVER, KONNECTIVITY, CONTROLLERS, SCHEDULER]));
    well(hosted.wait_until_ready());
    well(hosted.run_with(next, "job/c1-bootstrap-3", "bootstrap"));
    well(hosted.check());
    well(kubectl(
        admin,
        "create deployment after --image example.com/web",
    ));
    made_by_controllers(admin, "after");
    assert_eq!(
        well(kubectl(admin, "get configmap kept -o jsonpath={.data.a}")),
        "b"
    );
    for (object, path) in [
        ("configmap/kubeadm-config", "{.data.ClusterConfiguration}"),
        (
            "daemonset/kube-proxy",
            "{.spec.template.spec.containers[0].image}",
        ),
    ] {
        let get = format!("-n kube-system get {object} -o jsonpath={path}");
        let text = well(kubectl(admin, &get));
        assert!(text.contains(&version), "{object}: {text}");
    }
    // The kubelet is one minor behind, as it may be.
    let node = node(admin);
    let kubelet = &node["status"]["nodeInfo"]["kubeletVersion"];
    assert_ne!(*kubelet, version.as_str());
    let is_ready = condition(&node, "Ready").is_some_and(|it| it["status"] == "True");
    assert!(is_ready, "{node}");
}

fn made_by_controllers(admin: &Access, deployment: &str) {
    let get = format!("get pods -l app={deployment} -o name");
    let made = until(Duration::from_secs(90), || {
        let pods = kubectl(admin, &get).ok()?;
        pods.contains("pod/").then_some(())
    });
    assert!(made.is_some(), "no pods of {deployment}");
}
