//! Loads modules: for every device of the machine, and by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use super::index::{FILE_NAME, ModuleIndex, STORAGE_FILE_NAME};
use crate::initramfs::decompress::SUFFIXES;
use crate::kernel::{self, Kernel, Loaded, ModuleFile};
use crate::log::{Log, chain};

/// A new device can bring more devices: a bridge its bus, virtio-pci its virtio
/// devices. More layers than this no machine has.
const MAX_ROUNDS: u32 = 8;

/// Loads modules from one index.
#[derive(Debug)]
pub struct Loader {
    folder: PathBuf,
    index: ModuleIndex,
    /// Names that need no further attempt.
    tried: BTreeSet<String>,
    seen: BTreeSet<String>,
    parameters: BTreeMap<String, String>,
    /// Names of the modules that are being loaded, and what comes of each.
    behind: Option<(Vec<String>, Receiver<kernel::Result<Loaded>>)>,
    /// Names of the modules in the kernel by our doing, in order.
    pub loaded: Vec<String>,
    /// Those of them that the kernel had to be given unpacked.
    pub unpacked: Vec<String>,
}

impl Loader {
    /// A loader of the modules in `folder`, which is `/lib/modules/RELEASE`. A
    /// folder without index is one without modules: everything may be built in.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        Self::open_index(folder, FILE_NAME)
    }

    /// The same for the drivers of local disks.
    #[must_use]
    pub fn open_storage(folder: &Path) -> Self {
        Self::open_index(folder, STORAGE_FILE_NAME)
    }

    fn open_index(folder: &Path, name: &str) -> Self {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        Self {
            folder: folder.to_owned(),
            index: ModuleIndex::parse(&text),
            tried: BTreeSet::new(),
            seen: BTreeSet::new(),
            parameters: BTreeMap::new(),
            behind: None,
            loaded: Vec::new(),
            unpacked: Vec::new(),
        }
    }

    /// Takes module options from the kernel command line, where they are written
    /// `MODULE.OPTION=VALUE` as for a module that is built in; modprobe reads
    /// them there too.
    #[must_use]
    pub fn with_parameters(mut self, cmdline: &str) -> Self {
        for word in cmdline.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let Some((module, option)) = key.split_once('.') else {
                continue;
            };
            let all = self.parameters.entry(module.replace('-', "_")).or_default();
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(option);
            if word.contains('=') {
                all.push('=');
                all.push_str(value);
            }
        }
        // Else the driver makes a bond0 of its own when it is loaded.
        let bonding = self.parameters.entry("bonding".to_owned()).or_default();
        if !bonding.contains("max_bonds") {
            *bonding = format!("max_bonds=0 {bonding}").trim_end().to_owned();
        }
        self
    }

    /// Whether the initramfs carries any module for this kernel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.modules.is_empty()
    }

    /// Loads what the devices below `sys` ask for, until no new device appears.
    pub fn coldplug(&mut self, sys: &Path, kernel: &mut dyn Kernel, log: &Log) {
        for _ in 0..MAX_ROUNDS {
            let new: Vec<String> = modaliases(sys)
                .into_iter()
                .filter(|alias| !self.seen.contains(alias))
                .collect();
            if new.is_empty() {
                return;
            }
            for modalias in new {
                let wanted: Vec<String> = self
                    .index
                    .for_device(&modalias)
                    .map(str::to_owned)
                    .collect();
                for name in wanted {
                    self.load(&name, kernel, log);
                }
                self.seen.insert(modalias);
            }
        }
    }

    /// Loads one module with all it needs. What fails is a warning: a driver may
    /// find that the device is not for it, and what is really missing shows in
    /// the phase that needs it.
    pub fn load(&mut self, name: &str, kernel: &mut dyn Kernel, log: &Log) {
        for module in self.due(name) {
            let result = kernel.load_module(&module.file, &module.parameters);
            self.note(module.name, result, log);
        }
    }

    /// Begins to load modules that nothing needs at once.
    pub fn load_behind(&mut self, names: &[&str], kernel: &mut dyn Kernel) {
        let modules: Vec<ModuleFile> = names.iter().flat_map(|name| self.due(name)).collect();
        let names = modules.iter().map(|module| module.name.clone()).collect();
        self.behind = Some((names, kernel.load_modules_behind(modules)));
    }

    /// Waits for what [`Loader::load_behind`] began.
    pub fn wait(&mut self, log: &Log) {
        let Some((names, results)) = self.behind.take() else {
            return;
        };
        for (name, result) in names.into_iter().zip(results) {
            self.note(name, result, log);
        }
    }

    /// The modules that have to be loaded for this one, each at most once.
    fn due(&mut self, name: &str) -> Vec<ModuleFile> {
        let order = self.index.in_order(name).into_iter().map(str::to_owned);
        let order: Vec<String> = order.collect();
        let mut due = Vec::new();
        for name in order {
            let Some(module) = self.index.modules.get(&name) else {
                continue;
            };
            if !self.tried.insert(name.clone()) {
                continue;
            }
            let parameters = self.parameters.get(&name.replace('-', "_"));
            due.push(ModuleFile {
                file: find(&self.folder, &module.path),
                parameters: parameters.cloned().unwrap_or_default(),
                name,
            });
        }
        due
    }

    fn note(&mut self, name: String, result: kernel::Result<Loaded>, log: &Log) {
        match result {
            Ok(Loaded::Now) => self.loaded.push(name),
            Ok(Loaded::Unpacked) => {
                self.unpacked.push(name.clone());
                self.loaded.push(name);
            }
            Ok(Loaded::Before) => {}
            Err(error) => log.warn(&chain(&error)),
        }
    }
}

/// The module's file. Who adds one to an initramfs, or builds the whole of it, may
/// pack it otherwise than the index has it.
fn find(folder: &Path, path: &str) -> PathBuf {
    let named = folder.join(path);
    let Some((stem, _)) = path.rsplit_once(".ko").filter(|_| !named.exists()) else {
        return named;
    };
    let others = SUFFIXES.map(|suffix| folder.join(format!("{stem}.ko{suffix}")));
    let found = others.into_iter().find(|file| file.exists());
    found.unwrap_or(named)
}

/// The modaliases of all devices, each once, sorted.
fn modaliases(sys: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(buses) = fs::read_dir(sys.join("bus")) else {
        return found;
    };
    for bus in buses.flatten() {
        let Ok(devices) = fs::read_dir(bus.path().join("devices")) else {
            continue;
        };
        for device in devices.flatten() {
            if let Ok(text) = fs::read_to_string(device.path().join("modalias")) {
                found.insert(text.trim_end().to_owned());
            }
        }
    }
    found.remove("");
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fake::FakeKernel;

    #[test]
    fn module_options_come_from_the_command_line() {
        let loader = Loader::open(Path::new("/nowhere"))
            .with_parameters("quiet mlx4_core.num_vfs=8 mlx4-core.debug bonding.tx_queues=4");
        assert_eq!(loader.parameters["mlx4_core"], "num_vfs=8 debug");
        assert_eq!(loader.parameters["bonding"], "max_bonds=0 tx_queues=4");
    }

    #[test]
    fn devices_get_their_modules_once_and_in_order() {
        let base = tempfile::tempdir().unwrap();
        let device = base.path().join("sys/bus/pci/devices/0000:00:01.0");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("modalias"), "pci:v1d2\n").unwrap();
        let folder = base.path().join("modules");
        fs::create_dir_all(&folder).unwrap();
        let index = "module nic nic.ko bus\nmodule bus bus.ko\nalias nic pci:v1d*\n";
        fs::write(folder.join(FILE_NAME), index).unwrap();
        let mut kernel = FakeKernel::new(base.path());
        let mut loader = Loader::open(&folder);
        loader.coldplug(&base.path().join("sys"), &mut kernel, &Log::new());
        loader.load("nic", &mut kernel, &Log::new());
        assert_eq!(
            kernel.calls,
            ["module /modules/bus.ko", "module /modules/nic.ko"]
        );
        assert_eq!(loader.loaded, ["bus", "nic"]);
    }

    #[test]
    fn a_file_is_found_whatever_packs_it() {
        let base = tempfile::tempdir().unwrap();
        let index = "module a a.ko\nmodule b b.ko.xz\nmodule c c.ko.xz\nmodule d d.ko\n";
        fs::write(base.path().join(FILE_NAME), index).unwrap();
        for name in ["a.ko.zst", "b.ko", "c.ko.xz", "c.ko"] {
            fs::write(base.path().join(name), "").unwrap();
        }
        let mut kernel = FakeKernel::new(base.path());
        let mut loader = Loader::open(base.path());
        for name in ["a", "b", "c", "d"] {
            loader.load(name, &mut kernel, &Log::new());
        }
        let files = ["a.ko.zst", "b.ko", "c.ko.xz", "d.ko"];
        assert_eq!(kernel.calls, files.map(|file| format!("module /{file}")));
    }

    #[test]
    fn a_failing_module_is_a_warning() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(FILE_NAME), "module x x.ko\n").unwrap();
        let mut kernel = FakeKernel::new(base.path());
        kernel.fail("module", 1);
        let log = Log::new();
        let mut loader = Loader::open(base.path());
        loader.load("x", &mut kernel, &log);
        assert!(loader.loaded.is_empty());
        assert!(
            log.tail().contains("WARNING: module /x.ko: told to fail"),
            "{}",
            log.tail()
        );
    }
}
