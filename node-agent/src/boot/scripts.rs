//! Scripts that run before systemd does: in the initramfs and in the new root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use boot_proto::resources::{Script, ScriptFailure, ScriptMoment};

use super::{Boot, StepError};
use crate::configure::scripts::{TIMEOUT_SECS, environment, is_name, path};
use crate::kernel::{Mount, Run};

/// File systems that programs expect, by type and name below the new root.
const BASICS: [(&str, &str); 3] = [("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev")];
/// Lines of a failed script's output that are told.
const TOLD_LINES: usize = 5;

impl Boot<'_> {
    /// Runs the scripts of the initramfs.
    pub(super) fn run_before_root(&mut self) -> Result<String, StepError> {
        let base = self.world.paths.at("");
        let scripts = self.scripts(ScriptMoment::BeforeRoot);
        for script in &scripts {
            let interpreter = script.content.lines().next().unwrap_or_default();
            let interpreter = interpreter
                .trim_start_matches("#!")
                .split_ascii_whitespace();
            let interpreter = interpreter.take(1).collect::<String>();
            if !base.join(interpreter.trim_start_matches('/')).exists() {
                let why = format!(
                    "script {}: the initramfs carries no {interpreter}; build it with --shell",
                    script.name
                );
                self.judge(script, why)?;
                continue;
            }
            let file = self.world.paths.run(&format!("script-{}", script.name));
            // So early nothing else has made the folder.
            let written = fs::create_dir_all(self.world.paths.at("run/moonfarm"))
                .and_then(|()| fs::write(&file, &script.content))
                .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o700)));
            written.map_err(|error| StepError::new(format!("{}: {error}", file.display())))?;
            let program = file.to_string_lossy().into_owned();
            self.run_script(script, Path::new("/"), &program)?;
        }
        Ok(format!("{} scripts", scripts.len()))
    }

    /// Runs the scripts of the new root inside of it, with the file systems that
    /// it will have.
    pub(super) fn run_in_root(&mut self, root: &Path) -> Result<(), StepError> {
        let scripts = self.scripts(ScriptMoment::InRoot);
        if scripts.is_empty() {
            return Ok(());
        }
        let mut mounted = Vec::new();
        for (kind, name) in BASICS {
            let mount = Mount::new(kind, kind, &root.join(name));
            self.world.kernel.mount(&mount)?;
            mounted.push(mount.target);
        }
        let run = self.world.paths.at("run").to_string_lossy().into_owned();
        let bind = Mount::new("bind", &run, &root.join("run"));
        self.world.kernel.mount(&bind)?;
        mounted.push(bind.target);
        let result = scripts
            .iter()
            .try_for_each(|script| self.run_script(script, root, &path(script)));
        for target in mounted.iter().rev() {
            self.world.kernel.unmount(target)?;
        }
        result
    }

    fn scripts(&self, when: ScriptMoment) -> Vec<Script> {
        let scripts = self
            .state
            .config
            .iter()
            .flat_map(|config| &config.system.scripts);
        scripts
            .filter(|script| script.when == when && is_name(&script.name))
            .cloned()
            .collect()
    }

    fn run_script(&mut self, script: &Script, root: &Path, program: &str) -> Result<(), StepError> {
        let Some(config) = &self.state.config else {
            return Err(StepError::hopeless("there is no boot config"));
        };
        let log = self.world.paths.run(&format!("script-{}.log", script.name));
        let secs = script.timeout_seconds.unwrap_or(TIMEOUT_SECS);
        let run = Run {
            root: root.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: environment(&self.machine(config)),
            output: log.clone(),
            timeout: Duration::from_secs(u64::from(secs)),
        };
        self.world.log.info(&format!("script {}", script.name));
        // Firmware may be written by it: not to be cut short.
        if let Some(watchdog) = &self.state.watchdog {
            watchdog.allow(run.timeout);
        }
        let result = self.world.kernel.run(&run);
        self.is_alive();
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(TOLD_LINES)..)
            .unwrap_or_default();
        for line in last {
            self.world
                .log
                .info(&format!("script {}: {line}", script.name));
        }
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let why = format!("script {}: {}", script.name, crate::log::chain(&error));
                self.judge(script, why)
            }
        }
    }

    fn judge(&self, script: &Script, why: String) -> Result<(), StepError> {
        match script.on_failure {
            ScriptFailure::Warn => {
                self.world.log.warn(&why);
                Ok(())
            }
            ScriptFailure::Fail => Err(StepError::hopeless(why)),
        }
    }
}
