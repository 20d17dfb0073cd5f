//! What can go wrong with the store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened at all.
    #[error("opening the state file {path}: its folder must exist, be writable and have room")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the state file {path} is in use by another boot-server; stop that one, or give this one another --state"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not ours, or is damaged beyond what the store repairs itself.
    #[error(
        "opening the state file {path}: it is damaged, no state file, or cannot be written; restore it from a backup, or move it away to begin with an empty one"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// A later release wrote it.
    #[error(
        "the state file {path} has format {found}, this boot-server knows {known}: use the release that wrote it, or a later one"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Version this code writes.
        known: u64,
    },
    /// Reading or writing failed.
    #[error(
        "{doing} table {table} of the state file {path}; check that the disk has room and is not read-only"
    )]
    Io {
        /// `reading` or `writing`.
        doing: &'static str,
        /// The table.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record does not go into JSON.
    #[error("writing record {key} of table {table} as JSON")]
    Encode {
        /// The table.
        table: &'static str,
        /// The record's key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A record is not what this release writes.
    #[error("reading record {key} of table {table}")]
    Decode {
        /// The table.
        table: &'static str,
        /// The record's key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    pub(super) fn open(path: &Path, source: redb::DatabaseError) -> Self {
        match source {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::InUse {
                path: path.to_owned(),
            },
            source => Self::Open {
                path: path.to_owned(),
                source: Box::new(source),
            },
        }
    }
}
