//! Kubernetes as the place where machines are registered: `Machine`s of our own
//! API group, or dnsmasq-controller's `DhcpHosts`.
//!
//! Chassis, Machines and NodePools are watched; what is seen is written by
//! server-side apply where it says something new. Of several agents one works:
//! the one that holds the Lease.

mod api;
mod conditions;
mod dhcp_hosts;
mod leader;
mod machines;
mod registry;
mod requests;
mod secrets;
mod sink;

use clap::ValueEnum;
use kube_access::Place;

pub use api::{Cluster, KubernetesError};
pub use leader::{Leader, Standing};
pub use secrets::resolve;
pub use sink::{DhcpHostsSink, MachinesSink};

/// Where the API server is and what is written there.
#[derive(Clone, Debug)]
pub struct KubernetesOptions {
    /// The API server and the namespace of the resources.
    pub place: Place,
    /// What machines are registered as.
    pub publish: Published,
}

/// What machines are registered as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Published {
    /// `Machine`s of moonfarm.dev.
    #[default]
    Machines,
    /// `DhcpHosts` of dnsmasq.kvaps.cf, for farms that run kubefarm.
    #[value(name = "dhcphosts")]
    DhcpHosts,
}
