//! The hosted control plane: installed by Helm into a real API server, its
//! containers' own command lines run as processes, until kubectl works against
//! it; with no node it is well, and what it cannot reach it asks through
//! konnectivity; then a backup is taken, everything lost, and the backup restored.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use moonfarm_tests::hosted::{self, API_SERVER, ETCD, Hosted, KONNECTIVITY, Programs};
use moonfarm_tests::kube::Access;
use moonfarm_tests::lab::{LabError, Process, ProcessSpec, process};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::webhook::Webhook;

/// Values beyond those of the chart's `ci/job-values.yaml`.
const VALUES: &str = "konnectivity.enabled=true";
/// A web server where nodes are, which the pods have no route to.
const OUTSIDE: &str = "10.77.0.1";
const OUTSIDE_PORT: &str = "8081";
/// What is asked of it through the API server.
const THROUGH: &str = "/api/v1/nodes/http:outside:8081/proxy/hello.txt";

/// A node as the API server sees it, of which only a web server is there.
const NODE: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: outside}
status: {addresses: [{type: InternalIP, address: 10.77.0.1}]}
"#;

/// A webhook without which some things are not to be made.
const POLICY: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: policy, namespace: default}
spec: {clusterIP: 10.96.0.50, ports: [{port: 443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: policy}
webhooks:
  - name: policy.example.com
    clientConfig: {service: {name: policy, namespace: default, port: 443}}
    rules: [{apiGroups: ["", apps], apiVersions: [v1], operations: [CREATE], resources: [secrets, daemonsets]}]
    failurePolicy: Fail
    sideEffects: None
    timeoutSeconds: 10
    admissionReviewVersions: [v1]
"#;

/// An aggregated API.
const AGGREGATED: &str = r#"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: metrics-server, namespace: kube-system}
"#;

/// The value, or a panic that tells the whole chain of causes.
fn well<T>(result: Result<T, LabError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// What kubectl printed.
fn kubectl(cluster: &Access, words: &str) -> Result<String, LabError> {
    cluster.run(&words.split(' ').collect::<Vec<_>>())
}

fn apply(cluster: &Access, folder: &Path, objects: &str) {
    let file = folder.join("objects.yaml");
    fs::write(&file, objects).unwrap();
    well(cluster.run(&["apply", "-f", &file.display().to_string()]));
}

#[test]
fn a_hosted_control_plane_works_and_comes_back_from_a_backup() {
    if !needs::has_namespaces() {
        return;
    }
    let (Some(kube), Some(tools)) = (
        needs::folder("MOONFARM_KUBE_BIN"),
        needs::folder("MOONFARM_TOOLS"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs { kube, tools };
    let values = "job-values.yaml";
    let mut hosted = well(Hosted::install(programs, folder.path(), values, &[VALUES]));
    well(hosted.start(&hosted::COMPONENTS));
    let log = well(hosted.run("job/c1-bootstrap-1", "bootstrap"));
    well(hosted.check());
    eprintln!("{}", log.lines().last().unwrap_or_default());
    let admin = well(hosted.administrator());

    boot_server_has_an_account_and_a_cluster(&hosted);
    every_program_does_its_part(&admin);
    it_is_well_without_a_node(&mut hosted, &admin, folder.path());
    the_api_server_asks_through_the_tunnel(&hosted, &admin, folder.path());
    assert_eq!(rolled(&hosted), 0, "nothing is known of what it was before");
    assert_eq!(rolled(&hosted), 0, "nothing changed");
    a_renewed_certificate_is_shown(&hosted);
    // konnectivity's server, in the API server's pod, does not read it again.
    assert_eq!(rolled(&hosted), 1);
    pods_are_rolled_for_a_new_ca(&hosted);
    a_backup_brings_it_back(&mut hosted, &admin);
}

/// boot-server's account: bootstrap tokens, and not the cluster.
fn boot_server_has_an_account_and_a_cluster(hosted: &Hosted) {
    let account = well(hosted.account());
    let may = |words: &str| kubectl(&account, words);
    let create = "auth can-i create secrets -n";
    assert_eq!(well(may(&format!("{create} kube-system"))).trim(), "yes");
    assert!(may(&format!("{create} default")).is_err());
    assert!(may("get configmaps -A").is_err());
    let get = "-n cluster1 get clusters.moonfarm.dev c1 -o json";
    let cluster = hosted
        .plane()
        .kubectl_output(&get.split(' ').collect::<Vec<_>>());
    let cluster: Value = serde_json::from_str(&well(cluster)).unwrap();
    assert_eq!(cluster["spec"]["endpoint"], hosted::ENDPOINT);
    let hash = cluster["spec"]["caCertHashes"][0].as_str().unwrap();
    assert!(hash.len() == 71 && hash.starts_with("sha256:"), "{hash}");
}

/// The scheduler says that there is no node, the controllers made the pod it says
/// it of, and what joining nodes read is there.
fn every_program_does_its_part(admin: &Access) {
    assert!(well(kubectl(admin, "get --raw /readyz")).contains("ok"));
    well(kubectl(
        admin,
        "create deployment web --image example.com/web",
    ));
    let unscheduled = until(Duration::from_secs(60), || {
        let events = kubectl(admin, "get events --field-selector reason=FailedScheduling").ok()?;
        events.contains("no nodes available").then_some(())
    });
    assert!(unscheduled.is_some(), "{:?}", kubectl(admin, "get events"));
    well(kubectl(admin, "-n kube-system get deploy coredns"));
    well(kubectl(admin, "-n kube-system get daemonset kube-proxy"));
    let information = well(kubectl(
        admin,
        "-n kube-public get configmap cluster-info -o yaml",
    ));
    let server = format!("server: https://{}", hosted::ENDPOINT);
    assert!(information.contains(&server), "{information}");
}

/// Webhooks and aggregated APIs that wait for their first node keep nothing from
/// becoming ready, neither at once nor in an API server that starts anew.
fn it_is_well_without_a_node(hosted: &mut Hosted, admin: &Access, folder: &Path) {
    apply(admin, folder, POLICY);
    apply(admin, folder, AGGREGATED);
    well(hosted.start(&[API_SERVER]));
    well(hosted.wait_until_ready());
    let refused = kubectl(admin, "create secret generic some").unwrap_err();
    let refused = refused.chain();
    assert!(refused.contains("policy.example.com"), "{refused}");
    well(kubectl(admin, "create configmap some"));
    well(kubectl(
        admin,
        "delete validatingwebhookconfiguration policy",
    ));
}

/// A server that the pods have no route to answers once an agent of konnectivity
/// has called from there.
fn the_api_server_asks_through_the_tunnel(hosted: &Hosted, admin: &Access, folder: &Path) {
    apply(admin, folder, NODE);
    let files = folder.join("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("hello.txt"), "from where the nodes are\n").unwrap();
    let listen = format!("{OUTSIDE}:{OUTSIDE_PORT}");
    let web = ProcessSpec::new("httpd", "busybox", folder)
        .within(hosted.admin().name())
        .args(["httpd", "-f", "-p", &listen, "-h"])
        .args([&files]);
    let _web = well(web.spawn());
    let rule = "rule add to 10.77.0.1 ipproto tcp dport 8081 prohibit";
    well(hosted.network().ip(&rule.split(' ').collect::<Vec<_>>()));
    let direct = format!("http://{listen}/hello.txt");
    let mut curl = hosted.network().command("curl");
    curl.args(["-sS", "--max-time", "5", &direct]);
    assert!(process::output(curl).is_err(), "there is a route");
    let ask = || kubectl(admin, &format!("get --raw {THROUGH} --request-timeout 20s"));
    let none = ask().unwrap_err().chain();
    assert!(
        none.contains("proxy error") || none.contains("o agent"),
        "{none}"
    );

    let mut agent: Process = well(hosted.start_agent());
    let answer = until(Duration::from_secs(60), || {
        well(agent.check());
        ask().ok()
    });
    let Some(answer) = answer else {
        let server = fs::read_to_string(hosted.log(KONNECTIVITY)).unwrap_or_default();
        panic!("agent: {}\nserver: {server}", agent.log_tail(20));
    };
    assert_eq!(answer, "from where the nodes are\n");
    a_webhook_is_asked_through_it(hosted, admin, folder);
}

/// A webhook behind a Service, whose address means something on nodes alone.
fn a_webhook_is_asked_through_it(hosted: &Hosted, admin: &Access, folder: &Path) {
    const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);
    let network = hosted.admin();
    well(network.ip(&["addr", "add", &format!("{SERVICE}/32"), "dev", "lo"]));
    let listener = well(network.listen((SERVICE, 443).into()));
    let webhook = Webhook::new(listener, "policy.default.svc");
    let pem = folder.join("webhook.pem");
    fs::write(&pem, &webhook.pem).unwrap();
    let bundle = well(process::run("base64", ["-w0", &pem.display().to_string()]));
    let with_ca = format!("port: 443}}, caBundle: {}}}", bundle.trim());
    apply(admin, folder, &POLICY.replace("port: 443}}", &with_ca));
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| webhook.refuse_one("by policy", Duration::from_secs(60)));
        let refused = kubectl(admin, "create secret generic other");
        assert!(asked.join().unwrap(), "nobody asked: {refused:?}");
        refused.unwrap_err().chain()
    });
    assert!(
        refused.contains("denied the request: by policy"),
        "{refused}"
    );
    well(kubectl(
        admin,
        "delete validatingwebhookconfiguration policy",
    ));
}

/// The leaf certificates that a renewal made are shown to clients by programs that
/// were not started again.
fn a_renewed_certificate_is_shown(hosted: &Hosted) {
    let before = (certificate(hosted, "ca"), certificate(hosted, "apiserver"));
    well(hosted.run("cronjob/c1-pki", "pki"));
    assert_eq!(before.0, certificate(hosted, "ca"));
    assert_ne!(before.1, certificate(hosted, "apiserver"));
    let serves = || {
        let mut curl = hosted.network().command("curl");
        curl.args(["-sk", "--max-time", "5", "-w", "%{certs}"]);
        curl.arg(format!("https://{}/livez", hosted::ENDPOINT));
        let shown = process::output(curl).unwrap_or_default();
        let serial = shown.lines().find(|line| line.starts_with("Serial Number"));
        serial.map(str::to_owned)
    };
    let old = serves().expect("it shows a certificate");
    for component in [API_SERVER, ETCD] {
        well(hosted.refresh(component));
    }
    let shown = until(Duration::from_secs(150), || {
        serves().filter(|serial| *serial != old)
    });
    assert!(shown.is_some(), "it still shows {old}");
}

/// Everything is lost but the backup.
fn a_backup_brings_it_back(hosted: &mut Hosted, admin: &Access) {
    well(kubectl(admin, "create namespace kept"));
    well(hosted.run("cronjob/c1-etcd-backup", "backup"));
    well(kubectl(admin, "create namespace lost"));
    hosted.stop_all();
    fs::remove_dir_all(hosted.pods().claim("data-c1-etcd-0")).unwrap();
    well(hosted.upgrade(&[VALUES, "etcd.restoreFrom=latest"]));
    let restore = ("statefulset/c1-etcd", "restore");
    let restored = well(hosted.pods().run(restore.0, restore.1, "c1-etcd-0"));
    assert!(restored.contains("restoring etcd-"), "{restored}");
    well(hosted.start(&hosted::COMPONENTS));
    well(hosted.wait_until_ready());
    well(kubectl(admin, "get namespace kept"));
    assert!(kubectl(admin, "get namespace lost").is_err());
}

/// Those pods are rolled that have the CA.
fn pods_are_rolled_for_a_new_ca(hosted: &Hosted) {
    let name = "c1-pki-front-proxy-ca";
    let before = certificate(hosted, "front-proxy-ca");
    replace(hosted, name, &certificate(hosted, "sa"));
    assert_eq!(rolled(hosted), 3);
    replace(hosted, name, &before);
}

fn replace(hosted: &Hosted, secret: &str, certificate: &str) {
    let patch = format!("{{\"data\":{{\"tls.crt\":{certificate:?}}}}}");
    let patch = ["-n", "cluster1", "patch", "secret", secret, "-p", &patch];
    well(hosted.plane().kubectl_output(&patch));
}

/// Runs the job that rolls pods; how many workloads it rolled.
fn rolled(hosted: &Hosted) -> usize {
    const ROLLED: &str = "its certificates changed, rolling";
    let log = hosted.pods().folder.join("cronjob-c1-roll-roll.log");
    // The log of a pod of that name goes on.
    let before = fs::read_to_string(log).unwrap_or_default();
    let after = well(hosted.run("cronjob/c1-roll", "roll"));
    after.matches(ROLLED).count() - before.matches(ROLLED).count()
}

/// A certificate of the PKI, as its Secret has it.
fn certificate(hosted: &Hosted, name: &str) -> String {
    let name = format!("c1-pki-{name}");
    let path = "jsonpath={.data.tls\\.crt}";
    let get = ["-n", "cluster1", "get", "secret", &name, "-o", path];
    well(hosted.plane().kubectl_output(&get))
}
