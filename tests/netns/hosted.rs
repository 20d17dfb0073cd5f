//! The hosted control plane: installed by Helm into a real API server, its
//! containers' own command lines run as processes, until kubectl works against
//! it; then a backup is taken, everything lost, and the backup restored.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::{Namespace, Process, process};
use moonfarm_tests::needs;
use moonfarm_tests::pods::Pods;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::charts::{Helm, checkout, install_crds};

const ENDPOINT: &str = "10.77.0.20:6443";
const HOSTS: &str = "10.77.0.20 c1-etcd-0.c1-etcd.cluster1.svc c1-apiserver.cluster1.svc\n";

/// Programs of the hosted control plane that run.
struct Running {
    programs: Vec<Process>,
}

impl Running {
    fn start(pods: &Pods<'_>) -> Self {
        let mut programs = Vec::new();
        for (workload, container, pod) in [
            ("statefulset/c1-etcd", "etcd", "c1-etcd-0"),
            (
                "deployment/c1-apiserver",
                "kube-apiserver",
                "c1-apiserver-0",
            ),
            (
                "deployment/c1-controller-manager",
                "kube-controller-manager",
                "c1-controller-manager-0",
            ),
            (
                "deployment/c1-scheduler",
                "kube-scheduler",
                "c1-scheduler-0",
            ),
        ] {
            programs.push(
                pods.start(workload, container, pod)
                    .unwrap_or_else(|it| panic!("{}", it.chain())),
            );
        }
        Self { programs }
    }

    fn check(&mut self) {
        for program in &mut self.programs {
            program
                .check()
                .unwrap_or_else(|error| panic!("{}", error.chain()));
        }
    }
}

/// Two namespaces that reach each other: the admin cluster's, and the pods'.
fn networks() -> (Namespace, Namespace) {
    let admin = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
    admin.add_bridge("br0", "10.77.0.1/24").unwrap();
    let hosted = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
    admin
        .ip(&[
            "link",
            "add",
            "hosted",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            hosted.name(),
        ])
        .unwrap();
    admin
        .ip(&["link", "set", "hosted", "master", "br0", "up"])
        .unwrap();
    hosted
        .ip(&["addr", "add", "10.77.0.20/24", "dev", "eth0"])
        .unwrap();
    hosted.ip(&["link", "set", "eth0", "up"]).unwrap();
    (admin, hosted)
}

/// kubectl in the namespace of the hosted cluster, with one of its kubeconfigs.
struct Kubectl<'a> {
    network: &'a Namespace,
    program: std::path::PathBuf,
    kubeconfig: std::path::PathBuf,
}

impl Kubectl<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.network.command(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments);
        process::output(command).map_err(|error| error.chain())
    }

    fn expect(&self, arguments: &[&str]) -> String {
        self.run(arguments)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }
}

/// Writes the kubeconfig that the bootstrap job made for boot-server, or the
/// administrator's.
fn secret(plane: &ControlPlane, name: &str, key: &str, file: &Path) {
    let path = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
    let text = plane
        .kubectl_output(&["-n", "cluster1", "get", "secret", name, "-o", &path])
        .unwrap();
    std::fs::write(file, text).unwrap();
}

#[test]
fn a_hosted_control_plane_works_and_comes_back_from_a_backup() {
    if !needs::has_namespaces() {
        return;
    }
    let (Some(programs), Some(tools)) = (
        needs::folder("MOONFARM_KUBE_BIN"),
        needs::folder("MOONFARM_TOOLS"),
    ) else {
        return;
    };
    let (admin, hosted) = networks();
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(
        &programs,
        admin.name(),
        &folder.path().join("admin"),
        Ipv4Addr::new(10, 77, 0, 1),
    );
    let plane = ControlPlane::start(&options, &mut |_| {})
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    install_crds(&plane);
    let chart = checkout().join("deploy/helm/control-plane");
    let values = chart.join("ci/job-values.yaml");
    let helm = Helm {
        program: tools.join("helm"),
        plane: &plane,
        network: &admin,
    };
    helm.install("c1", &chart, "cluster1", &values, &[]);

    let pods = Pods {
        plane: &plane,
        namespace: "cluster1".into(),
        network: hosted.name().into(),
        folder: folder.path().join("hosted"),
        programs: vec![programs.clone(), tools.clone()],
        hosts: HOSTS.into(),
    };
    let run = |workload: &str, container: &str| {
        let pod = workload.replace('/', "-");
        pods.run(workload, container, &pod)
            .unwrap_or_else(|error| panic!("{}", error.chain()))
    };
    std::fs::create_dir_all(&pods.folder).unwrap();
    run("job/c1-pki-1", "pki");
    let mut running = Running::start(&pods);
    let log = run("job/c1-bootstrap-1", "bootstrap");
    running.check();
    eprintln!("{}", log.lines().last().unwrap_or_default());

    // boot-server's account: bootstrap tokens, and not the cluster.
    let file = folder.path().join("moonfarm.conf");
    secret(&plane, "c1-kubeconfig", "kubeconfig", &file);
    let moonfarm = Kubectl {
        network: &hosted,
        program: programs.join("kubectl"),
        kubeconfig: file,
    };
    assert_eq!(
        moonfarm
            .expect(&["auth", "can-i", "create", "secrets", "-n", "kube-system"])
            .trim(),
        "yes"
    );
    assert!(
        moonfarm
            .run(&["auth", "can-i", "create", "secrets", "-n", "default"])
            .is_err()
    );
    assert!(moonfarm.run(&["get", "configmaps", "-A"]).is_err());
    let cluster = plane
        .kubectl_output(&[
            "-n",
            "cluster1",
            "get",
            "clusters.moonfarm.dev",
            "c1",
            "-o",
            "json",
        ])
        .unwrap();
    let cluster: Value = serde_json::from_str(&cluster).unwrap();
    assert_eq!(cluster["spec"]["endpoint"], ENDPOINT);
    let hash = cluster["spec"]["caCertHashes"][0].as_str().unwrap();
    assert!(hash.len() == 71 && hash.starts_with("sha256:"), "{hash}");

    // The administrator's pod, and with it every program: the scheduler says that
    // there is no node, the controllers made the pod it says it of.
    let admin_pod = |words: &str| administrator(&hosted, &pods, &programs, words);
    assert!(admin_pod("get --raw /readyz").unwrap().contains("ok"));
    admin_pod("create deployment web --image example.com/web").unwrap();
    let unscheduled = until(Duration::from_secs(60), || {
        let events = admin_pod("get events --field-selector reason=FailedScheduling").ok()?;
        events.contains("no nodes available").then_some(())
    });
    assert!(unscheduled.is_some(), "{:?}", admin_pod("get pods,events"));
    assert!(admin_pod("-n kube-system get deploy coredns").is_ok());
    assert!(admin_pod("-n kube-system get daemonset kube-proxy").is_ok());
    let information = admin_pod("-n kube-public get configmap cluster-info -o yaml").unwrap();
    assert!(
        information.contains(&format!("server: https://{ENDPOINT}")),
        "{information}"
    );

    // Everything is lost but the backup.
    admin_pod("create namespace kept").unwrap();
    run("cronjob/c1-etcd-backup", "backup");
    admin_pod("create namespace lost").unwrap();
    drop(running);
    std::fs::remove_dir_all(pods.claim("data-c1-etcd-0")).unwrap();
    helm.install(
        "c1",
        &chart,
        "cluster1",
        &values,
        &["etcd.restoreFrom=latest"],
    );
    let restored = pods
        .run("statefulset/c1-etcd", "restore", "c1-etcd-0")
        .unwrap_or_else(|it| panic!("{}", it.chain()));
    assert!(restored.contains("restoring etcd-"), "{restored}");
    let mut running = Running::start(&pods);
    let is_back = until(Duration::from_secs(120), || {
        admin_pod("get namespace kept").ok()
    });
    running.check();
    assert!(is_back.is_some());
    assert!(admin_pod("get namespace lost").is_err());

    // Renewal keeps the CAs and makes leaves anew; pods are rolled for CAs only.
    let certificate = |name: &str| {
        plane
            .kubectl_output(&[
                "-n",
                "cluster1",
                "get",
                "secret",
                name,
                "-o",
                "jsonpath={.data.tls\\.crt}",
            ])
            .unwrap()
    };
    let before = (certificate("c1-pki-ca"), certificate("c1-pki-apiserver"));
    run("cronjob/c1-pki", "pki");
    assert_eq!(before.0, certificate("c1-pki-ca"));
    assert_ne!(before.1, certificate("c1-pki-apiserver"));
    // The log of a pod of that name goes on.
    let roll = || run("cronjob/c1-roll", "roll");
    assert_eq!(roll().matches(" annotated").count(), 4);
    assert_eq!(roll().matches(" annotated").count(), 4, "nothing changed");
    let other = certificate("c1-pki-sa");
    let patch = format!("{{\"data\":{{\"tls.crt\":{other:?}}}}}");
    let secret = [
        "-n",
        "cluster1",
        "patch",
        "secret",
        "c1-pki-front-proxy-ca",
        "-p",
        &patch,
    ];
    plane.kubectl_output(&secret).unwrap();
    let rolled = roll();
    assert_eq!(
        rolled.matches("its CA changed, rolling").count(),
        3,
        "{rolled}"
    );
}

/// kubectl with the administrator's kubeconfig, whose key files lie where the
/// admin pod has them.
fn administrator(
    network: &Namespace,
    pods: &Pods<'_>,
    programs: &Path,
    words: &str,
) -> Result<String, String> {
    let folder = pods.folder.join("pods/job-c1-bootstrap-1/volumes");
    let text = std::fs::read_to_string(folder.join("kubeconfig/admin.conf")).unwrap();
    let text = text
        .replace(
            "/etc/kubernetes/admin",
            &folder.join("pki").display().to_string(),
        )
        .replace("c1-apiserver.cluster1.svc:6443", ENDPOINT);
    let file = pods.folder.join("admin.conf");
    std::fs::write(&file, text).unwrap();
    let kubectl = Kubectl {
        network,
        program: programs.join("kubectl"),
        kubeconfig: file,
    };
    kubectl.run(&words.split(' ').collect::<Vec<_>>())
}
