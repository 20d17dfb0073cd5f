//! The HTTP client below [`super::client`]: what every request carries, which
//! redirects are followed, and errors in one line.

use std::time::Duration;

use boot_proto::redfish_rules::RedfishRules;
use reqwest::header::{self, HeaderMap};
use reqwest::{Url, redirect};

/// What the error of a redirect loop says.
pub(super) const TOO_MANY_REDIRECTS: &str = "too many redirects";

/// A token that does not show up in logs.
pub(super) fn sensitive(token: &str) -> header::HeaderValue {
    let mut value = header::HeaderValue::from_str(token.trim())
        .unwrap_or_else(|_| header::HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Follows a redirect to the same host, port and scheme only: another host
/// would be sent the order, and perhaps the login.
fn same_host(attempt: redirect::Attempt<'_>) -> redirect::Action {
    const MOST: usize = 5;
    let place = |url: &Url| {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
        )
    };
    if attempt.previous().len() > MOST {
        return attempt.error(TOO_MANY_REDIRECTS);
    }
    match attempt.previous().first() {
        Some(first) if place(first) == place(attempt.url()) => attempt.follow(),
        _ => attempt.stop(),
    }
}

/// An HTTP client for one service.
pub(super) fn build(
    tls: &rustls::ClientConfig,
    rules: &RedfishRules,
    keep_alive: bool,
) -> Result<reqwest::Client, reqwest::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::ACCEPT,
        header::HeaderValue::from_static("application/json"),
    );
    headers.insert("OData-Version", header::HeaderValue::from_static("4.0"));
    // No Accept-Encoding: compression turns ETags weak.
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .http1_only()
        // A proxy of the environment is for the outside, not for BMCs.
        .no_proxy()
        .default_headers(headers)
        .user_agent(concat!(
            "moonfarm-chassis-agent/",
            env!("CARGO_PKG_VERSION")
        ))
        .redirect(redirect::Policy::custom(same_host))
        .connect_timeout(rules.http.connect.duration())
        .timeout(rules.http.request.duration())
        .pool_max_idle_per_host(usize::from(keep_alive))
        .pool_idle_timeout(Duration::from_secs(20))
        .build()
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
