//! A whole farm in one namespace: control plane, boot-server, chassis-agent, a
//! virtual chassis with QEMU cartridges, each a process of its own. Where the API
//! server is the store, a second boot-server runs on a host beside it.

pub mod layout;
pub mod manifests;
mod programs;
mod servers;
mod store;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use boot_proto::api::{BootView, LeaseView, MachineView};
use boot_proto::image::ImageManifest;
use boot_proto::time::WallClock;
use serde::de::DeserializeOwned;

use crate::chassis::{self, ChassisModel, Node, VirtualChassis};
use crate::kube::{ControlPlane, Options};
use crate::lab::process::output;
use crate::lab::{LabError, MachineSpec, Namespace, Process, QemuMachine, QemuNode};
use layout::{Cartridge, Layout, STRAY_TAP};
use manifests::{ClusterFacts, Facts, Manifest};
use programs::Programs;
use servers::BootServer;

pub use watch::{NodeProgress, Stage, latest_boot, progress};

/// Where the parts of a farm are, as `cargo xtask` provides them.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// Folder with boot-server, chassis-agent and virtual-chassis.
    pub programs: PathBuf,
    /// Folder with the Kubernetes programs.
    pub kube: PathBuf,
    /// Folder of the node image.
    pub image: PathBuf,
}

/// What a farm's Kubernetes is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterOptions {
    /// How long a node may be silent until it counts as NotReady; without it the
    /// release's own default.
    pub node_grace: Option<Duration>,
    /// Whether its API server is the store, which two boot-servers share.
    pub is_store: bool,
}

/// Is told each step of a farm's start.
pub type Progress<'a> = dyn FnMut(&str) -> Result<(), LabError> + 'a;

/// What a farm is to be.
pub struct FarmOptions<'a> {
    /// Where its parts are.
    pub artefacts: Artefacts,
    /// An empty folder for all its files.
    pub folder: &'a Path,
    /// Virtual machines in the chassis.
    pub cartridges: Vec<Cartridge>,
    /// The Kubernetes control plane, if there is to be one.
    pub cluster: Option<ClusterOptions>,
    /// Manifests beyond the common ones.
    pub manifests: &'a dyn Fn(&Facts<'_>) -> Vec<Manifest>,
    /// Told each step as it begins; an error ends the start there.
    pub progress: &'a mut Progress<'a>,
}

/// A running farm; dropping it stops everything. The folder is its maker's.
pub struct Farm {
    programs: Programs,
    layout: Layout,
    kube: PathBuf,
    cartridges: Vec<Cartridge>,
    // Dropped in this order; the namespace last, with all that is still in it.
    chassis_agent: Process,
    chassis: VirtualChassis,
    // The first is the one that is asked; never empty.
    boot_servers: Vec<BootServer>,
    control_plane: Option<ControlPlane>,
    namespace: Namespace,
}

impl Farm {
    /// Starts a farm. Its machines are off until something powers them on.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub fn start(options: FarmOptions<'_>) -> Result<Self, LabError> {
        let FarmOptions {
            artefacts,
            folder,
            cartridges,
            cluster,
            manifests,
            progress,
        } = options;
        let layout = Layout::new(folder);
        progress("network namespace")?;
        let namespace = network(&cartridges)?;
        let control_plane = match cluster {
            Some(cluster) => Some(control_plane(
                &artefacts, &namespace, &layout, cluster, progress,
            )?),
            None => None,
        };
        progress("manifests and image")?;
        let is_store = cluster.is_some_and(|cluster| cluster.is_store);
        let facts = Facts {
            layout: &layout,
            cluster: control_plane.as_ref().map(cluster_facts),
            image: &image_name(&artefacts.image)?,
            has_secrets: is_store,
        };
        write_files(&facts, manifests(&facts))?;
        let store = control_plane.as_ref().filter(|_| is_store);
        let kubeconfig = store.map(ControlPlane::kubeconfig);
        let programs = Programs::new(&artefacts.programs, namespace.name(), &layout, kubeconfig);
        match store {
            Some(plane) => store::apply(plane, &layout)?,
            None => output(programs.check_manifests()).map(drop)?,
        }
        progress("boot-server")?;
        let image = &artefacts.image;
        let mut boot_servers = vec![BootServer::first(&programs, &namespace, &layout, image)?];
        if is_store {
            progress("a second boot-server, on a host of its own")?;
            boot_servers.push(BootServer::second(&programs, &namespace, &layout, image)?);
        }
        progress("virtual chassis")?;
        let chassis = virtual_chassis(&namespace, &layout, &cartridges)?;
        progress("chassis-agent")?;
        let chassis_agent = programs.chassis_agent().spawn()?;
        Ok(Self {
            programs,
            layout,
            kube: artefacts.kube,
            cartridges,
            chassis_agent,
            chassis,
            boot_servers,
            control_plane,
            namespace,
        })
    }

    /// Where its files are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its control plane.
    ///
    /// # Panics
    /// When it was started without one.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        self.control_plane
            .as_ref()
            .expect("this farm has no control plane")
    }

    fn first(&mut self) -> &mut BootServer {
        &mut self.boot_servers[0]
    }

    /// Its boot-server; of two the first.
    pub fn boot_server(&mut self) -> &mut Process {
        &mut self.first().process
    }

    /// Its chassis-agent.
    pub fn chassis_agent(&mut self) -> &mut Process {
        &mut self.chassis_agent
    }

    /// Stops boot-server at once, until it is started again.
    pub fn stop_boot_server(&mut self) {
        self.boot_server().kill();
    }

    /// Kills a boot-server of two with `-9`, for good.
    ///
    /// # Errors
    /// When it is no boot-server of this farm, or the only one.
    pub fn lose_boot_server(&mut self, name: &str) -> Result<(), LabError> {
        let lost = self
            .boot_servers
            .iter()
            .position(|server| server.host.name == name);
        match lost.filter(|_| self.boot_servers.len() > 1) {
            Some(index) => {
                self.boot_servers.remove(index);
                Ok(())
            }
            None => Err(LabError::Other(format!("{name} is not one of two"))),
        }
    }

    /// Starts boot-server anew with further options.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn serve_with(&mut self, options: &[String]) -> Result<(), LabError> {
        let programs = self.programs.clone();
        self.first().serve_with(&programs, options)
    }

    /// Adds an image to boot-server's store, or adds it again.
    ///
    /// # Errors
    /// When it is none.
    pub fn add_image(&self, image: &Path) -> Result<(), LabError> {
        for server in &self.boot_servers {
            output(self.programs.add_image(&server.host, image))?;
        }
        Ok(())
    }

    /// Starts boot-server again and waits for its first answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn restart_boot_server(&mut self) -> Result<(), LabError> {
        let programs = self.programs.clone();
        self.first().restart(&programs)
    }

    /// The chassis manager, which runs in our process.
    #[must_use]
    pub fn chassis(&self) -> &VirtualChassis {
        &self.chassis
    }

    /// The cartridges with a machine.
    #[must_use]
    pub fn cartridges(&self) -> &[Cartridge] {
        &self.cartridges
    }

    /// Runs `chassis-agent ARGUMENTS` against the virtual chassis.
    ///
    /// # Errors
    /// When it fails.
    pub fn chassis_command(&self, arguments: &[&str]) -> Result<String, LabError> {
        output(self.programs.chassis_command(arguments))
    }

    /// Runs `boot-server ARGUMENTS` with the state of the first server and returns
    /// what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn boot_server_command(&self, arguments: &[&str]) -> Result<String, LabError> {
        let host = &self.boot_servers[0].host;
        output(self.programs.boot_server_command(host, arguments))
    }

    /// Runs `boot-server get ARGUMENTS` and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn get(&self, arguments: &[&str]) -> Result<String, LabError> {
        output(self.programs.get(&self.boot_servers[0].host, arguments))
    }

    /// All boots; each boot-server has those that it was asked in.
    ///
    /// # Errors
    /// When a boot-server does not answer.
    pub fn boots(&self) -> Result<Vec<BootView>, LabError> {
        let boots = self.boots_by_server()?;
        Ok(boots.into_iter().flat_map(|(_, boots)| boots).collect())
    }

    /// All boots, by the name of the boot-server that has them.
    ///
    /// # Errors
    /// When a boot-server does not answer.
    pub fn boots_by_server(&self) -> Result<Vec<(&str, Vec<BootView>)>, LabError> {
        let mut all = Vec::new();
        for BootServer { host, .. } in &self.boot_servers {
            let text = output(self.programs.get(host, &["boots", "-o", "json"]))?;
            all.push((host.name.as_str(), parse("boots", &text)?));
        }
        Ok(all)
    }

    /// All machines, as boot-server knows them.
    ///
    /// # Errors
    /// When boot-server does not answer.
    pub fn machines(&self) -> Result<Vec<MachineView>, LabError> {
        self.get_json("machines")
    }

    /// All leases, as boot-server knows them.
    ///
    /// # Errors
    /// When boot-server does not answer.
    pub fn leases(&self) -> Result<Vec<LeaseView>, LabError> {
        self.get_json("leases")
    }

    fn get_json<T: DeserializeOwned>(&self, what: &str) -> Result<T, LabError> {
        parse(what, &self.get(&[what, "-o", "json"])?)
    }

    /// When a machine was last powered on; `None` while it never was.
    #[must_use]
    pub fn powered_on(&self, machine: &str) -> Option<WallClock> {
        // QEMU makes its monitor's socket when it starts.
        let socket = self.layout.machine(machine).join("monitor.sock");
        let made = fs::metadata(socket).and_then(|file| file.modified()).ok()?;
        let since_epoch = made.duration_since(UNIX_EPOCH).ok()?;
        Some(WallClock(
            u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        ))
    }

    /// How far each cartridge is, and how long it has been on.
    ///
    /// # Errors
    /// When boot-server does not answer.
    pub fn progress(&self) -> Result<Vec<(NodeProgress, Option<Duration>)>, LabError> {
        let boots = self.boots()?;
        let node = |cartridge: &Cartridge| {
            let name = cartridge.name();
            let powered_on = self.powered_on(&name);
            let on_for =
                powered_on.and_then(|at| (UNIX_EPOCH + Duration::from_millis(at.0)).elapsed().ok());
            (progress(&name, powered_on, &boots), on_for)
        };
        Ok(self.cartridges.iter().map(node).collect())
    }

    /// The kubectl that fits the control plane.
    #[must_use]
    pub fn kubectl_program(&self) -> PathBuf {
        self.kube.join("kubectl")
    }

    /// `boot-server get WHAT` as a person types it.
    #[must_use]
    pub fn get_command_line(&self, what: &str) -> String {
        let command = self.programs.get(&self.boot_servers[0].host, &[what]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A machine outside the chassis that nobody declared, off.
    #[must_use]
    pub fn stray(&self, firmware: crate::lab::Firmware) -> QemuMachine {
        QemuMachine::new(
            layout::stray(&self.layout, firmware),
            Some(self.namespace.name()),
        )
    }

    /// A machine in its namespace, off.
    #[must_use]
    pub fn machine(&self, spec: MachineSpec) -> QemuMachine {
        QemuMachine::new(spec, Some(self.namespace.name()))
    }

    /// An error if one of its processes ended by itself.
    ///
    /// # Errors
    /// When one did.
    pub fn check(&mut self) -> Result<(), LabError> {
        for server in &mut self.boot_servers {
            server.process.check()?;
        }
        self.chassis_agent.check()?;
        self.control_plane
            .as_mut()
            .map_or(Ok(()), ControlPlane::check)
    }
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, LabError> {
    serde_json::from_str(text)
        .map_err(|error| LabError::Other(format!("boot-server get {what}: {error}")))
}

fn network(cartridges: &[Cartridge]) -> Result<Namespace, LabError> {
    let namespace = Namespace::create()?;
    namespace.add_bridge(layout::BRIDGE, &format!("{}/24", layout::SERVER))?;
    namespace.add_bridge(
        layout::MANAGEMENT_BRIDGE,
        &format!("{}/24", layout::CHASSIS),
    )?;
    for cartridge in cartridges {
        for nic in 0..2 {
            namespace.add_tap(&cartridge.tap(nic), layout::BRIDGE)?;
        }
    }
    namespace.add_tap(STRAY_TAP, layout::BRIDGE)?;
    Ok(namespace)
}

/// A chassis manager that listens inside, with a machine in each cartridge.
fn virtual_chassis(
    namespace: &Namespace,
    layout: &Layout,
    cartridges: &[Cartridge],
) -> Result<VirtualChassis, LabError> {
    let mut model = ChassisModel::new();
    for cartridge in cartridges {
        let power = QemuNode::new(cartridge.spec(layout), Some(namespace.name()));
        let node = Node::new(Arc::new(power)).macs([cartridge.mac(0), cartridge.mac(1)]);
        let serial = cartridge.spec(layout).smbios.serial.unwrap_or_default();
        let filled = chassis::Cartridge::new("Virtual Cartridge")
            .serial(&serial)
            .node(node);
        model = model.with(cartridge.slot.cartridge(), filled);
    }
    let listener = namespace.listen((layout::CHASSIS, 22).into())?;
    let options = chassis::Options {
        user: programs::USER.into(),
        password: layout::PASSWORD.into(),
        settle: Duration::from_secs(1),
        model,
        ..chassis::Options::default()
    };
    VirtualChassis::start_on(listener, options)
        .map_err(|error| LabError::Other(format!("starting the virtual chassis: {error}")))
}

fn control_plane(
    artefacts: &Artefacts,
    namespace: &Namespace,
    layout: &Layout,
    cluster: ClusterOptions,
    progress: &mut Progress<'_>,
) -> Result<ControlPlane, LabError> {
    let mut options = Options::new(
        &artefacts.kube,
        namespace.name(),
        &layout.cluster(),
        layout::SERVER,
    );
    options.node_grace = cluster.node_grace;
    let mut told = Ok(());
    let plane = ControlPlane::start(&options, &mut |step| {
        if told.is_ok() {
            told = progress(&format!("Kubernetes: {step}"));
        }
    });
    told.and(plane)
}

fn cluster_facts(plane: &ControlPlane) -> ClusterFacts {
    ClusterFacts {
        endpoint: plane.endpoint(),
        ca_hash: plane.ca_hash().to_owned(),
        kubeconfig: plane.kubeconfig().display().to_string(),
    }
}

fn image_name(folder: &Path) -> Result<String, LabError> {
    let file = folder.join("manifest.json");
    let bytes = fs::read(&file).map_err(LabError::file("reading", &file))?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes)
        .map_err(|error| LabError::Other(format!("{}: {error}", file.display())))?;
    Ok(manifest.name)
}

fn write_files(facts: &Facts<'_>, own: Vec<Manifest>) -> Result<(), LabError> {
    let layout = facts.layout;
    for folder in [layout.manifests(), layout.state(), layout.agent_state()] {
        fs::create_dir_all(&folder).map_err(LabError::file("creating", &folder))?;
    }
    let password = layout.password();
    fs::write(&password, format!("{}\n", layout::PASSWORD))
        .map_err(LabError::file("writing", &password))?;
    for (name, text) in manifests::common(facts).into_iter().chain(own) {
        let file = layout.manifests().join(name);
        fs::write(&file, text).map_err(LabError::file("writing", &file))?;
    }
    Ok(())
}
