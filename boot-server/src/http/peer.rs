//! The two ends of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The two ends of the connection that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's end.
    pub remote: SocketAddr,
    /// Our end: the address by which this client reaches us.
    pub local: SocketAddr,
    /// Whether it is TLS.
    pub is_tls: bool,
}

impl Peer {
    /// The client's IPv4 address; a v6 socket shows it mapped.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.remote.ip().to_canonical() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Our URL as this client reaches us, right on every interface.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!(
            "{scheme}://{}",
            SocketAddr::new(self.local.ip().to_canonical(), self.local.port())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let peer = |local: &str| Peer {
            remote: "10.0.0.9:1".parse().unwrap(),
            local: local.parse().unwrap(),
            is_tls: false,
        };
        assert_eq!(peer("10.0.0.1:8080").base_url(), "http://10.0.0.1:8080");
        assert_eq!(
            peer("[::ffff:10.0.0.1]:80").base_url(),
            "http://10.0.0.1:80"
        );
        assert_eq!(peer("[fd00::1]:80").base_url(), "http://[fd00::1]:80");
        let tls = Peer {
            is_tls: true,
            ..peer("10.0.0.1:8444")
        };
        assert_eq!(tls.base_url(), "https://10.0.0.1:8444");
    }
}
