//! Boot-server: turns inventory into DHCP, TFTP and HTTP answers, images and
//! per-machine boot config.

pub mod adoption;
pub mod arch;
mod arenas;
pub mod boot_config;
pub mod boots;
pub mod cli;
pub mod clock;
pub mod dhcp;
pub mod events;
pub mod explain;
pub mod farm;
pub mod grub;
pub mod host_keys;
pub mod http;
pub mod images;
pub mod import;
pub mod inventory;
pub mod ipxe;
pub mod kubernetes;
pub mod loaders;
pub mod manifests;
pub mod matchbox;
pub mod metrics;
mod neighbours;
mod privileges;
pub mod serve;
pub mod store;
pub mod tftp;
pub mod tokens;
