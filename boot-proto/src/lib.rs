//! What Moonfarm's programs say to each other and to the network.
//!
//! Identifiers, the resources an operator declares, the boot config a node
//! downloads, the reports it sends back, the management API's messages, and
//! packet formats. Nothing here does I/O, reads a clock or needs an async
//! runtime, so every program and every test can use it.

pub mod api;
pub mod boot_config;
pub mod cmdline;
pub mod dhcp;
pub mod hardware_profile;
pub mod ids;
pub mod image;
pub mod kubernetes;
pub mod manifest;
pub mod matchbox;
pub mod quantity;
pub mod redfish_rules;
pub mod report;
pub mod resources;
pub mod slot;
pub mod tftp;
pub mod time;
pub mod uuid;
pub mod verity;
