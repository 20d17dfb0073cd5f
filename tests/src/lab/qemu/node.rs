//! A QEMU machine in a slot of a virtual chassis.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::machine::QemuMachine;
use super::spec::MachineSpec;
use crate::chassis::node::{BootOnce, Console, NodePower, PowerState};
use crate::lab::LabError;

/// A cartridge that is a QEMU machine.
#[derive(Debug)]
pub struct QemuNode {
    machine: Mutex<QemuMachine>,
    console: std::path::PathBuf,
}

impl QemuNode {
    /// A cartridge that is off. Its machine runs in `namespace`, or where the
    /// chassis runs.
    #[must_use]
    pub fn new(spec: MachineSpec, namespace: Option<&str>) -> Self {
        let console = spec.console_socket();
        Self {
            machine: Mutex::new(QemuMachine::new(spec, namespace)),
            console,
        }
    }

    fn machine(&self) -> MutexGuard<'_, QemuMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodePower for QemuNode {
    fn power(&self) -> PowerState {
        if self.machine().is_on() {
            PowerState::On
        } else {
            PowerState::Off
        }
    }

    /// A machine without a disk has nothing but the network to boot from, so
    /// what it is told makes no difference.
    fn power_on(&self, _boot_once: Option<BootOnce>) -> io::Result<()> {
        self.machine().power_on().map_err(told)
    }

    fn power_off(&self, force: bool) -> io::Result<()> {
        let mut machine = self.machine();
        if !machine.is_on() {
            return Ok(());
        }
        if force {
            machine.power_off();
            return Ok(());
        }
        machine.press_power_button().map_err(told)
    }

    fn console(&self) -> Option<Console> {
        Some(Console::UnixSocket(self.console.clone()))
    }
}

fn told(error: LabError) -> io::Error {
    io::Error::other(error.chain())
}
