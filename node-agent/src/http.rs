//! HTTP to boot-server: small JSON exchanges. The image's download is in
//! `fetch.rs`.
//!
//! Names are never resolved: this program is static, and the C library's
//! resolver would want shared libraries. Every URL has an address.
//!
//! Where the initramfs pins a CA, nothing is asked or told over plain HTTP.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use boot_proto::ids::MacAddr;
use ureq::Agent;
use ureq::http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};

use crate::tls::{PinnedCa, TlsConnector};

/// Bytes of a JSON answer at most; a boot config with many files has some 100 KB.
const ANSWER_LIMIT: u64 = 16 << 20;
/// Characters of an error's body that are worth telling.
const REASON_CHARS: usize = 300;

/// An exchange that did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("{url:?} is not an {scheme}:// URL with an IP address")]
    Url {
        /// The URL.
        url: String,
        /// What it should begin with.
        scheme: &'static str,
    },
    /// The URL is of plain HTTP, and a CA is pinned.
    #[error(
        "{url} is not TLS, and this initramfs pins a CA: start boot-server with --listen-boot-tls"
    )]
    Plain {
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
    /// The server's certificate is not to be trusted.
    #[error("nothing was asked of {url}: its certificate {why}")]
    Untrusted {
        /// The URL.
        url: String,
        /// Why, as the rest of a sentence.
        why: String,
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

/// A client with time limits, and with the servers it trusts.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    is_pinned: bool,
}

impl Client {
    /// A client with a time limit for connecting and for each read. With a CA it
    /// talks to servers of that CA only.
    #[must_use]
    pub fn new(connect: Duration, read: Duration, ca: Option<&PinnedCa>) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(connect))
            .timeout_send_request(Some(read))
            .timeout_recv_response(Some(read))
            .timeout_per_read(Some(read))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("node-agent")
            .build();
        let agent = match ca {
            None => config.new_agent(),
            Some(ca) => {
                let connector = ().chain(TcpConnector::default());
                let connector = connector.chain(TlsConnector(ca.clone()));
                Agent::with_parts(config, connector, DefaultResolver::default())
            }
        };
        let is_pinned = ca.is_some();
        Self { agent, is_pinned }
    }

    /// `GET url` from octet `from` on; the answer as it comes, whatever its status.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn open(&self, url: &str, from: u64) -> Result<Response<ureq::Body>, HttpError> {
        self.check(url)?;
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|source| no_answer(url, source))
    }

    /// `GET url`.
    ///
    /// # Errors
    /// When there is no answer, or one that is not 200.
    pub fn get(&self, url: &str) -> Result<String, HttpError> {
        self.check(url)?;
        answer(url, self.agent.get(url).call())
    }

    /// `POST url` with a JSON body.
    ///
    /// # Errors
    /// When there is no answer, or one that is not a success.
    pub fn post(&self, url: &str, json: &str) -> Result<String, HttpError> {
        self.check(url)?;
        let request = self.agent.post(url).content_type("application/json");
        answer(url, request.send(json))
    }

    /// Whether a URL may be used: it needs no name resolution, and where a CA is
    /// pinned it is one of TLS.
    fn check(&self, url: &str) -> Result<(), HttpError> {
        let scheme = if self.is_pinned { "https" } else { "http" };
        let shown = || url.chars().take(200).collect();
        let error = || HttpError::Url {
            url: shown(),
            scheme,
        };
        let parsed: Uri = url.parse().map_err(|_| error())?;
        let authority = parsed.authority().ok_or_else(error)?;
        let port = authority.port_u16().unwrap_or(80);
        let address: Result<SocketAddr, _> = format!("{}:{port}", authority.host()).parse();
        match parsed.scheme_str() {
            Some(given) if given == scheme && address.is_ok() => Ok(()),
            Some("http") if self.is_pinned => Err(HttpError::Plain { url: shown() }),
            _ => Err(error()),
        }
    }
}

/// Where to speak to `server`: its TLS face where a CA is pinned. With `port`,
/// the server said where that is.
#[must_use]
pub fn face(server: &str, port: Option<u16>, is_pinned: bool) -> String {
    let (Some(port), true, Some(rest)) = (port, is_pinned, server.strip_prefix("http://")) else {
        return server.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    // The colons of an IPv6 address are inside of brackets.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    format!("https://{host}:{port}")
}

fn answer(
    url: &str,
    response: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<String, HttpError> {
    let no_answer = |source| no_answer(url, source);
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

fn no_answer(url: &str, source: ureq::Error) -> HttpError {
    let url = url.to_owned();
    match crate::tls::refusal(&source) {
        Some(why) => HttpError::Untrusted { url, why },
        None => HttpError::NoAnswer {
            url,
            source: Box::new(source),
        },
    }
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
    let retry_after_secs = retry_after_secs(response.headers());
    HttpError::Status {
        url: url.to_owned(),
        status: response.status().as_u16(),
        body: text.chars().take(REASON_CHARS).collect(),
        retry_after_secs,
    }
}

/// `Retry-After` (RFC 9110 §10.2.3) in seconds. A date is held against the
/// answer's own `Date`, since a machine that boots may have any clock; who gives
/// one has a clock and sends the other (§6.6.1).
fn retry_after_secs(headers: &HeaderMap) -> Option<u64> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let moment = |text: &str| -> Option<SystemTime> { httpdate::parse_http_date(text).ok() };
    let (then, now) = (moment(value)?, moment(text(DATE)?)?);
    Some(then.duration_since(now).unwrap_or_default().as_secs())
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

    fn client(ca: Option<&PinnedCa>) -> Client {
        Client::new(Duration::from_secs(1), Duration::from_secs(1), ca)
    }

    #[test]
    fn urls_with_names_are_refused() {
        let plain = client(None);
        for url in [
            "http://10.0.0.1:8080/x",
            "http://10.0.0.1",
            "http://[fd00::1]:80/",
        ] {
            plain.check(url).unwrap();
        }
        for url in [
            "http://boot-server/x",
            "https://10.0.0.1/",
            "10.0.0.1",
            "",
            "ftp://1.2.3.4/",
        ] {
            assert!(plain.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn with_a_pinned_ca_nothing_goes_in_the_clear() {
        let ca = crate::tls::tests::Authority::new();
        let pinned = client(Some(&ca.pin()));
        pinned.check("https://10.0.0.1:8444/x").unwrap();
        let error = pinned.check("http://10.0.0.1:8080/x").unwrap_err();
        assert!(error.to_string().contains("--listen-boot-tls"), "{error}");
        assert!(pinned.check("https://boot-server/").is_err());
    }

    #[test]
    fn the_tls_face_is_of_the_same_server() {
        for (server, port, is_pinned, expected) in [
            (
                "http://10.0.0.1:8080",
                Some(8444),
                true,
                "https://10.0.0.1:8444",
            ),
            (
                "http://[fd00::1]:8080/",
                Some(1),
                true,
                "https://[fd00::1]:1",
            ),
            ("http://[fd00::1]", Some(1), true, "https://[fd00::1]:1"),
            (
                "http://10.0.0.1:8080",
                Some(8444),
                false,
                "http://10.0.0.1:8080",
            ),
            ("https://10.0.0.1:9", Some(8444), true, "https://10.0.0.1:9"),
            ("http://10.0.0.1:8080", None, true, "http://10.0.0.1:8080"),
        ] {
            assert_eq!(face(server, port, is_pinned), expected, "{server}");
        }
    }

    #[test]
    fn come_back_in_seconds_or_at_a_date() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (retry_after, date, expected) in [
            (" 7 ", None, Some(7)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", now, Some(120)),
            // The two older forms that every recipient has to read.
            ("Sunday, 06-Nov-94 08:49:47 GMT", now, Some(10)),
            ("Sun Nov  6 08:49:38 1994", now, Some(1)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", now, Some(0)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", None, None),
            ("-1", now, None),
            ("soon", now, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(retry_after_secs(&headers), expected, "{retry_after}");
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
