//! Thousands of Machines in the API server: how long a boot-server takes until it
//! serves, how much memory it has, and how much it asks at rest.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::kubernetes_agent::Lab;

const MACHINES: usize = 5_000;
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(30);
const FARM: &str = r#"
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: workers, namespace: farm}
spec: {image: none}
---
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: lan, namespace: farm}
spec: {cidr: 10.77.0.0/16, probe: false}
"#;

fn machines() -> String {
    let mut text = String::new();
    for n in 0..MACHINES {
        let (a, b) = (n / 250, n % 250);
        let _ = writeln!(
            text,
            "---\napiVersion: moonfarm.dev/v1alpha1\nkind: Machine\n\
             metadata: {{name: n-{n}, namespace: farm}}\n\
             spec: {{pool: workers, macs: ['02:00:00:00:{a:02x}:{b:02x}'], address: 10.77.{}.{}}}",
            a + 100,
            b + 1
        );
    }
    text
}

/// Requests that the API server has answered so far, watches among them.
fn requests(lab: &Lab) -> f64 {
    let text = lab.kubectl("get --raw /metrics");
    text.lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Requests a second over a while, without the one that asks.
fn rate(lab: &Lab) -> f64 {
    let before = requests(lab);
    std::thread::sleep(REST);
    (requests(lab) - before - 1.0) / REST.as_secs_f64()
}

fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1024
}

#[test]
fn five_thousand_machines() {
    if !needs::is_long_run() {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    lab.kubectl("create namespace farm");
    lab.apply("farm.yaml", FARM);
    let file = lab.path("machines.yaml");
    std::fs::write(&file, machines()).unwrap();
    let began = Instant::now();
    let file = file.display().to_string();
    let made = lab
        .plane
        .kubectl_output(&["create", "--validate=false", "-f", &file]);
    made.unwrap_or_else(|error| panic!("{}", error.chain()));
    println!(
        "{MACHINES} Machines made in {:.0} s",
        began.elapsed().as_secs_f32()
    );
    let idle = rate(&lab);

    let began = Instant::now();
    let server = lab.boot_server();
    let serves = until(Duration::from_secs(60), || {
        let mut curl = lab.network.command("curl");
        curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
        curl.status().ok()?.success().then(|| began.elapsed())
    });
    let serves = serves.unwrap_or_else(|| panic!("{}", server.log_tail(20)));
    // Each Machine is told its pool, once.
    let told = until(Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_secs(2));
        let rest = lab.kubectl("-n farm get machines -o jsonpath={.items[*].status.pool}");
        (rest.split(' ').count() == MACHINES).then(|| began.elapsed())
    });
    let told = told.unwrap_or_else(|| panic!("{}", server.log_tail(20)));
    std::thread::sleep(Duration::from_secs(5));
    let rest = rate(&lab) - idle;
    let rss = rss_mib(server.pid());
    println!(
        "serves after {:.1} s, all statuses written after {:.0} s, {rss} MiB, {rest:.2} requests/s at rest",
        serves.as_secs_f32(),
        told.as_secs_f32()
    );
    drop(server);
    let began = Instant::now();
    let _server = lab.boot_server();
    let again = until(Duration::from_secs(60), || {
        let mut curl = lab.network.command("curl");
        curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
        curl.status().ok()?.success().then(|| began.elapsed())
    });
    println!("serves again after {:.1} s", again.unwrap().as_secs_f32());
    assert!(rest < 2.0, "{rest} requests/s at rest");
    assert!(rss < 512, "{rss} MiB");
}
