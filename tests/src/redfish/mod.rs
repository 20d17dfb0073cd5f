//! A living Redfish service out of a folder of captures: power and boot state
//! that change, sessions with a limit, ETags, and faults that can be switched.
//!
//! `tree` is the folder, `service` decides what to answer and does no I/O,
//! `faults` spoils answers, `http` and `tls` are the wire.

mod faults;
pub(crate) mod http;
mod service;
mod tls;
mod tree;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use faults::{Fault, FaultRule};
pub use http::Request;
pub use service::{BootHabit, EtagHabit, LocationHabit, Service};
pub use tls::Identity;
pub use tree::Tree;

/// A virtual BMC that listens on the loopback interface until it is dropped.
pub struct VirtualBmc {
    address: SocketAddr,
    identity: Option<Identity>,
    service: Arc<Mutex<Service>>,
    _tasks: JoinSet<()>,
}

impl VirtualBmc {
    /// Serves the captures of `folder` over plain HTTP, to the login
    /// `admin`, `secret`.
    ///
    /// # Errors
    /// When the folder holds no captures or no port is free.
    pub async fn start(folder: &Path) -> io::Result<Self> {
        Self::serve(Service::new(Tree::load(folder)?), None, "127.0.0.1:0").await
    }

    /// The same over TLS, with a certificate that nobody signed.
    ///
    /// # Errors
    /// When the folder holds no captures or no port is free.
    pub async fn start_tls(folder: &Path) -> io::Result<Self> {
        let identity = Identity::new()?;
        Self::serve(
            Service::new(Tree::load(folder)?),
            Some(identity),
            "127.0.0.1:0",
        )
        .await
    }

    /// Serves `service` on `listen`.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn serve(
        service: Service,
        identity: Option<Identity>,
        listen: &str,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let service = Arc::new(Mutex::new(service));
        let acceptor = identity.as_ref().map(Identity::acceptor).transpose()?;
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&service);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = Arc::clone(&shared);
                let acceptor = acceptor.clone();
                // Without it a reply waits for the client's delayed ACK.
                let _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    // A client that goes away is none of our business.
                    let _ = match acceptor {
                        None => http::serve_connection(stream, service.as_ref()).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => http::serve_connection(stream, service.as_ref()).await,
                            Err(error) => Err(error),
                        },
                    };
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            identity,
            service,
            _tasks: tasks,
        })
    }

    /// `http://127.0.0.1:PORT` or the same with https.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate, where it speaks TLS.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The service, to look into and to change.
    ///
    /// # Panics
    /// When a test failed while it held the service.
    pub fn service(&self) -> MutexGuard<'_, Service> {
        self.service
            .lock()
            .expect("nobody failed while holding the service")
    }

    /// Spoils answers from now on.
    pub fn add_fault(&self, rule: FaultRule) {
        self.service().faults.push(rule);
    }

    /// Requests so far, as `METHOD path`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.service().log.clone()
    }
}
