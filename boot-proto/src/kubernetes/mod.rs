//! The resources as objects of a Kubernetes API server: what is written into
//! their `status`, the object that claims an address, and, with feature `crd`,
//! their CustomResourceDefinitions.
//!
//! The `spec` of an object is the same as in a manifest. What is learned is not
//! stored as in the embedded store: times are RFC 3339, and each field has one
//! writer, so that server-side apply keeps the writers apart.

pub mod claim;
#[cfg(feature = "crd")]
mod columns;
#[cfg(feature = "crd")]
pub mod crd;
#[cfg(feature = "crd")]
mod rules;
#[cfg(feature = "crd")]
mod schema;
#[cfg(feature = "crd")]
pub(crate) use schema::any_object;
pub mod status;

/// API group of all kinds.
pub const GROUP: &str = "moonfarm.dev";
/// Version of that group.
pub const VERSION: &str = "v1alpha1";
/// Label of a Machine that nobody declared: it was found in a chassis, or met
/// when it booted.
pub const FOUND_LABEL: &str = "moonfarm.dev/found";
/// Lease (`coordination.k8s.io/v1`) that boot-servers renew while all they have
/// heard of machines is written: without it chassis-agent takes a missing
/// `askedAt` for no sign of anything.
pub const BOOT_SERVER_LEASE: &str = "moonfarm-boot-server";

use crate::resources::Kind;

/// The word for a kind in the API's paths, such as `nodepools`.
#[must_use]
pub const fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Chassis => "chassis",
        Kind::Machine => "machines",
        Kind::NodePool => "nodepools",
        Kind::Profile => "profiles",
        Kind::Cluster => "clusters",
        Kind::Subnet => "subnets",
        Kind::Image => "images",
        Kind::MatchboxGroup => "matchboxgroups",
        Kind::MatchboxProfile => "matchboxprofiles",
    }
}
