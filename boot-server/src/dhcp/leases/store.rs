//! Where leases are kept: a small seam, so that a server of its own keeps them
//! in a file and several servers keep them where all of them look.

use std::fmt::Debug;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{Change, Lease};
use crate::store::StoreError;

/// Keeps leases durably.
pub trait LeaseStore: Send + Sync + Debug {
    /// All leases, in any order; ended ones are the memory of who had what.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self) -> Result<Vec<Lease>, LeaseStoreError>;

    /// Makes changes durable, in this order. They are when this returns: only
    /// then does an ACK leave. The changes that lost against another server
    /// are returned; all others hold.
    ///
    /// # Errors
    /// When they cannot be written: then none of them may be relied on.
    fn commit(&self, changes: &[Change]) -> Result<Vec<Conflict>, LeaseStoreError>;

    /// Whether other servers give leases of this store too.
    fn is_shared(&self) -> bool {
        false
    }

    /// Where in a range this server looks for a fresh address first, counted from
    /// its first address and around; servers that share a store differ in it.
    fn first_place(&self) -> u32 {
        0
    }
}

/// A change that another server was faster with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Address it is about.
    pub address: Ipv4Addr,
    /// The lease that holds instead.
    pub held: Option<Lease>,
}

/// Why leases could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseStoreError {
    /// The folder or one of its files failed.
    #[error(
        "{doing} the lease log {path}; check that the disk has room and the folder is not read-only"
    )]
    File {
        /// What was tried.
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A later release wrote it.
    #[error(
        "the lease log {path} holds a record of kind {kind}, which this boot-server does not know: use the release that wrote it, or a later one"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The record's kind.
        kind: u8,
    },
    /// The leases of an earlier release cannot be taken over.
    #[error("taking over the leases of the state file")]
    TakeOver(#[source] StoreError),
    /// A store of another kind failed.
    #[error("keeping leases in {place}")]
    Other {
        /// Where they are kept.
        place: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
