//! Leases: who has which address until when, and who had it last.
//!
//! [`LeaseTable`] is pure and in memory; [`Leases`] puts a [`LeaseStore`] behind
//! it. What is decided on the table is written as one batch, and only then told
//! to the clients; a batch that cannot be written is taken back.

mod clock_steps;
mod log;
mod shared;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;
use serde::{Deserialize, Serialize};

pub use log::LeaseLog;
pub use shared::{Leases, Usage, open_log};
pub use store::{Conflict, LeaseStore, LeaseStoreError};
pub use table::{Change, LeaseTable};

use crate::store::Record;

/// What kind of claim a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// The machine's own address.
    Reserved,
    /// Taken from a range.
    Dynamic,
    /// Found in use by somebody else; rests until it expires.
    Declined,
}

impl LeaseKind {
    /// The word for it in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Dynamic => "dynamic",
            Self::Declined => "declined",
        }
    }
}

/// An address and who has it, or had it last: an expired lease stays as the
/// memory that gives a machine the address it had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// MAC it was given to.
    pub mac: MacAddr,
    /// Machine it belongs to.
    pub machine: Option<String>,
    /// Name of the Subnet.
    pub subnet: String,
    /// What kind of claim it is.
    pub kind: LeaseKind,
    /// When it was given or last renewed.
    #[serde(default)]
    pub since: WallClock,
    /// When it ends; `None` for never.
    pub expires: Option<WallClock>,
}

impl Lease {
    /// Whether the claim holds now.
    #[must_use]
    pub fn is_active(&self, now: WallClock) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// Leases were records of the state file once; they are taken over from there.
impl Record for Lease {
    const TABLE: &'static str = "leases";
    fn key(&self) -> String {
        self.address.to_string()
    }
}
