//! Suites that need network namespaces of their own, and thus root.

mod charts;
mod control_plane;
mod hosted;
mod network_boot;
mod systemd;
