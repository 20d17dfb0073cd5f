//! A farm for a test: started, watched, and explained when it fails.

use std::path::{Path, PathBuf};
use std::time::Duration;

use boot_proto::ids::SlotId;
use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::layout::Cartridge;
use moonfarm_tests::lab::farm::manifests::{Facts, Manifest};
use moonfarm_tests::lab::farm::{Artefacts, ClusterOptions, Farm, FarmOptions, Stage, progress};
use moonfarm_tests::lab::{Firmware, QemuMachine, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::{Deadline, until};
use serde_json::Value;

/// How long a node may take from power-on to Ready on a slow machine.
pub const TO_READY: Duration = Duration::from_secs(400);
/// Lines of a console that a failure shows.
const CONSOLE_LINES: usize = 40;

/// A farm in a folder that is kept when the test fails.
pub struct TestFarm {
    pub farm: Farm,
    started: Deadline,
    // Dropped last.
    _folder: Folder,
}

struct Folder(Option<tempfile::TempDir>);

impl Folder {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("there until it is dropped").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take()
            && std::thread::panicking()
        {
            println!(
                "logs, consoles and manifests are in {}",
                folder.keep().display()
            );
        }
    }
}

/// The parts of a farm; `None`, with the reason printed, where one is missing.
pub fn artefacts() -> Option<Artefacts> {
    if !needs::has_virtual_machines() {
        return None;
    }
    Some(Artefacts {
        programs: needs::folder("MOONFARM_PROGRAMS")?,
        kube: needs::folder("MOONFARM_KUBE_BIN")?,
        image: needs::folder("MOONFARM_IMAGE")?,
    })
}

/// A cartridge with BIOS in the first node of slot `number`.
pub fn cartridge(number: u8) -> Cartridge {
    Cartridge {
        slot: SlotId::new(number, 1).expect("a slot"),
        firmware: Firmware::Bios,
    }
}

impl TestFarm {
    /// Starts a farm and prints what it is at.
    pub fn start(
        artefacts: Artefacts,
        cartridges: Vec<Cartridge>,
        cluster: Option<ClusterOptions>,
        manifests: &dyn Fn(&Facts<'_>) -> Vec<Manifest>,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("moonfarm-vm-")
            .tempdir()
            .expect("a folder");
        let folder = Folder(Some(folder));
        let started = Deadline::after(Duration::MAX);
        let farm = Farm::start(FarmOptions {
            artefacts,
            folder: folder.path(),
            cartridges,
            cluster,
            manifests,
            progress: &mut |step| {
                println!("{:6.1} s  {step}", started.elapsed().as_secs_f32());
                Ok(())
            },
        });
        let farm = farm.unwrap_or_else(|error| panic!("starting the farm: {}", error.chain()));
        Self {
            farm,
            started,
            _folder: folder,
        }
    }

    /// A line with the time since the start.
    pub fn say(&self, text: &str) {
        println!("{:6.1} s  {text}", self.started.elapsed().as_secs_f32());
    }

    /// Waits until boot-server and Kubernetes both have `machine` as Ready in a
    /// boot that began after `since`.
    pub fn wait_until_ready(&mut self, machine: &str, since: WallClock, console: &Path) {
        let mut shown = String::new();
        let is_ready = until(TO_READY, || {
            self.farm
                .check()
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            let boots = self
                .farm
                .boots()
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            let now = progress(machine, Some(since), &boots);
            if now.phase != shown {
                self.say(&format!(
                    "{machine}: {} {}",
                    now.phase,
                    now.reason.as_deref().unwrap_or("")
                ));
                shown.clone_from(&now.phase);
            }
            (now.stage == Stage::Ready && self.is_ready(machine)).then_some(())
        });
        if is_ready.is_none() {
            self.explain(machine, since, console);
            panic!("{machine} is not Ready within {} s", TO_READY.as_secs());
        }
        self.say(&format!("{machine}: Ready"));
    }

    /// Prints where a machine is and what its console said last.
    pub fn explain(&self, machine: &str, since: WallClock, console: &Path) {
        match self.farm.boots() {
            Ok(boots) => println!("{:?}", progress(machine, Some(since), &boots)),
            Err(error) => println!("{}", error.chain()),
        }
        println!(
            "the console of {machine} ends:\n{}",
            console::last_lines(console, CONSOLE_LINES)
        );
    }

    /// The file with a cartridge's console.
    pub fn console(&self, cartridge: &Cartridge) -> PathBuf {
        cartridge.spec(self.farm.layout()).console_log()
    }

    /// The Node of this name, or null.
    pub fn node(&self, name: &str) -> Value {
        let answer = self
            .farm
            .control_plane()
            .kubectl_output(&["get", "node", name, "--output", "json"]);
        answer
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Whether Kubernetes has the Node of this name as Ready.
    pub fn is_ready(&self, name: &str) -> bool {
        self.farm.control_plane().is_node_ready(name)
    }
}

impl TestFarm {
    /// When the kubelet of this node last renewed its Lease, as RFC 3339 has it.
    pub fn last_heartbeat(&self, node: &str) -> String {
        let path = ["--output", "jsonpath={.spec.renewTime}"];
        let get = ["--namespace", "kube-node-lease", "get", "lease", node];
        let answer = self
            .farm
            .control_plane()
            .kubectl_output(&[&get[..], &path].concat());
        answer.unwrap_or_else(|error| panic!("{}", error.chain()))
    }
}

/// A condition of a Node.
pub fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Its internal address.
pub fn internal_address(node: &Value) -> Option<String> {
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses
        .iter()
        .find(|address| address["type"] == "InternalIP")?;
    internal["address"].as_str().map(str::to_owned)
}

/// The moment now, as boot-server has it.
pub fn now() -> WallClock {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    WallClock(u64::try_from(since_epoch.as_millis()).expect("a time of this age"))
}

/// Takes a picture of a machine's screen where somebody wants to look at it: into
/// the folder that `MOONFARM_PICTURES` names.
pub fn keep_picture(machine: &mut QemuMachine, name: &str) {
    let Some(folder) = std::env::var_os("MOONFARM_PICTURES").map(PathBuf::from) else {
        return;
    };
    let file = folder.join(format!("{name}.png"));
    machine
        .picture(&file)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}
