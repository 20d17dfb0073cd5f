//! Metrics of TFTP: transfers begun and how they ended, bytes, refusals.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// Counters and gauges of TFTP; clones share them.
#[derive(Clone, Debug, Default)]
pub struct TftpMetrics {
    transfers: Family<ByOutcome, Counter>,
    refused: Family<ByReason, Counter>,
    active: Gauge,
    bytes: Counter,
}

impl TftpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "transfers",
            "Transfers that are over, by how they ended",
            metrics.transfers.clone(),
        );
        registry.register(
            "refused",
            "Requests refused or left alone, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "active_transfers",
            "Transfers under way",
            metrics.active.clone(),
        );
        registry.register(
            "sent_bytes",
            "Bytes of DATA packets sent, repeated ones too",
            metrics.bytes.clone(),
        );
        metrics
    }

    /// A transfer has begun.
    pub fn begun(&self) {
        self.active.inc();
    }

    /// A transfer is over: `whole`, `failed`, `probe` or `replaced`.
    pub fn ended(&self, outcome: &'static str) {
        self.active.dec();
        self.transfers.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// DATA packets went out.
    pub fn sent(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// A request was refused with an error of that code (RFC 1350 appendix).
    pub fn refused(&self, code: u16) {
        let reason = match code {
            1 => "not-found",
            2 => "access",
            4 => "illegal",
            5 => "unknown-transfer",
            _ => "other",
        };
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// A request was left alone: there is no room for its transfer.
    pub fn left_alone(&self) {
        let reason = "full";
        self.refused.get_or_create(&ByReason { reason }).inc();
    }
}
