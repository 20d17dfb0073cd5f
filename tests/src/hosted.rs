//! A hosted control plane: the chart, installed by Helm into an API server of the
//! admin cluster, and its containers run as processes of a network namespace of
//! their own, beside the bridge that machines are on.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::{fs, time::Duration};

use crate::charts::{Helm, checkout, install_crds};
use crate::kube::{Access, ControlPlane, Options};
use crate::lab::{LabError, Namespace, Process};
use crate::pods::{Cluster, Pods};
use crate::wait::until;

/// Where nodes reach the hosted API server.
pub const ENDPOINT: &str = "10.77.0.20:6443";
/// The admin cluster's API server and the provisioning network's host.
pub const ADMIN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The bridge that machines are plugged into.
pub const BRIDGE: &str = "br0";
/// The release, and thus the beginning of all its names.
pub const RELEASE: &str = "c1";
/// The Kubernetes namespace that it is installed into.
pub const NAMESPACE: &str = "cluster1";
/// What the admin cluster's DNS would say.
const HOSTS: &str = "10.77.0.20 c1-etcd-0.c1-etcd.cluster1.svc c1-apiserver.cluster1.svc\n";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Folder of the Kubernetes programs of the version that the chart names.
    pub kube: PathBuf,
    /// Folder of Helm, etcd's tools and konnectivity.
    pub tools: PathBuf,
}

/// A long-running container of the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its workload, without the release's name.
    workload: (&'static str, &'static str),
    container: &'static str,
}

impl Component {
    /// `KIND/NAME` of its workload, and its first pod's name.
    fn names(self) -> (String, String) {
        let (kind, name) = self.workload;
        let name = format!("{RELEASE}-{name}");
        (format!("{kind}/{name}"), format!("{name}-0"))
    }
}

/// etcd's one member.
pub const ETCD: Component = component("statefulset", "etcd", "etcd");
/// The API server.
pub const API_SERVER: Component = component("deployment", "apiserver", "kube-apiserver");
/// konnectivity's server, in the API server's pod.
pub const KONNECTIVITY: Component = component("deployment", "apiserver", "konnectivity-server");
/// The controller manager.
pub const CONTROLLERS: Component = component(
    "deployment",
    "controller-manager",
    "kube-controller-manager",
);
/// The scheduler.
pub const SCHEDULER: Component = component("deployment", "scheduler", "kube-scheduler");
/// All of them, in the order of their need for each other.
pub const COMPONENTS: [Component; 5] = [ETCD, API_SERVER, KONNECTIVITY, CONTROLLERS, SCHEDULER];

const fn component(kind: &'static str, name: &'static str, container: &'static str) -> Component {
    Component {
        workload: (kind, name),
        container,
    }
}

/// A hosted control plane; dropping it stops everything.
pub struct Hosted {
    running: Vec<(Component, Process)>,
    plane: ControlPlane,
    programs: Programs,
    folder: PathBuf,
    values: PathBuf,
    // Last, with all that is still in them.
    pods: Namespace,
    admin: Namespace,
}

impl Hosted {
    /// Starts the admin cluster's API server, installs the chart with the values of
    /// this file of its `ci` folder and further ones, and makes its certificates.
    ///
    /// # Errors
    /// When a program is missing or fails.
    pub fn install(
        programs: Programs,
        folder: &Path,
        values: &str,
        set: &[&str],
    ) -> Result<Self, LabError> {
        let (admin, pods) = networks()?;
        let options = Options::new(&programs.kube, admin.name(), &folder.join("admin"), ADMIN);
        let plane = ControlPlane::start(&options, &mut |_| {})?;
        install_crds(&plane);
        let hosted = Self {
            running: Vec::new(),
            plane,
            programs,
            folder: folder.join("hosted"),
            values: chart().join("ci").join(values),
            pods,
            admin,
        };
        fs::create_dir_all(&hosted.folder).map_err(LabError::file("creating", &hosted.folder))?;
        hosted.upgrade(set)?;
        hosted.run("job/c1-pki-1", "pki")?;
        Ok(hosted)
    }

    /// Installs the chart anew with these values beyond those of the file.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn upgrade(&self, set: &[&str]) -> Result<(), LabError> {
        let helm = Helm {
            program: self.programs.tools.join("helm"),
            plane: &self.plane,
            network: &self.admin,
        };
        helm.install(RELEASE, &chart(), NAMESPACE, &self.values, set)
    }

    /// The admin cluster.
    #[must_use]
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The namespace with the admin cluster and the bridge of the machines.
    #[must_use]
    pub fn admin(&self) -> &Namespace {
        &self.admin
    }

    /// The namespace of the hosted pods.
    #[must_use]
    pub fn network(&self) -> &Namespace {
        &self.pods
    }

    /// What runs the chart's pods.
    #[must_use]
    pub fn pods(&self) -> Pods<'_> {
        self.pods_with(&self.programs.kube)
    }

    fn pods_with(&self, kube: &Path) -> Pods<'_> {
        Pods {
            cluster: &self.plane,
            namespace: NAMESPACE.into(),
            network: self.pods.name().into(),
            folder: self.folder.clone(),
            programs: vec![kube.to_owned(), self.programs.tools.clone()],
            hosts: HOSTS.into(),
        }
    }

    /// Runs a container to its end, as of a job; its log.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, workload: &str, container: &str) -> Result<String, LabError> {
        self.pods()
            .run(workload, container, &workload.replace('/', "-"))
    }

    /// The same with the Kubernetes programs of this folder.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_with(&self, kube: &Path, workload: &str, name: &str) -> Result<String, LabError> {
        let pod = workload.replace('/', "-");
        self.pods_with(kube).run(workload, name, &pod)
    }

    /// Starts components, or starts them anew as the cluster has them now.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self, components: &[Component]) -> Result<(), LabError> {
        let kube = self.programs.kube.clone();
        self.start_with(&kube, components)
    }

    /// The same with the Kubernetes programs of this folder.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_with(&mut self, kube: &Path, components: &[Component]) -> Result<(), LabError> {
        for component in components {
            self.stop(*component);
            let (workload, pod) = component.names();
            let process = self
                .pods_with(kube)
                .start(&workload, component.container, &pod)?;
            self.running.push((*component, process));
        }
        Ok(())
    }

    /// Gives a component's pod the Secrets and ConfigMaps as they are now.
    ///
    /// # Errors
    /// When one is not there.
    pub fn refresh(&self, component: Component) -> Result<(), LabError> {
        let (workload, pod) = component.names();
        self.pods().refresh(&workload, component.container, &pod)
    }

    /// Stops a component where it runs.
    pub fn stop(&mut self, component: Component) {
        self.running.retain(|(it, _)| *it != component);
    }

    /// Stops them all.
    pub fn stop_all(&mut self) {
        self.running.clear();
    }

    /// The log of a component.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn log(&self, component: Component) -> PathBuf {
        let running = self.running.iter().find(|(it, _)| *it == component);
        running.expect("it runs").1.spec().log.clone()
    }

    /// An error if a program ended by itself.
    ///
    /// # Errors
    /// When one did.
    pub fn check(&mut self) -> Result<(), LabError> {
        self.running
            .iter_mut()
            .try_for_each(|(_, process)| process.check())
    }

    /// The hosted cluster as its administrator reaches it; the bootstrap job has
    /// run once.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn administrator(&self) -> Result<Access, LabError> {
        // Its key files lie where the admin pod has them.
        let volumes = self.folder.join("pods/job-c1-bootstrap-1/volumes");
        let template = volumes.join("kubeconfig/admin.conf");
        let text = fs::read_to_string(&template).map_err(LabError::file("reading", &template))?;
        let keys = volumes.join("pki");
        let text = text
            .replace("/etc/kubernetes/admin", &keys.display().to_string())
            .replace("c1-apiserver.cluster1.svc:6443", ENDPOINT);
        let kubeconfig = self.folder.join("admin.conf");
        fs::write(&kubeconfig, text).map_err(LabError::file("writing", &kubeconfig))?;
        Ok(self.access(kubeconfig, keys.join("ca.crt")))
    }

    /// The hosted cluster as the account for boot-server reaches it, with the
    /// kubeconfig that the bootstrap job wrote into the admin cluster.
    ///
    /// # Errors
    /// When there is none.
    pub fn account(&self) -> Result<Access, LabError> {
        let template = "go-template={{.data.kubeconfig | base64decode}}";
        let secret = ["get", "secret", "c1-kubeconfig", "-o", template];
        let text = self
            .plane
            .kubectl_output(&[&["-n", NAMESPACE][..], &secret].concat())?;
        let kubeconfig = self.folder.join("moonfarm.conf");
        fs::write(&kubeconfig, text).map_err(LabError::file("writing", &kubeconfig))?;
        Ok(self.access(kubeconfig, PathBuf::new()))
    }

    fn access(&self, kubeconfig: PathBuf, authority: PathBuf) -> Access {
        Access {
            network: self.pods.name().into(),
            program: self.programs.kube.join("kubectl"),
            kubeconfig,
            endpoint: ENDPOINT.into(),
            authority,
        }
    }

    /// Starts konnectivity's agent out of the hosted cluster's DaemonSet, in the
    /// network that the nodes are on.
    ///
    /// # Errors
    /// When the DaemonSet is not there.
    pub fn start_agent(&self) -> Result<Process, LabError> {
        let cluster = self.administrator()?;
        let pods = Pods {
            cluster: &cluster as &dyn Cluster,
            namespace: "kube-system".into(),
            network: self.admin.name().into(),
            folder: self.folder.join("inside"),
            programs: vec![self.programs.tools.clone()],
            hosts: String::new(),
        };
        fs::create_dir_all(&pods.folder).map_err(LabError::file("creating", &pods.folder))?;
        pods.start(
            "daemonset/konnectivity-agent",
            "konnectivity-agent",
            "agent",
        )
    }

    /// Waits until the API server answers that it is ready.
    ///
    /// # Errors
    /// When it does not within two minutes.
    pub fn wait_until_ready(&mut self) -> Result<(), LabError> {
        const PATIENCE: Duration = Duration::from_secs(120);
        let cluster = self.administrator()?;
        let mut last = String::new();
        let ready = until(PATIENCE, || {
            if let Err(error) = self.check() {
                return Some(Err(error));
            }
            match cluster.run(&["get", "--raw", "/readyz", "--request-timeout", "5s"]) {
                Ok(_) => Some(Ok(())),
                Err(error) => {
                    last = error.chain();
                    None
                }
            }
        });
        ready.unwrap_or_else(|| {
            Err(LabError::Late {
                what: "the hosted API server".into(),
                seconds: PATIENCE.as_secs(),
                detail: format!(": {last}"),
            })
        })
    }
}

fn chart() -> PathBuf {
    checkout().join("deploy/helm/control-plane")
}

/// Two namespaces that reach each other: the admin cluster's, and the pods'.
fn networks() -> Result<(Namespace, Namespace), LabError> {
    let admin = Namespace::create()?;
    admin.add_bridge(BRIDGE, &format!("{ADMIN}/24"))?;
    let pods = Namespace::create()?;
    admin.add_host(&pods, "hosted", BRIDGE)?;
    pods.ip(&["addr", "add", "10.77.0.20/24", "dev", "eth0"])?;
    Ok((admin, pods))
}
