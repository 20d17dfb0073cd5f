//! Starts the HTTP faces.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ServeError, ServeOptions};
use crate::http::{
    App, BearerToken, Certificate, Face, Limits, boot_router, management_router, serve,
    serve_on_threads,
};

/// The HTTP listeners, bound and not yet served.
pub(super) struct Faces {
    boot: TcpListener,
    boot_tls: Option<TcpListener>,
    management: TcpListener,
    certificate: Option<Arc<Certificate>>,
}

impl Faces {
    /// Takes the ports and reads the certificate.
    pub(super) async fn listen(options: &ServeOptions) -> Result<Self, ServeError> {
        let certificate = options.tls.clone().map(Certificate::open).transpose()?;
        let boot_tls = match options.listen_boot_tls {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self {
            boot: listen(options.listen_boot).await?,
            boot_tls,
            management: listen(options.listen_management).await?,
            certificate,
        })
    }

    /// Where the boot face and the management face listen.
    pub(super) fn addresses(&self, options: &ServeOptions) -> (SocketAddr, SocketAddr) {
        let local = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
        (
            local(&self.boot, options.listen_boot),
            local(&self.management, options.listen_management),
        )
    }

    /// Serves them until `stop` is cancelled.
    pub(super) fn serve(
        self,
        options: &ServeOptions,
        app: &App,
        token: BearerToken,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ServeError> {
        let acceptor = match &self.certificate {
            Some(certificate) => Some(certificate.acceptor()?),
            None => None,
        };
        let boot = Face::new(boot_router(app.clone()), Limits::default());
        if let (Some(listener), Some(acceptor)) = (self.boot_tls, acceptor.clone()) {
            let face = boot.clone().with_tls(acceptor);
            tasks.spawn(serve(listener, face, stop.clone()));
        }
        let failed = |source| ServeError::Listen {
            address: options.listen_boot,
            source,
        };
        let listener = self.boot.into_std().map_err(failed)?;
        let face = boot.with_blobs(app.clone());
        let threads = serve_on_threads(&listener, &face, stop).map_err(failed)?;
        tasks.spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let mut management = Face::new(management_router(app.clone(), token), Limits::default());
        if let (Some(acceptor), true) = (acceptor, options.management_tls) {
            management = management.with_tls(acceptor);
        }
        tasks.spawn(serve(self.management, management, stop.clone()));
        if let Some(certificate) = self.certificate {
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = certificate.watch() => {}
                }
            });
        }
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}
