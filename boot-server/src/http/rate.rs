//! How often one client may ask for what costs more than sending a file: a boot
//! config, a token, a report.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use boot_proto::time::Monotonic;

use super::Peer;
use super::errors::Failure;
use crate::clock;
use crate::metrics::HttpMetrics;

/// Requests that may come at once: a node reports every phase.
const BURST: u32 = 60;
/// One more each so often.
const EVERY: Duration = Duration::from_millis(100);
/// Clients that are remembered. Beyond that, those who have been quiet are
/// forgotten, and then all.
const MOST_CLIENTS: usize = 16_384;

/// Shared by all requests.
#[derive(Debug)]
pub struct Rate {
    buckets: Mutex<Buckets>,
    metrics: HttpMetrics,
}

impl Rate {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self {
            buckets: Mutex::default(),
            metrics,
        })
    }
}

/// Lets a request pass, unless its client asks too often.
pub(super) async fn limit(
    State(rate): State<Arc<Rate>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let client = peer.remote.ip().to_canonical();
    let wait = {
        let mut buckets = rate.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(client, clock::monotonic())
    };
    let Err(after) = wait else {
        return next.run(request).await;
    };
    rate.metrics.limited();
    tracing::debug!(ip = %client, "a client asks too often");
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "this machine asks too often")
        .retry_after(after)
        .into_response()
}

/// When each client's bucket was, or will be, full again. Pure.
#[derive(Debug, Default)]
struct Buckets {
    full_at: HashMap<IpAddr, Monotonic>,
}

impl Buckets {
    /// Takes one from the client's bucket, or tells when there is one again.
    fn take(&mut self, client: IpAddr, now: Monotonic) -> Result<(), Duration> {
        if self.full_at.len() >= MOST_CLIENTS && !self.full_at.contains_key(&client) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MOST_CLIENTS {
                self.full_at.clear();
            }
        }
        let full_at = self.full_at.entry(client).or_insert(now);
        let missing = full_at.since(now).saturating_add(EVERY);
        let room = EVERY * BURST;
        if missing > room {
            return Err(missing.saturating_sub(room));
        }
        *full_at = now.after(missing);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_steady_rate() {
        let mut buckets = Buckets::default();
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let at = |millis| Monotonic(Duration::from_millis(millis));
        for _ in 0..BURST {
            buckets.take(one, at(0)).unwrap();
        }
        assert_eq!(buckets.take(one, at(0)), Err(EVERY));
        assert_eq!(buckets.take(other, at(0)), Ok(()));
        assert_eq!(buckets.take(one, at(100)), Ok(()));
        assert!(buckets.take(one, at(150)).is_err());
        for _ in 0..BURST {
            buckets.take(one, at(60_000)).unwrap();
        }
        assert!(buckets.take(one, at(60_000)).is_err());
    }

    #[test]
    fn many_clients_take_bounded_room() {
        let mut buckets = Buckets::default();
        for number in 0..40_000_u32 {
            let client = std::net::Ipv4Addr::from(number).into();
            buckets.take(client, Monotonic(Duration::ZERO)).unwrap();
        }
        assert!(buckets.full_at.len() <= MOST_CLIENTS);
    }
}
