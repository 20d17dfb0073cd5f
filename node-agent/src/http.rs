//! HTTP to boot-server: small JSON exchanges. The image's download is in
//! `fetch.rs`.
//!
//! Names are never resolved: this program is static, and the C library's
//! resolver would want shared libraries. Every URL has an address.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use ureq::Agent;
use ureq::http::{Response, Uri};

/// Bytes of a JSON answer at most; a boot config with many files has some 100 KB.
const ANSWER_LIMIT: u64 = 16 << 20;
/// Characters of an error's body that are worth telling.
const REASON_CHARS: usize = 300;

/// An exchange that did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("{url:?} is not an http:// URL with an IP address")]
    Url {
        /// The URL.
        url: String,
    },
    /// There was no answer.
    #[error("no answer from {url}")]
    NoAnswer {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server answered that it will not.
    #[error("{url} answered {status}{}", reason(body))]
    Status {
        /// The URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        body: String,
        /// `Retry-After` in seconds.
        retry_after_secs: Option<u64>,
    },
}

impl HttpError {
    /// How long the server asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status {
                retry_after_secs, ..
            } => retry_after_secs.map(Duration::from_secs),
            _ => None,
        }
    }
}

fn reason(body: &str) -> String {
    // Boot-server's errors are JSON with a sentence in them.
    let sentence = serde_json::from_str::<boot_proto::api::ApiError>(body).map(|e| e.error);
    match sentence {
        Ok(sentence) => format!(": {sentence}"),
        Err(_) if body.trim().is_empty() => String::new(),
        Err(_) => format!(": {}", body.trim()),
    }
}

/// A client with a time limit for connecting and for each read.
#[must_use]
pub fn client(connect: Duration, read: Duration) -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(connect))
        .timeout_send_request(Some(read))
        .timeout_recv_response(Some(read))
        .timeout_per_read(Some(read))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent("node-agent")
        .build()
        .new_agent()
}

/// Checks that a URL needs no name resolution.
///
/// # Errors
/// When it does, or is no URL of HTTP.
pub fn check(url: &str) -> Result<(), HttpError> {
    let error = || HttpError::Url {
        url: url.chars().take(200).collect(),
    };
    let parsed: Uri = url.parse().map_err(|_| error())?;
    let authority = parsed.authority().ok_or_else(error)?;
    let port = authority.port_u16().unwrap_or(80);
    let address: Result<SocketAddr, _> = format!("{}:{port}", authority.host()).parse();
    if parsed.scheme_str() == Some("http") && address.is_ok() {
        Ok(())
    } else {
        Err(error())
    }
}

/// `GET url`.
///
/// # Errors
/// When there is no answer, or one that is not 200.
pub fn get(client: &Agent, url: &str) -> Result<String, HttpError> {
    check(url)?;
    answer(url, client.get(url).call())
}

/// `POST url` with a JSON body.
///
/// # Errors
/// When there is no answer, or one that is not a success.
pub fn post(client: &Agent, url: &str, json: &str) -> Result<String, HttpError> {
    check(url)?;
    answer(
        url,
        client.post(url).content_type("application/json").send(json),
    )
}

fn answer(
    url: &str,
    response: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<String, HttpError> {
    let no_answer = |source| HttpError::NoAnswer {
        url: url.to_owned(),
        source: Box::new(source),
    };
    let mut response = response.map_err(no_answer)?;
    if !response.status().is_success() {
        return Err(refused(url, response));
    }
    response
        .body_mut()
        .with_config()
        .limit(ANSWER_LIMIT)
        .read_to_string()
        .map_err(no_answer)
}

/// The error of an answer that is not a success.
pub fn refused(url: &str, mut response: Response<ureq::Body>) -> HttpError {
    let mut bytes = Vec::new();
    let _ = response
        .body_mut()
        .as_reader()
        .take(4096)
        .read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let retry_after = response.headers().get("retry-after");
    HttpError::Status {
        url: url.to_owned(),
        status: response.status().as_u16(),
        body: text.chars().take(REASON_CHARS).collect(),
        retry_after_secs: retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok()),
    }
}

/// The URL of a route of boot-server that concerns one machine.
#[must_use]
pub fn machine_url(server: &str, route: &str, mac: MacAddr) -> String {
    format!(
        "{}/v1/{route}?mac={}",
        server.trim_end_matches('/'),
        mac.dashed()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_names_are_refused() {
        for url in [
            "http://10.0.0.1:8080/x",
            "http://10.0.0.1",
            "http://[fd00::1]:80/",
        ] {
            check(url).unwrap();
        }
        for url in [
            "http://boot-server/x",
            "https://10.0.0.1/",
            "10.0.0.1",
            "",
            "ftp://1.2.3.4/",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_refusal_tells_the_servers_sentence() {
        let error = HttpError::Status {
            url: "http://10.0.0.1/v1/boot-config".to_owned(),
            status: 403,
            body: r#"{"error":"10.0.0.9 is not leased to it"}"#.to_owned(),
            retry_after_secs: Some(3),
        };
        let text = error.to_string();
        assert!(
            text.ends_with("answered 403: 10.0.0.9 is not leased to it"),
            "{text}"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
}
