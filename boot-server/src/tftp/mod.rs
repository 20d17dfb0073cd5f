//! TFTP: boot loaders for firmware that knows nothing better.
//!
//! `transfer` decides, one transfer at a time; `files` knows what may be read;
//! `clients` bounds who may have how much; `active` and `datagram` talk. Threads
//! that listen (`worker`) hand the first transfers to threads that serve nothing
//! else (`crew`), and serve all others themselves.

mod active;
mod clients;
mod crew;
mod datagram;
mod files;
mod server;
#[cfg(test)]
mod tests;
pub mod transfer;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub use files::{FileError, Found, Source, TftpFiles};
pub use server::TftpServer;

use crate::events::EventSink;
use crate::metrics::TftpMetrics;

/// How TFTP is served.
#[derive(Clone, Debug)]
pub struct TftpOptions {
    /// Address to listen on.
    pub address: Ipv4Addr,
    /// Port to listen on: 69, or 0 for any that is free.
    pub port: u16,
    /// Transfers at once; further requests are left alone, so that clients ask
    /// again.
    pub max_transfers: usize,
    /// Transfers at once to one address; further requests are refused.
    pub max_per_client: usize,
    /// Whether all goes through the one port, for networks that translate
    /// addresses and would not let an answer from another port pass.
    pub single_port: bool,
    /// Threads that listen; 0 means one for each processor, at most 16.
    pub threads: usize,
    /// Transfers that have a thread of their own at most, by default half as
    /// many as there are processors; others are served by those that listen.
    pub own_threads: Option<usize>,
}

impl Default for TftpOptions {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED,
            port: 69,
            max_transfers: 32_768,
            max_per_client: 256,
            single_port: false,
            threads: 0,
            own_threads: None,
        }
    }
}

/// Why TFTP cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("listening for TFTP on {address}; is another TFTP server running?")]
pub struct TftpError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Starts serving TFTP in the background, on threads of its own.
///
/// # Errors
/// When the port cannot be had.
pub fn spawn(
    files: TftpFiles,
    events: Arc<dyn EventSink>,
    metrics: TftpMetrics,
    options: TftpOptions,
) -> Result<TftpServer, TftpError> {
    let address = SocketAddr::from((options.address, options.port));
    TftpServer::start(files, events, metrics, &options)
        .map_err(|source| TftpError { address, source })
}
