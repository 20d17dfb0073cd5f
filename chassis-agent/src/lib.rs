//! Drivers for chassis managers and BMCs: what they say becomes Machine
//! records, desired power becomes commands.
//!
//! `drivers` talk; `drivers::moonshot::parse` and `reconcile` decide and do no
//! I/O, nor do `netboot`, `verdicts` and `backoff`; `orders` sees to it that a
//! device obeys; `carry` gives orders; `controller` is the loop of one
//! chassis, `agent` runs one for each, and `cli` is what a person types.

pub mod agent;
pub mod backoff;
pub mod carry;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod device;
pub mod drivers;
pub mod feed;
pub mod fleet;
pub mod host_keys;
pub mod kubernetes;
pub mod manifests;
pub mod metrics;
pub mod netboot;
pub mod orders;
pub mod profiles;
pub mod publish;
pub mod reconcile;
pub mod verdicts;
pub mod watch_page;
