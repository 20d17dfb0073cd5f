//! Accepting connections: how many, from whom, and how slow they may be.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connection::Fast;
use super::{App, Peer};

/// What one face puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from one address; further ones are closed.
    pub per_client: usize,
    /// How long the head of a request may take, and how long a connection may
    /// lie idle between two.
    pub head: Duration,
    /// How long a client may take nothing of what is being sent.
    pub stall: Duration,
    /// What a client must take of a large file, averaged over half a minute.
    pub bytes_per_second: u64,
    /// How long requests under way may still take once the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            // Behind a translated address there is a whole rack.
            per_client: 512,
            head: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            bytes_per_second: 4096,
            drain: Duration::from_millis(1500),
        }
    }
}

/// What a face answers with, and what it puts up with.
#[derive(Clone)]
pub struct Face {
    router: Router,
    limits: Limits,
    seats: Arc<Semaphore>,
    clients: Clients,
    fast: Option<Arc<Fast>>,
    tls: Option<TlsAcceptor>,
}

impl Face {
    /// A face with the routes of `router`.
    #[must_use]
    pub fn new(router: Router, limits: Limits) -> Self {
        Self {
            router,
            limits,
            seats: Arc::new(Semaphore::new(limits.connections)),
            clients: Clients::default(),
            fast: None,
            tls: None,
        }
    }

    /// With blobs of `app` sent by the kernel. The routes run on the current
    /// tokio runtime, whichever runtime the connections are served on.
    #[must_use]
    pub fn with_blobs(mut self, app: App) -> Self {
        self.fast = Some(Arc::new(Fast {
            app,
            router: self.router.clone(),
            routes: tokio::runtime::Handle::current(),
        }));
        self
    }

    /// Over TLS, and in nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsAcceptor) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// Serves `face` on `listener` until `stop` is cancelled, then lets requests
/// under way finish within [`Limits::drain`].
pub async fn serve(listener: TcpListener, face: Face, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &face.seats) => accepted,
        };
        let (stream, remote, seat) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: time for others to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let Some(client) = face.clients.enter(remote.ip(), face.limits.per_client) else {
            tracing::warn!(ip = %remote.ip(), "a client has too many connections; one more is closed");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let peer = Peer {
            remote,
            local,
            is_tls: face.tls.is_some(),
        };
        let connection = connect(stream, peer, face.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop((seat, client));
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(face.limits.drain, drained).await;
}

async fn connect(stream: TcpStream, peer: Peer, face: Face, stop: CancellationToken) {
    if let Some(tls) = &face.tls {
        match tokio::time::timeout(face.limits.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => run(stream, peer, face.router, face.limits, stop).await,
            Ok(Err(error)) => {
                tracing::debug!(ip = %peer.remote.ip(), %error, "TLS was not agreed on");
            }
            Err(_elapsed) => {}
        }
    } else if let Some(fast) = &face.fast {
        super::connection::run(stream, peer, fast, face.limits, stop).await;
    } else {
        run(stream, peer, face.router, face.limits, stop).await;
    }
}

/// Waits for a free seat, then for a connection.
async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> io::Result<(
    TcpStream,
    std::net::SocketAddr,
    tokio::sync::OwnedSemaphorePermit,
)> {
    let seat = Arc::clone(seats)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, seat))
}

/// Lets hyper serve a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(Body::new))
    });
    let io = TokioIo::new(Stalling::new(stream, limits.stall));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(64)
        .max_buf_size(64 * 1024)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(ip = %peer.remote.ip(), error = %crate::images::chain(&error), "connection ended");
    }
}

/// Connections of each client.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Clients {
    fn enter(&self, ip: IpAddr, limit: usize) -> Option<Visit> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= limit {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Visit {
            clients: self.clone(),
            ip,
        })
    }
}

/// One connection of a client; ends when dropped.
struct Visit {
    clients: Clients,
    ip: IpAddr,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut counts = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// A stream that fails when the other end takes nothing for too long.
struct Stalling<S> {
    stream: S,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    const fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            deadline: None,
        }
    }

    /// Starts the clock when a write has to wait, stops it when one goes on.
    fn watch<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let limit = self.limit;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(result, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_dropped() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Stalling::new(ours, Duration::from_millis(20));
        stream.write_all(&[0; 16]).await.unwrap();
        let error = stream.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn connections_of_one_client_are_counted() {
        let clients = Clients::default();
        let ip: IpAddr = "10.0.0.9".parse().unwrap();
        let first = clients.enter(ip, 2);
        let second = clients.enter(ip, 2);
        assert!(first.is_some() && second.is_some());
        assert!(clients.enter(ip, 2).is_none());
        assert!(clients.enter("10.0.0.10".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(clients.enter(ip, 2).is_some());
        drop(second);
        assert!(clients.0.lock().unwrap().is_empty());
    }
}
