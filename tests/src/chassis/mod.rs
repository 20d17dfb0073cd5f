//! A virtual Moonshot chassis: an SSH server that speaks the chassis manager's
//! command line, with 45 slots that hold inert cartridges or virtual machines.
//!
//! It says what real chassis managers were seen to say, byte for byte where
//! that is known, and can be told to misbehave.

pub mod console;
mod dialect;
pub mod faults;
mod manager2;
pub mod model;
pub mod node;
mod rest;
mod server;
mod shell;
mod terminal;

pub use dialect::{ListShape, Manager};
pub use faults::{Fault, Faults};
pub use model::{Cartridge, ChassisModel, Node};
pub use node::{BootOnce, Console, InertNode, NodePower, PowerState};
pub use rest::WebFaults;
pub use server::{Options, VirtualChassis};
