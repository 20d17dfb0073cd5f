//! The Kubernetes store: the API server as the state that several boot-servers
//! share.
//!
//! Watches keep a cache, from which everything is answered. What is learned goes
//! out through an outbox; an address is given when the object that is named by
//! it could be made. With the API server away, what is cached goes on being
//! served, and what needs its word is refused.

mod adopt;
mod api;
mod cache;
mod claims;
mod declare;
mod events;
mod heartbeat;
mod machines;
mod membership;
mod mirror;
mod outbox;
mod store;
mod unsent;
mod verdicts;

pub use api::{ApiServer, KubernetesOptions};
pub use claims::Claims;
pub use store::Store;

/// Field manager of what boot-server writes.
const MANAGER: &str = "moonfarm-boot-server";
