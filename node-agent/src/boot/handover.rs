//! The phases configure and switch-root.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::storage::check_init;
use super::{Boot, StepError};
use crate::configure::{Change, changes};
use crate::paths::create_secret;
use crate::plan::INIT;
use crate::root_dir::{RootDir, RootView};
use crate::trust;

/// How long the last reports may take.
const LAST_REPORTS: Duration = Duration::from_secs(3);
/// Where the agent itself lies in the initramfs.
const AGENT: &str = "init";
/// Where it is told to.
const SYSTEMD_WATCHDOG: &str = "/etc/systemd/system.conf.d/50-moonfarm-watchdog.conf";

impl Boot<'_> {
    pub(super) fn configure(&mut self, root: &Path) -> Result<String, StepError> {
        let Some(config) = &self.state.config else {
            return Err(StepError::hopeless("there is no boot config"));
        };
        let machine = self.machine(config);
        let dir = RootDir::open(root)
            .map_err(|error| StepError::new(format!("opening {}: {error}", root.display())))?;
        let changes = changes(&machine, &dir);
        for warning in &changes.warnings {
            self.world.log.warn(warning);
        }
        for change in &changes.list {
            change
                .apply(&dir)
                .map_err(|error| StepError::new(format!("{change}: {error}")))?;
        }
        if let Some(change) = self.watchdog_setting(&dir) {
            change
                .apply(&dir)
                .map_err(|error| StepError::new(format!("{change}: {error}")))?;
        }
        let count = changes.list.len();
        // The join speaks for the NIC that the machine booted from: the first.
        let mut kept = config.clone();
        kept.macs.retain(|mac| *mac != machine.mac);
        kept.macs.insert(0, machine.mac);
        let json = serde_json::to_vec(&kept)?;
        self.keep_for_join(&json)
            .map_err(|error| StepError::new(format!("keeping what the join needs: {error}")))?;
        self.run_in_root(root)?;
        Ok(format!("{count} changes"))
    }

    /// Has systemd feed the watchdog, which it is handed armed: a machine that
    /// hangs on its way to systemd, or later, restarts.
    fn watchdog_setting(&self, root: &dyn RootView) -> Option<Change> {
        let watchdog = self.state.watchdog.as_ref()?;
        let text = format!("[Manager]\nRuntimeWatchdogSec={}s\n", watchdog.secs());
        is_systemd(root).then(|| Change::file(SYSTEMD_WATCHDOG, text))
    }

    /// Leaves the boot config and this program where `node-agent join` finds them.
    fn keep_for_join(&self, boot_config: &[u8]) -> io::Result<()> {
        use io::Write as _;
        let paths = &self.world.paths;
        fs::create_dir_all(paths.at("run/moonfarm"))?;
        // It may hold secrets, so nobody else ever sees it.
        create_secret(&paths.boot_config())?.write_all(boot_config)?;
        if let Ok(ca) = fs::read(paths.at(trust::CA)) {
            fs::write(paths.run(trust::CA_FOR_JOIN), ca)?;
        }
        let agent = paths.run("node-agent");
        fs::copy(paths.at(AGENT), &agent)?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))
    }

    /// Returns only when it failed. The order is all there is to it: reports while
    /// there is a network, then the link, then the mounts, then the memory, then
    /// the root.
    pub(super) fn switch_root(
        &mut self,
        moving: &[&str],
        root: &Path,
        init: &str,
    ) -> Result<String, StepError> {
        check_init(root)?;
        let (phase, begin) = (self.phase(), self.world.clock.now());
        self.done(phase, begin, &format!("starting {init} of the new root"));
        if let Some(sink) = &mut self.state.sink {
            sink.finish(LAST_REPORTS);
        }
        self.release_links();
        // Another init would not feed it, so it is switched off for that one.
        if let Some(watchdog) = self.state.watchdog.take()
            && RootDir::open(root).is_ok_and(|dir| is_systemd(&dir))
        {
            watchdog.hand_on();
        }
        let paths = self.world.paths.clone();
        for name in moving {
            self.world
                .kernel
                .move_mount(&paths.at(name), &root.join(name))?;
        }
        let freed = self.world.kernel.empty_initramfs();
        self.world.kernel.enter_root(root)?;
        if let Err(error) = freed {
            self.world.log.warn(&crate::log::chain(&error));
        }
        let error = self.world.kernel.exec(Path::new(init), &[]);
        Err(error.into())
    }

    /// Leaves the NICs as a cold start would find them. A link that is up with an
    /// address not its own makes systemd-networkd stay in "configuring", and
    /// network-online.target wait for two minutes.
    ///
    /// A bond or VLAN stays as it is, up and with its address: the same definition
    /// is in the new root, and a bond made anew would have its LACP partner start
    /// from the beginning.
    fn release_links(&mut self) {
        if self.state.keeps_links {
            return;
        }
        let Ok(links) = self.world.links.list() else {
            return;
        };
        for link in links.iter().filter(|link| link.is_up) {
            let released = self
                .world
                .links
                .flush_addresses(link)
                .and_then(|()| self.world.links.set_up(link, false));
            if let Err(error) = released {
                self.world.log.warn(&crate::log::chain(&error));
            }
        }
    }
}

/// Whether the root's init is systemd, which takes over a hardware watchdog.
fn is_systemd(root: &dyn RootView) -> bool {
    root.link_target(INIT)
        .is_some_and(|target| target.ends_with("/systemd"))
}
