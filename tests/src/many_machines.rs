//! Thousands of Machines in an API server: how long a boot-server takes until it
//! serves, how much memory it has, and how much it asks at rest.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::charts::install_crds;
use crate::kube::{ControlPlane, Options};
use crate::lab::{LabError, Namespace, Process, ProcessSpec};
use crate::wait::{Deadline, until};

/// Namespace of the resources.
const NAMESPACE: &str = "farm";
/// How long a boot-server may take until it serves.
const START: Duration = Duration::from_secs(120);
/// How long the statuses of all Machines may take to be written.
const TELLING: Duration = Duration::from_secs(600);
const FARM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: farm}
---
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

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder with boot-server.
    pub programs: PathBuf,
    /// Folder with the Kubernetes programs.
    pub kube: PathBuf,
    /// How many Machines; a subnet of 16 bits has room for 30,000.
    pub machines: usize,
    /// How long it is watched at rest.
    pub rest: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// From the first start to the first answer.
    pub serves: Duration,
    /// From the first start until each Machine has its status.
    pub told: Duration,
    /// From a later start, with all statuses there, to the first answer.
    pub serves_again: Duration,
    /// Resident memory at rest, in MiB.
    pub rss_mib: u64,
    /// Requests to the API server a second at rest, beyond those that it has by
    /// itself.
    pub requests_per_sec: f64,
}

/// A control plane of its own with the Machines in it.
struct Site {
    plane: ControlPlane,
    network: Namespace,
    folder: PathBuf,
    plan: Plan,
}

/// Measures in `folder`; `say` is told each step as it begins.
///
/// # Errors
/// When a part does not start, or does not come to an end.
pub fn measure(plan: &Plan, folder: &Path, say: &dyn Fn(&str)) -> Result<Figures, LabError> {
    say("a control plane");
    let site = Site::new(plan, folder)?;
    say(&format!("making {} Machines", plan.machines));
    site.fill()?;
    say("requests without a boot-server");
    let idle = site.rate()?;
    say("a boot-server");
    let began = Deadline::after(Duration::MAX);
    let server = site.start()?;
    let serves = began.elapsed();
    site.wait_until_told(&server)?;
    let told = began.elapsed();
    say("requests with a boot-server at rest");
    std::thread::sleep(Duration::from_secs(5));
    let requests_per_sec = (site.rate()? - idle).max(0.0);
    let rss_mib = rss_mib(server.pid())?;
    drop(server);
    say("the boot-server again");
    let began = Deadline::after(Duration::MAX);
    let _server = site.start()?;
    Ok(Figures {
        serves,
        told,
        serves_again: began.elapsed(),
        rss_mib,
        requests_per_sec,
    })
}

impl Site {
    fn new(plan: &Plan, folder: &Path) -> Result<Self, LabError> {
        let network = Namespace::create()?;
        network.add_bridge("br0", "10.77.0.1/24")?;
        let address = Ipv4Addr::new(10, 77, 0, 1);
        let options = Options::new(&plan.kube, network.name(), &folder.join("plane"), address);
        let plane = ControlPlane::start(&options, &mut |_| {})?;
        install_crds(&plane);
        Ok(Self {
            plane,
            network,
            folder: folder.into(),
            plan: plan.clone(),
        })
    }

    fn fill(&self) -> Result<(), LabError> {
        for (name, text) in [
            ("farm.yaml", FARM.to_owned()),
            ("machines.yaml", machines(self.plan.machines)),
        ] {
            let file = self.folder.join(name);
            fs::write(&file, text).map_err(LabError::file("writing", &file))?;
            let file = file.display().to_string();
            let create = ["create", "--validate=false", "-f", &file];
            self.plane.kubectl_output(&create)?;
        }
        Ok(())
    }

    /// Starts a boot-server and waits for its first answer.
    fn start(&self) -> Result<Process, LabError> {
        let program = self.plan.programs.join("boot-server");
        let mut server = ProcessSpec::new("boot-server", program, &self.folder)
            .args(["serve", "--no-tftp", "--kubernetes"])
            .args(["--namespace", NAMESPACE])
            .args(["--kubeconfig".into(), self.plane.kubeconfig()])
            .args(["--state".into(), self.folder.join("state")])
            .within(self.network.name())
            .spawn()?;
        let answers = until(START, || {
            let mut curl = self.network.command("curl");
            curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
            curl.status().ok()?.success().then_some(())
        });
        server.check()?;
        answers.map(|()| server).ok_or_else(|| LabError::Late {
            what: "boot-server's first answer".into(),
            seconds: START.as_secs(),
            detail: String::new(),
        })
    }

    /// Waits until each Machine has been told its pool, which happens once.
    fn wait_until_told(&self, server: &Process) -> Result<(), LabError> {
        let pools = ["-o", "jsonpath={.items[*].status.pool}"];
        let get = [&["-n", NAMESPACE, "get", "machines"][..], &pools].concat();
        let told = until(TELLING, || {
            std::thread::sleep(Duration::from_secs(1));
            let text = self.plane.kubectl_output(&get).ok()?;
            (text.split_whitespace().count() == self.plan.machines).then_some(())
        });
        told.ok_or_else(|| LabError::Late {
            what: "the status of each Machine".into(),
            seconds: TELLING.as_secs(),
            detail: format!("; boot-server's log ends:\n{}", server.log_tail(20)),
        })
    }

    /// Requests a second over a while, without the one that asks.
    fn rate(&self) -> Result<f64, LabError> {
        let before = self.requests()?;
        std::thread::sleep(self.plan.rest);
        let made = self.requests()? - before - 1.0;
        Ok(made / self.plan.rest.as_secs_f64())
    }

    /// Requests that the API server has answered so far, watches among them.
    fn requests(&self) -> Result<f64, LabError> {
        let text = self.plane.kubectl_output(&["get", "--raw", "/metrics"])?;
        let of_requests = text
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"));
        Ok(of_requests
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

fn machines(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let (a, b) = (n / 250, n % 250);
        let _ = writeln!(
            text,
            "---\napiVersion: moonfarm.dev/v1alpha1\nkind: Machine\n\
             metadata: {{name: n-{n}, namespace: {NAMESPACE}}}\n\
             spec: {{pool: workers, macs: ['02:00:00:00:{a:02x}:{b:02x}'], address: 10.77.{}.{}}}",
            a + 100,
            b + 1
        );
    }
    text
}

fn rss_mib(pid: u32) -> Result<u64, LabError> {
    let file = PathBuf::from(format!("/proc/{pid}/status"));
    let status = fs::read_to_string(&file).map_err(LabError::file("reading", &file))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = rss.and_then(|rss| rss.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib / 1024)
        .ok_or_else(|| LabError::Other(format!("{} has no VmRSS", file.display())))
}
