//! Suites that need network namespaces of their own, and thus root.

mod control_plane;
mod network_boot;
