//! QEMU machines that have no disk and boot from the network with real
//! firmware: what such a machine is, how it is started, and its power button.

mod accel;
mod arguments;
mod firmware;
mod machine;
mod node;
mod qmp;
mod spec;

pub use accel::Accelerator;
pub use machine::{QemuMachine, wait_for_console};
pub use node::QemuNode;
pub use spec::{DirectKernel, DiskDrive, Firmware, MachineSpec, NicSpec, Smbios};
