//! Starts the threads and stops them.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::active::Shared;
use super::clients::Clients;
use super::crew::Crew;
use super::datagram;
use super::files::FileCache;
use super::worker::Worker;
use super::{TftpFiles, TftpOptions};
use crate::events::EventSink;
use crate::metrics::TftpMetrics;

/// Threads of each kind are many enough with these; the network is full before.
const MOST_THREADS: usize = 16;

/// The running TFTP server; stops when dropped.
#[derive(Debug)]
pub struct TftpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    crew: Arc<Crew>,
    threads: Vec<(Arc<EventFd>, JoinHandle<()>)>,
}

impl TftpServer {
    pub(super) fn start(
        files: TftpFiles,
        events: Arc<dyn EventSink>,
        metrics: TftpMetrics,
        options: &TftpOptions,
    ) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // Packets that come while a thread is at work are served without its being
        // woken: few threads with many transfers each sleep least.
        let count = match options.threads {
            0 => processors,
            count => count,
        };
        let own_threads = options
            .own_threads
            .unwrap_or_else(|| (processors / 2).max(1));
        let asked = SocketAddrV4::new(options.address, options.port);
        let sockets = datagram::listen(asked, count.min(MOST_THREADS))?;
        let address = sockets
            .first()
            .map_or(Ok(asked.into()), std::net::UdpSocket::local_addr)?;
        let shared = Arc::new(Shared {
            files: FileCache::new(files),
            events,
            metrics,
            // Behind a translated address there are many clients.
            clients: Clients::new(
                options.max_transfers,
                if options.single_port {
                    options.max_transfers
                } else {
                    options.max_per_client
                },
            ),
            single_port: options.single_port,
            processors,
        });
        let mut server = Self {
            address,
            stop: Arc::default(),
            crew: Crew::new(own_threads.min(MOST_THREADS)),
            threads: Vec::new(),
        };
        for socket in sockets {
            let wake = Arc::new(EventFd::from_flags(
                EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
            )?);
            let worker = Worker::new(
                socket,
                Arc::clone(&shared),
                Arc::clone(&server.crew),
                Arc::clone(&server.stop),
                Arc::clone(&wake),
            )?;
            let thread = std::thread::Builder::new()
                .name("tftp".into())
                .spawn(move || worker.run())?;
            server.threads.push((wake, thread));
        }
        Ok(server)
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; transfers under way end with it.
    pub async fn stop(self) {
        // Joining the threads takes a moment.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for TftpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (wake, _) in &self.threads {
            // It fails only where the counter is full, and then it wakes too.
            let _ = wake.write(1);
        }
        for (_, thread) in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.crew.stop();
    }
}
