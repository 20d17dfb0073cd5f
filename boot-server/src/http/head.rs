//! The head of an HTTP/1.1 request, where it is a plain one. Pure.
//!
//! What is odd in any way, or has a body that is not announced by its length,
//! is no business of ours: hyper reads it from its first byte on.

use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::ranges::Conditions;

/// Headers that a request may have.
const MAX_HEADERS: usize = 64;
/// Longest head that is read.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Largest body that is kept in memory; the routes take less.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// What the bytes that have come so far are.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// The beginning of a head.
    Incomplete,
    /// A whole and plain head.
    Plain(Head<'a>),
    /// Anything else.
    Foreign,
}

/// A plain request's head.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    /// Bytes of the head.
    pub length: usize,
    /// Method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Whether the connection stays open afterwards.
    pub keep_alive: bool,
    /// Whether the client knows chunks (RFC 9112 §7.1): HTTP/1.1 does.
    pub knows_chunks: bool,
    /// Bytes of the body.
    pub body: usize,
    /// Headers about versions and ranges.
    pub conditions: Conditions<'a>,
    headers: Vec<(&'a str, &'a [u8])>,
}

/// Reads what has come so far.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => {
            return Parsed::Incomplete;
        }
        Ok(httparse::Status::Partial) | Err(_) => return Parsed::Foreign,
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Parsed::Foreign;
    };
    let mut head = Head {
        length,
        method,
        target,
        keep_alive: version == 1,
        knows_chunks: version == 1,
        ..Head::default()
    };
    let mut has_host = version == 0;
    let mut has_length = false;
    for header in request.headers.iter() {
        let name = header.name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        head.headers.push((name, header.value));
        if is("transfer-encoding") || is("expect") || is("upgrade") {
            return Parsed::Foreign;
        }
        let Ok(value) = std::str::from_utf8(header.value) else {
            continue;
        };
        if is("content-length") {
            let length = value
                .parse::<u64>()
                .ok()
                .filter(|length| *length <= MAX_BODY_BYTES);
            let length = length.and_then(|length| usize::try_from(length).ok());
            match length {
                Some(length) if !has_length => head.body = length,
                _ => return Parsed::Foreign,
            }
            has_length = true;
        } else if is("connection") {
            match value.trim() {
                value if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
                value if value.eq_ignore_ascii_case("keep-alive") => head.keep_alive = true,
                _ => return Parsed::Foreign,
            }
        } else if is("host") {
            has_host = true;
        } else {
            head.conditions.take(name, value);
        }
    }
    // RFC 9112 §3.2 has an HTTP/1.1 request without Host refused; and a path is
    // what all servers but proxies are asked for.
    if !has_host || !target.starts_with('/') {
        return Parsed::Foreign;
    }
    Parsed::Plain(head)
}

/// The plain request that `bytes` begin with, the length of its head and that
/// of its body; `None` where there is none yet, or it is no plain one.
#[must_use]
pub fn plain_request(bytes: &[u8]) -> Option<(Request<()>, usize, usize)> {
    let Parsed::Plain(head) = parse(bytes) else {
        return None;
    };
    Some((head.to_request()?, head.length, head.body))
}

impl Head<'_> {
    /// The request as the routes take it, without its body.
    pub(super) fn to_request(&self) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = self.target.parse::<Uri>().ok()?;
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = HeaderValue::from_bytes(value).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Head<'_> {
        match parse(text.as_bytes()) {
            Parsed::Plain(head) => head,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn plain_requests() {
        let text =
            "GET /blobs/x?y HTTP/1.1\r\nHost: a\r\nRANGE: bytes=1-\r\nIf-Range: \"e\"\r\n\r\nrest";
        let head = plain(text);
        assert_eq!((head.method, head.target), ("GET", "/blobs/x?y"));
        assert_eq!(&text[head.length..], "rest");
        assert_eq!(head.conditions.range, Some("bytes=1-"));
        assert_eq!(head.conditions.if_range, Some("\"e\""));
        assert!(head.keep_alive && head.knows_chunks);
        let request = head.to_request().unwrap();
        assert_eq!(request.headers()["range"], "bytes=1-");
        let old = plain("HEAD / HTTP/1.0\r\n\r\n");
        assert!(!old.keep_alive && !old.knows_chunks);
        assert!(plain("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(!plain("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keep_alive);
        assert_eq!(
            plain("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n").body,
            7
        );
    }

    #[test]
    fn what_is_odd_is_left_to_hyper() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
            "\x16\x03\x01\x02",
        ] {
            assert!(
                matches!(parse(text.as_bytes()), Parsed::Foreign),
                "{text:?}"
            );
        }
        for text in ["", "GE", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            assert!(
                matches!(parse(text.as_bytes()), Parsed::Incomplete),
                "{text:?}"
            );
        }
        let endless = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(MAX_HEAD_BYTES));
        assert!(matches!(parse(endless.as_bytes()), Parsed::Foreign));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Parsed::Plain(head) = parse(&bytes) {
                let _ = head.to_request();
            }
        }
    }
}
