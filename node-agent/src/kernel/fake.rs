//! A kernel for tests: one ordered list of calls, what is mounted where, and a
//! call that can be told to fail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use super::{Kernel, KernelError, Loaded, ModuleFile, Mount, Result, Verity};

/// A kernel that only takes notes.
#[derive(Debug, Default)]
pub struct FakeKernel {
    /// Every call in order, such as `mount tmpfs /run`.
    pub calls: Vec<String>,
    /// What is mounted where now.
    pub mounts: Vec<(PathBuf, &'static str)>,
    /// Loop devices in use, and their files.
    pub loops: Vec<(PathBuf, PathBuf)>,
    /// Fails every call whose note begins so.
    pub failing: Option<String>,
    /// How many of those calls fail; the rest succeed.
    pub failures_left: usize,
    /// Taken off the front of every path in a note.
    pub base: PathBuf,
}

impl FakeKernel {
    /// A kernel whose paths all begin with `base`, which notes leave out.
    pub fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            ..Self::default()
        }
    }

    /// Makes the first `times` calls fail whose note begins with `call`.
    pub fn fail(&mut self, call: &str, times: usize) {
        self.failing = Some(call.to_owned());
        self.failures_left = times;
    }

    /// Position of the first call whose note begins with `call`.
    pub fn position(&self, call: &str) -> Option<usize> {
        self.calls.iter().position(|note| note.starts_with(call))
    }

    fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.base) {
            Ok(rest) => format!("/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    fn note(&mut self, call: String) -> Result<()> {
        let fails = self.failures_left > 0
            && self
                .failing
                .as_ref()
                .is_some_and(|begin| call.starts_with(begin.as_str()));
        self.calls.push(call.clone());
        if fails {
            self.failures_left -= 1;
            return Err(KernelError::new(call, io::Error::other("told to fail")));
        }
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn mount(&mut self, mount: &Mount) -> Result<()> {
        self.note(format!(
            "mount {} {} {}",
            mount.kind,
            self.short(&mount.target),
            mount.options
        ))?;
        std::fs::create_dir_all(&mount.target)
            .map_err(|source| KernelError::new("mount point", source))?;
        self.mounts.push((mount.target.clone(), mount.kind));
        Ok(())
    }

    fn unmount(&mut self, target: &Path) -> Result<()> {
        self.note(format!("unmount {}", self.short(target)))?;
        let at = self.mounts.iter().rposition(|(path, _)| path == target);
        let Some(at) = at else {
            return Err(KernelError::new(
                "unmount",
                io::Error::other("nothing is mounted there"),
            ));
        };
        self.mounts.remove(at);
        Ok(())
    }

    fn move_mount(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.note(format!("move {} {}", self.short(from), self.short(to)))?;
        if !self.mounts.iter().any(|(path, _)| path == from) {
            return Err(KernelError::new(
                "move",
                io::Error::other("nothing is mounted there"),
            ));
        }
        for (path, _) in &mut self.mounts {
            if let Ok(rest) = path.strip_prefix(from) {
                let rest = rest.to_owned();
                *path = to.join(rest);
            }
        }
        Ok(())
    }

    fn attach_loop(&mut self, file: &Path) -> Result<PathBuf> {
        self.note(format!("loop {}", self.short(file)))?;
        if !file.exists() {
            return Err(KernelError::new("loop", io::Error::other("no such file")));
        }
        let is_free = |device: &PathBuf| self.loops.iter().all(|(used, _)| used != device);
        let numbers = (0..).map(|number: u32| PathBuf::from(format!("/dev/loop{number}")));
        let device = numbers.into_iter().find(is_free).unwrap_or_default();
        self.loops.push((device.clone(), file.to_owned()));
        Ok(device)
    }

    fn detach_loop(&mut self, device: &Path) -> Result<()> {
        self.note(format!("detach {}", device.display()))?;
        let at = self.loops.iter().position(|(used, _)| used == device);
        let none = || KernelError::new("detach", io::Error::other("it has no file"));
        self.loops.remove(at.ok_or_else(none)?);
        Ok(())
    }

    fn open_verity(&mut self, verity: &Verity) -> Result<PathBuf> {
        self.note(format!("verity {} {}", verity.blocks, verity.root))?;
        Ok(PathBuf::from("/dev/dm-0"))
    }

    fn load_module(&mut self, file: &Path, _parameters: &str) -> Result<Loaded> {
        self.note(format!("module {}", self.short(file)))?;
        Ok(Loaded::Now)
    }

    fn load_modules_behind(&mut self, modules: Vec<ModuleFile>) -> Receiver<Result<Loaded>> {
        let (results, receiver) = channel();
        for module in modules {
            let _ = results.send(self.load_module(&module.file, &module.parameters));
        }
        receiver
    }

    fn empty_initramfs(&mut self) -> Result<()> {
        self.note("empty initramfs".to_owned())
    }

    fn run(&mut self, run: &super::Run) -> Result<()> {
        let root = self.short(&run.root);
        self.note(format!("run {} in {root}", run.program))
    }

    fn enter_root(&mut self, root: &Path) -> Result<()> {
        self.note(format!("enter {}", self.short(root)))
    }

    fn exec(&mut self, program: &Path, _arguments: &[&str]) -> KernelError {
        let call = format!("exec {}", program.display());
        match self.note(call) {
            Ok(()) => KernelError::new("exec", io::Error::other("a fake does not exec")),
            Err(error) => error,
        }
    }

    fn reboot(&mut self) -> KernelError {
        let _ = self.note("reboot".to_owned());
        KernelError::new("reboot", io::Error::other("a fake does not restart"))
    }

    fn set_clock(&mut self, unix_ms: u64) -> Result<()> {
        self.note(format!("clock {unix_ms}"))
    }
}
