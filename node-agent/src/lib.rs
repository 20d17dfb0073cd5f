//! Moonfarm's node agent: `/init` of the initramfs, the join of a booted node
//! to its cluster, and the builder of that initramfs.
//!
//! PID 1 must not panic, so nothing here unwraps or indexes outside tests, and
//! every failure ends in [`recovery`].

pub mod boot;
pub mod clock;
pub mod configure;
pub mod dhcp_client;
pub mod disks;
pub mod facts;
pub mod fetch;
pub mod file_systems;
pub mod http;
pub mod init;
pub mod initramfs;
pub mod join;
pub mod kernel;
pub mod kernel_panic;
pub mod log;
pub mod memory;
pub mod modules;
pub mod net;
pub mod paths;
pub mod plan;
pub mod recovery;
pub mod reporter;
pub mod root_dir;
pub mod show;
pub mod systemd;
pub mod tls;
pub mod trust;
pub mod watchdog;
