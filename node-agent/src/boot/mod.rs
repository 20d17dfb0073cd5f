//! Walks the plan: carries out each step, times it, repeats it, reports it.

mod bonded;
mod disk;
mod handover;
mod network;
mod scripts;
mod storage;
#[cfg(test)]
mod tests;
mod verity;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::boot_config::BootConfig;
use boot_proto::cmdline::BootArguments;
use boot_proto::report::{BootReport, MachineFacts, Phase, PhaseTime, Progress, VERSION};
use boot_proto::resources::OnFailure;
use boot_proto::time::Monotonic;

use crate::configure::{Machine, default_tmpfs};
use crate::fetch::ClockSync;
use crate::kernel::{Kernel, Mount};
use crate::kernel_panic;
use crate::log::{Log, chain};
use crate::memory::Budget;
use crate::modules::load::Loader;
use crate::net::dhcp_socket::Dhcp;
use crate::net::nics::Nic;
use crate::net::{Address, Link, Links};
use crate::paths::Paths;
use crate::plan::{self, Action, Step};
use crate::reporter::ReportSink;
use crate::trust::Trust;
use crate::watchdog::Watchdog;

/// What a boot works with.
pub struct World<'a> {
    /// The kernel.
    pub kernel: &'a mut dyn Kernel,
    /// Its links.
    pub links: &'a mut dyn Links,
    /// DHCP.
    pub dhcp: &'a dyn Dhcp,
    /// Clock.
    pub clock: &'a dyn ClockSync,
    /// Starts reporting to a server.
    pub reporter: &'a dyn Fn(&str) -> Box<dyn ReportSink>,
    /// The log.
    pub log: &'a Log,
    /// Which servers and images are trusted.
    pub trust: &'a Trust,
    /// Where things are.
    pub paths: Paths,
}

/// A boot on its way.
pub struct Boot<'a> {
    world: World<'a>,
    state: State,
}

/// What the steps so far found out, for those to come.
#[derive(Default)]
struct State {
    arguments: BootArguments,
    phase: Option<(Phase, Monotonic)>,
    phases: Vec<PhaseTime>,
    loader: Option<Loader>,
    links: Vec<Link>,
    nics: Vec<Nic>,
    keeps_links: bool,
    watchdog: Option<Watchdog>,
    link: Option<Link>,
    address: Option<Address>,
    dhcp_server: Option<std::net::Ipv4Addr>,
    config: Option<BootConfig>,
    facts: MachineFacts,
    mounted: BTreeSet<PathBuf>,
    /// Drivers of local disks.
    storage: Option<Loader>,
    /// Where the file systems of local disks are mounted, by label.
    disks: BTreeMap<String, PathBuf>,
    /// Where the image is, if not in RAM.
    image_file: Option<PathBuf>,
    /// What the image is mounted from.
    image_device: Option<PathBuf>,
    sink: Option<Box<dyn ReportSink>>,
}

/// Why a step failed.
#[derive(Debug)]
struct StepError {
    message: String,
    /// Whether another attempt would end the same.
    is_hopeless: bool,
}

impl StepError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_hopeless: false,
        }
    }

    fn hopeless(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_hopeless: true,
        }
    }
}

impl<E: std::error::Error> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::new(chain(&error))
    }
}

/// Why a boot did not get to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The phase it stopped in.
    pub phase: Phase,
    /// Why.
    pub reason: String,
    /// How often the phase was tried.
    pub attempts: u32,
}

impl<'a> Boot<'a> {
    /// A boot that has not begun.
    #[must_use]
    pub fn new(world: World<'a>) -> Self {
        Self {
            world,
            state: State::default(),
        }
    }

    /// Walks the plan. Does not return when it succeeds: then this process is the
    /// new root's init.
    ///
    /// # Errors
    /// The phase that could not be done.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.walk(&plan::mounts(&self.world.paths))?;
        let cmdline = fs::read_to_string(self.world.paths.at("proc/cmdline")).unwrap_or_default();
        self.state.arguments = BootArguments::parse(&cmdline);
        if self.state.arguments.recovery.on_failure != Some(OnFailure::Wait) {
            kernel_panic::restart_after(&self.world.paths.at("proc"), &cmdline, self.world.log);
        }
        let opening = plan::opening(&self.state.arguments, &self.world.paths);
        for step in opening.iter().skip(1) {
            self.walk(step)?;
        }
        let missing = || Failure {
            phase: Phase::Config,
            reason: "there is no boot config".to_owned(),
            attempts: 1,
        };
        let config = self.state.config.clone().ok_or_else(missing)?;
        let budget = self.budget(&config);
        for step in plan::closing(&config, &budget, &self.world.paths) {
            self.walk(&step)?;
        }
        Ok(())
    }

    /// The watchdog, for what comes after a failure.
    pub fn take_watchdog(&mut self) -> Option<Watchdog> {
        self.state.watchdog.take()
    }

    /// What the kernel command line said.
    #[must_use]
    pub fn arguments(&self) -> &BootArguments {
        &self.state.arguments
    }

    /// The phase that is under way.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase.map_or(Phase::Mounts, |(phase, _)| phase)
    }

    /// Tells boot-server that the boot has ended here, with the end of the log.
    pub fn report_failure(&mut self, reason: &str, patience: Duration) {
        let log = self.world.log.tail();
        self.report(Progress::Failed, |report| {
            report.message = reason.to_owned();
            report.log = log;
        });
        if let Some(sink) = &mut self.state.sink {
            sink.finish(patience);
        }
    }

    /// The kernel and the log, for what comes after a failure.
    pub fn kernel(&mut self) -> (&mut dyn Kernel, &dyn ClockSync, &Log) {
        (&mut *self.world.kernel, self.world.clock, self.world.log)
    }

    fn walk(&mut self, step: &Step) -> Result<(), Failure> {
        let begin = self.world.clock.now();
        self.state.phase = Some((step.phase, begin));
        self.is_alive();
        self.report(Progress::Started, |_| {});
        self.drill(step.phase);
        let mut attempt = 1;
        loop {
            let error = match self.perform(&step.action) {
                Ok(message) => {
                    self.done(step.phase, begin, &message);
                    return Ok(());
                }
                Err(error) => error,
            };
            let log = self.world.log;
            if error.is_hopeless || attempt >= step.retry.attempts {
                log.warn(&format!("{}: {}", step.phase, error.message));
                let (phase, reason) = (step.phase, error.message);
                return Err(Failure {
                    phase,
                    reason,
                    attempts: attempt,
                });
            }
            let pause = step.retry.pause_after(attempt);
            let next = format!(
                "trying again in {} s ({attempt} of {} attempts used)",
                pause.as_secs(),
                step.retry.attempts
            );
            log.warn(&format!("{}: {}; {next}", step.phase, error.message));
            let message = format!("{}; {next}", error.message);
            self.report(Progress::Failed, |report| report.message = message);
            self.world.clock.sleep(pause);
            self.is_alive();
            attempt += 1;
        }
    }

    /// Tells the watchdog, if there is one, that something is being done.
    fn is_alive(&self) {
        if let Some(watchdog) = &self.state.watchdog {
            watchdog.alive();
        }
    }

    /// Ends as a mistake in the agent would, where the command line asks for it.
    fn drill(&self, phase: Phase) {
        if self.state.arguments.drill.as_deref() == Some(phase.name()) {
            let why = format!("a drill, as moonfarm.drill={phase} asks for");
            std::panic::resume_unwind(Box::new(why));
        }
    }

    fn done(&mut self, phase: Phase, begin: Monotonic, message: &str) {
        let elapsed = self.world.clock.now().since(begin);
        self.state.phases.push(PhaseTime {
            phase,
            started_ms: millis(begin.0),
            elapsed_ms: millis(elapsed),
        });
        self.world
            .log
            .info(&format!("{phase}: {message} ({} ms)", elapsed.as_millis()));
        let facts = (phase == Phase::Config).then(|| self.state.facts.clone());
        self.report(Progress::Done, |report| {
            report.message = message.to_owned();
            report.facts = facts;
        });
    }

    /// Sends a report on the phase that is under way, once there is a link to
    /// send it over.
    fn report(&mut self, progress: Progress, fill: impl FnOnce(&mut BootReport)) {
        let (Some(link), Some((phase, begin))) = (&self.state.link, self.state.phase) else {
            return;
        };
        let Some(sink) = &mut self.state.sink else {
            return;
        };
        let now = self.world.clock.now();
        let mut report = BootReport {
            version: VERSION,
            mac: link.mac,
            phase,
            progress,
            percent: None,
            uptime_ms: millis(now.0),
            elapsed_ms: millis(now.since(begin)),
            message: String::new(),
            log: String::new(),
            facts: None,
            phases: self.state.phases.clone(),
        };
        fill(&mut report);
        sink.send(report);
    }

    fn perform(&mut self, action: &Action) -> Result<String, StepError> {
        match action {
            Action::MountBasics(mounts) => self.mount_basics(mounts),
            Action::LoadModules { by_name } => Ok(self.load_modules(by_name)),
            Action::BringUpLinks { boot_interface } => self.bring_up_links(*boot_interface),
            Action::AskForAddress => self.ask_for_address(),
            Action::SetAddress(address) => self.set_address(address),
            Action::FetchConfig { server } => self.fetch_config(server.as_deref()),
            Action::RunScripts => self.run_before_root(),
            Action::OpenDisks { labels } => self.open_disks(labels),
            Action::FetchImage {
                tmpfs,
                file,
                image,
                keep,
            } => self.fetch_image(tmpfs, file, image, keep.as_ref()),
            Action::MountRoot {
                file,
                lower,
                overlay,
                spec,
                root,
            } => self.mount_root(file, lower, overlay, spec, root),
            Action::Configure { root } => self.configure(root),
            Action::SwitchRoot { moving, root, init } => self.switch_root(moving, root, init),
        }
    }

    fn mount_basics(&mut self, mounts: &[Mount]) -> Result<String, StepError> {
        for mount in mounts {
            self.mount_once(mount)?;
        }
        let paths = &self.world.paths;
        self.world
            .log
            .open_consoles(&paths.at("dev"), &paths.at("sys/class/tty/console/active"));
        Ok(format!("{} file systems", mounts.len()))
    }

    fn load_modules(&mut self, by_name: &[&str]) -> String {
        let paths = &self.world.paths;
        let release = self.kernel_release();
        let cmdline = fs::read_to_string(paths.at("proc/cmdline")).unwrap_or_default();
        let mut loader =
            Loader::open(&paths.at("lib/modules").join(&release)).with_parameters(&cmdline);
        if loader.is_empty() {
            self.world.log.warn(&format!(
                "the initramfs has no modules for the running kernel {release}; whatever is not \
                 built into that kernel will be missing"
            ));
        }
        let (kernel, log) = (&mut *self.world.kernel, self.world.log);
        loader.coldplug(&paths.at("sys"), kernel, log);
        // The root needs them, and not the network: they have until then.
        loader.load_behind(by_name, kernel);
        self.state.watchdog = Watchdog::start(
            &self.world.paths.at("dev"),
            self.state.arguments.recovery.watchdog_seconds,
            log,
        );
        let mut message = format!(
            "{} loaded: {}",
            loader.loaded.len(),
            loader.loaded.join(" ")
        );
        if !loader.unpacked.is_empty() {
            message += &format!("; unpacked for the kernel: {}", loader.unpacked.join(" "));
        }
        message += &format!("; then {}", by_name.join(" "));
        self.state.loader = Some(loader);
        message
    }

    /// Loads modules for devices that have appeared since.
    fn load_for_new_devices(&mut self) {
        if let Some(loader) = &mut self.state.loader {
            let sys = self.world.paths.at("sys");
            loader.coldplug(&sys, self.world.kernel, self.world.log);
        }
    }

    /// Loads modules that no device asks for.
    fn load_by_name(&mut self, names: &[&str]) {
        if let Some(loader) = &mut self.state.loader {
            for name in names {
                loader.load(name, self.world.kernel, self.world.log);
            }
        }
    }

    fn kernel_release(&self) -> String {
        let file = self.world.paths.at("proc/sys/kernel/osrelease");
        fs::read_to_string(file)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Mounts what an earlier attempt has not mounted already.
    fn mount_once(&mut self, mount: &Mount) -> Result<(), StepError> {
        if self.state.mounted.contains(&mount.target) {
            return Ok(());
        }
        self.world.kernel.mount(mount)?;
        self.state.mounted.insert(mount.target.clone());
        Ok(())
    }

    fn budget(&self, config: &BootConfig) -> Budget {
        let memory = self.state.facts.memory_bytes;
        Budget::of(config, &default_tmpfs(&self.machine(config)), memory)
    }

    /// The machine as far as it is known by now.
    fn machine<'m>(&'m self, config: &'m BootConfig) -> Machine<'m> {
        let state = &self.state;
        let link = state.link.as_ref();
        let own = state.address.as_ref();
        Machine {
            config,
            mac: link.map_or(boot_proto::ids::MacAddr::new([0; 6]), |link| link.mac),
            address: own.map(|own| own.address),
            own,
            device: link.map(|link| link.name.as_str()),
            nics: &state.nics,
            facts: &state.facts,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
