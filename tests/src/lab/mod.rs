//! A farm on one machine: a network namespace with a bridge, QEMU machines that
//! boot from it with real firmware, and Moonfarm's programs as real processes.
//!
//! Everything a lab makes lives inside its namespace and its work folder, so
//! labs do not meet each other and a lab that was killed leaves nothing that
//! the next one cannot remove.

pub mod console;
mod error;
pub mod farm;
pub mod namespace;
pub mod process;
pub mod qemu;
mod spawner;
mod switch;

pub use error::LabError;
pub use namespace::Namespace;
pub use process::{Process, ProcessSpec};
pub use qemu::{
    DirectKernel, DiskDrive, Firmware, MachineSpec, NicSpec, QemuMachine, QemuNode, Smbios,
};
pub use switch::Switch;
