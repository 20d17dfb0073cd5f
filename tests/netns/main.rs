//! Suites that need network namespaces of their own, and thus root.

mod adoption;
mod changes;
mod charts;
mod clusters;
mod control_plane;
mod dhcp_agent;
mod dhcp_clients;
mod dhcp_clock;
mod dhcp_host;
mod dhcp_kill;
mod hosted;
mod known_machine;
mod kubernetes_agent;
mod kubernetes_rules;
mod many_machines;
mod network_boot;
mod proxy_dhcp;
mod rbac;
mod stores;
mod systemd;
mod tokens;
mod two_servers;
mod two_servers_flood;
mod webhook;
