//! TFTP: boot loaders for firmware that knows nothing better.
//!
//! `transfer` decides, one transfer at a time; `files` knows what may be read;
//! `socket` is the only part that talks.

mod files;
mod socket;
pub mod transfer;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use files::{FileError, TftpFiles};
pub use socket::TftpServer;

use crate::events::EventSink;

/// How TFTP is served.
#[derive(Clone, Debug)]
pub struct TftpOptions {
    /// Address to listen on.
    pub address: Ipv4Addr,
    /// Port to listen on: 69, or 0 for any that is free.
    pub port: u16,
    /// Transfers at once; further clients are told to come back.
    pub max_transfers: usize,
}

impl Default for TftpOptions {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED,
            port: 69,
            max_transfers: 4096,
        }
    }
}

/// Why TFTP cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("listening for TFTP on {address}")]
pub struct TftpError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Starts serving TFTP in the background, on the current tokio runtime.
///
/// # Errors
/// When the port cannot be had.
pub fn spawn(
    files: TftpFiles,
    events: Arc<dyn EventSink>,
    options: TftpOptions,
) -> Result<TftpServer, TftpError> {
    let address = SocketAddr::from((options.address, options.port));
    TftpServer::start(files, events, &options).map_err(|source| TftpError { address, source })
}
