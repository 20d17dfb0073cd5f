//! What the server does, in numbers, for Prometheus.
//!
//! One module for each face; labels are words of a fixed list, or names that
//! operators gave, never a MAC, an address or a serial number.

mod dhcp;
mod http;
mod tftp;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use dhcp::DhcpMetrics;
pub use http::HttpMetrics;
pub use tftp::TftpMetrics;

/// What the page is: OpenMetrics, which Prometheus reads as it reads its own.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics. Share them as `Arc<Metrics>`; each face keeps a clone of its own part.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Of DHCP.
    pub dhcp: DhcpMetrics,
    /// Of the boot face.
    pub http: HttpMetrics,
    /// Of TFTP.
    pub tftp: TftpMetrics,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("moonfarm");
        let dhcp = DhcpMetrics::register(registry.sub_registry_with_prefix("dhcp"));
        let http = HttpMetrics::register(registry.sub_registry_with_prefix("http"));
        let tftp = TftpMetrics::register(registry.sub_registry_with_prefix("tftp"));
        Arc::new(Self {
            registry,
            dhcp,
            http,
            tftp,
        })
    }

    /// The page as Prometheus fetches it.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing into memory cannot fail.
        let _ = encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::new();
        metrics.dhcp.received("discover");
        metrics.dhcp.received("discover");
        metrics.dhcp.replied("offer");
        metrics.dhcp.silent("unknown-link");
        metrics.dhcp.leases("lan", 3, 7);
        let page = metrics.page();
        for line in [
            "moonfarm_dhcp_messages_total{message=\"discover\"} 2",
            "moonfarm_dhcp_replies_total{message=\"offer\"} 1",
            "moonfarm_dhcp_unanswered_total{reason=\"unknown-link\"} 1",
            "moonfarm_dhcp_leases{subnet=\"lan\"} 3",
            "moonfarm_dhcp_free_addresses{subnet=\"lan\"} 7",
        ] {
            assert!(
                page.lines().any(|own| own == line),
                "{line} is not in\n{page}"
            );
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
