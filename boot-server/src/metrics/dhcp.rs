//! Metrics of DHCP: messages in, answers out, silence with its reason, and
//! what a commit of leases costs.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByMessage {
    message: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByOption {
    option: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BySubnet {
    subnet: String,
}

/// Counters and gauges of DHCP; clones share them.
#[derive(Clone, Debug)]
pub struct DhcpMetrics {
    messages: Family<ByMessage, Counter>,
    replies: Family<ByMessage, Counter>,
    unanswered: Family<ByReason, Counter>,
    refused: Family<ByReason, Counter>,
    failures: Family<ByReason, Counter>,
    omitted: Family<ByOption, Counter>,
    leases: Family<BySubnet, Gauge>,
    free: Family<BySubnet, Gauge>,
    batch: Histogram,
    commit: Histogram,
}

impl DhcpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            messages: Family::default(),
            replies: Family::default(),
            unanswered: Family::default(),
            refused: Family::default(),
            failures: Family::default(),
            omitted: Family::default(),
            leases: Family::default(),
            free: Family::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
        };
        registry.register(
            "messages",
            "Messages of clients by type",
            metrics.messages.clone(),
        );
        registry.register("replies", "Answers by type", metrics.replies.clone());
        registry.register(
            "unanswered",
            "Messages left unanswered by reason",
            metrics.unanswered.clone(),
        );
        registry.register(
            "refused",
            "Requests refused with a NAK by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "failures",
            "Answers that were lost to a failure of this host by reason",
            metrics.failures.clone(),
        );
        registry.register(
            "omitted_options",
            "Options that an answer had no room for, by code; 82 is relay agent information",
            metrics.omitted.clone(),
        );
        registry.register("leases", "Leases that hold now", metrics.leases.clone());
        registry.register(
            "free_addresses",
            "Addresses of the ranges that nobody holds now",
            metrics.free.clone(),
        );
        registry.register(
            "commit_leases",
            "Leases that one commit made durable",
            metrics.batch.clone(),
        );
        registry.register_with_unit(
            "commit",
            "How long one commit took",
            Unit::Seconds,
            metrics.commit.clone(),
        );
        metrics
    }

    /// A message of a client came in.
    pub fn received(&self, message: &'static str) {
        self.messages.get_or_create(&ByMessage { message }).inc();
    }

    /// An answer went out.
    pub fn replied(&self, message: &'static str) {
        self.replies.get_or_create(&ByMessage { message }).inc();
    }

    /// A message was left unanswered.
    pub fn silent(&self, reason: &'static str) {
        self.unanswered.get_or_create(&ByReason { reason }).inc();
    }

    /// A request was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// An answer was lost: the store or the network failed.
    pub fn failed(&self, reason: &'static str) {
        self.failures.get_or_create(&ByReason { reason }).inc();
    }

    /// An answer went out without an option that it had no room for.
    pub fn omitted(&self, option: u8) {
        self.omitted.get_or_create(&ByOption { option }).inc();
    }

    /// A batch of leases was made durable.
    pub fn committed(&self, leases: usize, took: Duration) {
        self.batch.observe(leases as f64);
        self.commit.observe(took.as_secs_f64());
    }

    /// How many leases a subnet has, and how many addresses are left.
    pub fn leases(&self, subnet: &str, held: u64, free: u64) {
        let label = BySubnet {
            subnet: subnet.to_owned(),
        };
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.leases.get_or_create(&label).set(whole(held));
        self.free.get_or_create(&label).set(whole(free));
    }

    /// Forgets what was said of subnets: some may be gone.
    pub fn forget_subnets(&self) {
        self.leases.clear();
        self.free.clear();
    }
}
