//! Image transfers under way, bounded, with the others told when to come back.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use rand::Rng as _;

use super::errors::Failure;
use super::queue::{Queue, Wait};
use crate::clock;
use crate::metrics::HttpMetrics;

/// Shared by all connections.
#[derive(Debug)]
pub struct Transfers {
    queue: Mutex<Queue>,
    metrics: HttpMetrics,
}

impl Transfers {
    /// At most `limit` clients fetch an image at once.
    #[must_use]
    pub fn new(limit: usize, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue::new(limit)),
            metrics,
        })
    }

    /// A seat for one transfer to `client`, or the time to come back.
    pub(super) fn ask(self: &Arc<Self>, client: IpAddr) -> Result<Seat, Wait> {
        let now = clock::monotonic();
        let jitter = rand::rng().random();
        let mut queue = self.lock();
        let asked = queue.ask(client, now, jitter);
        self.show(&queue);
        drop(queue);
        match asked {
            Ok(()) => Ok(Seat {
                transfers: Arc::clone(self),
                client,
            }),
            Err(wait) => {
                self.metrics.deferred();
                Err(wait)
            }
        }
    }

    fn show(&self, queue: &Queue) {
        let (active, waiting) = queue.counts();
        self.metrics.images(active, waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one transfer; ends when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    transfers: Arc<Transfers>,
    client: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut queue = self.transfers.lock();
        queue.leave(self.client, clock::monotonic());
        self.transfers.show(&queue);
    }
}

impl Wait {
    /// What the boot log says.
    pub(super) fn message(self) -> String {
        format!(
            "waits for its image: {} before it, asked to come back in {} s",
            self.before,
            self.after.as_secs().max(1)
        )
    }
}

impl From<Wait> for Failure {
    fn from(wait: Wait) -> Self {
        let error = "as many machines as this server may serve at once are fetching images";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error).retry_after(wait.after)
    }
}
