//! A machine and its power button: off, it is a spec and a console's file; on,
//! it is a QEMU process.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::accel::Accelerator;
use super::spec::MachineSpec;
use super::{arguments, firmware, qmp};
use crate::lab::console;
use crate::lab::{LabError, Process, ProcessSpec};
use crate::wait::until;

/// Pause after each key; SeaBIOS looks at the serial port 18 times a second.
const BETWEEN_KEYS: Duration = Duration::from_millis(120);

/// A machine, on or off. Dropping it cuts its power.
#[derive(Debug)]
pub struct QemuMachine {
    spec: MachineSpec,
    namespace: Option<String>,
    process: Option<Process>,
}

impl QemuMachine {
    /// A machine that is off. With a namespace it runs there; without one it
    /// stays where we are.
    #[must_use]
    pub fn new(spec: MachineSpec, namespace: Option<&str>) -> Self {
        Self {
            spec,
            namespace: namespace.map(Into::into),
            process: None,
        }
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Whether it is on.
    pub fn is_on(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    /// Powers it on; one that is on stays as it is.
    ///
    /// # Errors
    /// When its firmware is missing or QEMU does not start.
    pub fn power_on(&mut self) -> Result<(), LabError> {
        if self.is_on() {
            return Ok(());
        }
        let folder = &self.spec.folder;
        std::fs::create_dir_all(folder).map_err(LabError::file("creating", folder))?;
        for socket in [self.spec.monitor_socket(), self.spec.console_socket()] {
            let _ = std::fs::remove_file(socket);
        }
        let flash = firmware::flash(&self.spec)?;
        let arguments = arguments::arguments(&self.spec, Accelerator::best(), flash.as_ref());
        let mut process = ProcessSpec::new("qemu", "qemu-system-x86_64", folder).args(arguments);
        if let Some(namespace) = &self.namespace {
            process = process.within(namespace);
        }
        let mut process = process.spawn()?;
        // Wrong options end QEMU before its monitor listens.
        let monitor = self.spec.monitor_socket();
        until(Duration::from_secs(20), || {
            (process.ended().is_some() || monitor.exists()).then_some(())
        });
        process.check()?;
        self.process = Some(process);
        Ok(())
    }

    /// Cuts its power; one that is off stays off.
    pub fn power_off(&mut self) {
        self.process = None;
    }

    /// Presses its reset button.
    ///
    /// # Errors
    /// When it is off, or its monitor does not obey.
    pub fn reset(&mut self) -> Result<(), LabError> {
        self.monitor("system_reset", json!({}))
    }

    /// Presses its power button: the operating system is asked to shut down.
    ///
    /// # Errors
    /// When it is off, or its monitor does not obey.
    pub fn press_power_button(&mut self) -> Result<(), LabError> {
        self.monitor("system_powerdown", json!({}))
    }

    /// Pulls the cable of its NIC of this index, or plugs it in again.
    ///
    /// # Errors
    /// When it is off, or its monitor does not obey.
    pub fn set_link(&mut self, nic: usize, up: bool) -> Result<(), LabError> {
        let arguments = json!({ "name": format!("card{nic}"), "up": up });
        self.monitor("set_link", arguments)
    }

    /// Takes a picture of its screen: a file in the format PNG.
    ///
    /// # Errors
    /// When it is off, has no screen, or its monitor does not obey.
    pub fn picture(&mut self, file: &Path) -> Result<(), LabError> {
        let arguments = json!({ "filename": file, "format": "png" });
        self.monitor("screendump", arguments)
    }

    fn monitor(&mut self, command: &str, arguments: Value) -> Result<(), LabError> {
        let failed = |message| LabError::Monitor {
            machine: self.spec.name.clone(),
            message,
        };
        let is_off = self
            .process
            .as_mut()
            .is_none_or(|process| process.ended().is_some());
        if is_off {
            return Err(failed("the machine is off".into()));
        }
        qmp::execute(&self.spec.monitor_socket(), command, arguments)
            .map(drop)
            .map_err(failed)
    }

    /// The file with all it ever printed on its serial port.
    #[must_use]
    pub fn console_log(&self) -> std::path::PathBuf {
        self.spec.console_log()
    }

    /// Types on its serial port, as a person at a terminal would.
    ///
    /// # Errors
    /// When it is off.
    pub fn type_on_console(&self, text: &str) -> Result<(), LabError> {
        let socket = self.spec.console_socket();
        let failed = LabError::file("typing on", &socket);
        UnixStream::connect(&socket)
            .and_then(|mut stream| stream.write_all(text.as_bytes()))
            .map_err(failed)
    }

    /// Types a line for a BIOS program, no faster than it takes: a serial port
    /// without FIFO holds one character, and what it has not taken when the
    /// terminal hangs up is gone.
    ///
    /// # Errors
    /// When it is off.
    pub fn type_slowly(&self, text: &str) -> Result<(), LabError> {
        let socket = self.spec.console_socket();
        let mut stream =
            UnixStream::connect(&socket).map_err(LabError::file("typing on", &socket))?;
        for key in text.as_bytes() {
            stream
                .write_all(&[*key])
                .map_err(LabError::file("typing on", &socket))?;
            std::thread::sleep(BETWEEN_KEYS);
        }
        Ok(())
    }

    /// Waits until its console shows `text`.
    ///
    /// # Errors
    /// When it does not within `patience`; the end of the console is in the error.
    pub fn wait_for_console(&self, text: &str, patience: Duration) -> Result<(), LabError> {
        wait_for_console(&self.spec.name, &self.spec.console_log(), text, patience)
    }
}

/// Waits until the console in `log` shows `text`.
///
/// # Errors
/// When it does not within `patience`; the end of the console is in the error.
pub fn wait_for_console(
    machine: &str,
    log: &Path,
    text: &str,
    patience: Duration,
) -> Result<(), LabError> {
    until(patience, || console::text(log).contains(text).then_some(())).ok_or_else(|| {
        LabError::Late {
            what: format!("{text:?} on the console of {machine}"),
            seconds: patience.as_secs(),
            detail: format!("; it ends:\n{}", console::last_lines(log, 40)),
        }
    })
}
