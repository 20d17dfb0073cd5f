//! Metrics of HTTP: files sent, and images under way or waited for.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::boots::Fetched;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByFile {
    file: &'static str,
    outcome: &'static str,
}

/// Counters and gauges of the boot face; clones share them.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    files: Family<ByFile, Counter>,
    bytes: Counter,
    active: Gauge,
    waiting: Gauge,
    deferred: Counter,
    limited: Counter,
}

impl HttpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "files",
            "Files asked for, by what they are and whether all of it was taken",
            metrics.files.clone(),
        );
        registry.register("sent_bytes", "Bytes of files sent", metrics.bytes.clone());
        registry.register(
            "active_image_clients",
            "Clients that fetch an image now",
            metrics.active.clone(),
        );
        registry.register(
            "waiting_image_clients",
            "Clients that were told when to come back for their image",
            metrics.waiting.clone(),
        );
        registry.register(
            "deferred_images",
            "How often a client was told to come back for its image",
            metrics.deferred.clone(),
        );
        registry.register(
            "rate_limited",
            "Requests refused because their client asks too often",
            metrics.limited.clone(),
        );
        metrics
    }

    /// A file, or a part of it, went out.
    pub fn file(&self, what: Option<Fetched>, sent: u64, is_whole: bool) {
        let file = match what {
            Some(Fetched::Loader) => "loader",
            Some(Fetched::Kernel) => "kernel",
            Some(Fetched::Initramfs) => "initramfs",
            Some(Fetched::Root) => "root",
            None => "other",
        };
        let outcome = if is_whole { "whole" } else { "broken" };
        self.files.get_or_create(&ByFile { file, outcome }).inc();
        self.bytes.inc_by(sent);
    }

    /// How many clients fetch an image, and how many wait for that.
    pub fn images(&self, active: usize, waiting: usize) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.active.set(whole(active));
        self.waiting.set(whole(waiting));
    }

    /// A client was told to come back.
    pub fn deferred(&self) {
        self.deferred.inc();
    }

    /// A request was refused: its client asks too often.
    pub fn limited(&self) {
        self.limited.inc();
    }
}
