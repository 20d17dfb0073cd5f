//! Answering for a file: which part, with what headers; and sending it in large
//! pieces where `sendfile` cannot be used.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::App;
use super::ranges::{Conditions, Part, choose};
use super::transfers::Seat;
use crate::boots::{BootLog, Fetched};
use crate::clock;
use crate::metrics::HttpMetrics;

/// How much is read at a time: large enough that the threads' hand-over does not
/// count, small enough for hundreds of transfers at once.
const CHUNK: u64 = 256 * 1024;

/// What is known of a file before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub size: u64,
    /// Entity tag with its quotes.
    pub etag: String,
    pub modified: SystemTime,
    pub cache_control: &'static str,
    pub content_type: &'static str,
}

/// A file to send.
pub(super) struct Outgoing {
    pub file: File,
    /// Told how much went out.
    pub meter: Meter,
}

/// Tells the boot log how much of a file went out, also when the client hangs up.
pub(super) struct Meter {
    boots: Arc<BootLog>,
    metrics: HttpMetrics,
    address: Option<Ipv4Addr>,
    what: Option<Fetched>,
    pub sent: u64,
    pub expected: u64,
    pub _seat: Option<Seat>,
}

impl Meter {
    pub fn new(app: &App, address: Option<Ipv4Addr>, what: Option<Fetched>) -> Self {
        Self {
            boots: Arc::clone(&app.boots),
            metrics: app.metrics.http.clone(),
            address,
            what,
            sent: 0,
            expected: 0,
            _seat: None,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.expected == 0 {
            return;
        }
        let is_whole = self.sent >= self.expected;
        self.metrics.file(self.what, self.sent, is_whole);
        if let (Some(address), Some(what)) = (self.address, self.what) {
            self.boots.fetched(address, what, self.sent, self.expected);
        }
    }
}

/// An answer but for its content: the status, the headers, and which bytes of
/// the file are its content, first and count, where it has any.
pub(super) type Chosen = (StatusCode, HeaderMap, Option<(u64, u64)>);

/// Headers of a request that decide which part is sent.
pub(super) fn conditions(headers: &HeaderMap) -> Conditions<'_> {
    let mut conditions = Conditions::default();
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            conditions.take(name.as_str(), value);
        }
    }
    conditions
}

/// Decides what a GET or HEAD request for a file is answered.
pub(super) fn choose_part(is_get: bool, conditions: &Conditions<'_>, facts: &Facts) -> Chosen {
    let conditions = Conditions {
        // RFC 9110 §14.2: ranges are for GET alone.
        range: conditions.range.filter(|_| is_get),
        ..*conditions
    };
    let size = facts.size;
    let part = choose(&conditions, &facts.etag, facts.modified, size);
    let (status, first, length) = match part {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Range { first, last } => (
            StatusCode::PARTIAL_CONTENT,
            first,
            last.saturating_sub(first).saturating_add(1),
        ),
        Part::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Part::Failed => (StatusCode::PRECONDITION_FAILED, 0, 0),
        Part::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut headers = HeaderMap::with_capacity(12);
    let has_content = status.is_success();
    set_date(&mut headers);
    set(&mut headers, header::ETAG, facts.etag.clone());
    let modified = httpdate::fmt_http_date(facts.modified);
    set(&mut headers, header::LAST_MODIFIED, modified);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if has_content || status == StatusCode::NOT_MODIFIED {
        let cache_control = HeaderValue::from_static(facts.cache_control);
        headers.insert(header::CACHE_CONTROL, cache_control);
    }
    if has_content {
        let content_type = HeaderValue::from_static(facts.content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first.saturating_add(length).saturating_sub(1);
        let range = format!("bytes {first}-{last}/{size}");
        set(&mut headers, header::CONTENT_RANGE, range);
    } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
        set(
            &mut headers,
            header::CONTENT_RANGE,
            format!("bytes */{size}"),
        );
    }
    let content = (has_content && is_get && length > 0).then_some((first, length));
    (status, headers, content)
}

/// Says when the answer was made (RFC 9110 §6.6.1).
pub(super) fn set_date(headers: &mut HeaderMap) {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(clock::wall().0);
    set(headers, header::DATE, httpdate::fmt_http_date(now));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The answer with its content.
pub(super) fn send(chosen: Chosen, outgoing: Outgoing) -> Response {
    let (status, headers, part) = chosen;
    let body = match part {
        Some((first, length)) => stream(outgoing, first, length),
        None => Body::empty(),
    };
    (status, headers, body).into_response()
}

struct Progress {
    file: Arc<File>,
    at: u64,
    left: u64,
    meter: Meter,
}

fn stream(outgoing: Outgoing, first: u64, length: u64) -> Body {
    let mut meter = outgoing.meter;
    meter.expected = length;
    let progress = Progress {
        file: Arc::new(outgoing.file),
        at: first,
        left: length,
        meter,
    };
    Body::from_stream(futures_util::stream::try_unfold(
        progress,
        |mut progress| async move {
            if progress.left == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let (file, at, count) = (
                Arc::clone(&progress.file),
                progress.at,
                progress.left.min(CHUNK),
            );
            let read = tokio::task::spawn_blocking(move || read_at(&file, at, count));
            let chunk = read.await.map_err(std::io::Error::other)??;
            let count = chunk.len() as u64;
            progress.at = progress.at.saturating_add(count);
            progress.left = progress.left.saturating_sub(count);
            // Counted as it is handed over: the last piece may still be lost.
            progress.meter.sent = progress.meter.sent.saturating_add(count);
            Ok(Some((Bytes::from(chunk), progress)))
        },
    ))
}

fn read_at(file: &File, at: u64, count: u64) -> std::io::Result<Vec<u8>> {
    let mut chunk = vec![0; usize::try_from(count).unwrap_or(0)];
    file.read_exact_at(&mut chunk, at)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_get_without_content_and_without_ranges() {
        let facts = Facts {
            size: 10,
            etag: "\"e\"".into(),
            modified: SystemTime::UNIX_EPOCH,
            cache_control: "no-cache",
            content_type: "application/efi",
        };
        let asked = |is_get, range| {
            let conditions = Conditions {
                range,
                ..Conditions::default()
            };
            choose_part(is_get, &conditions, &facts)
        };
        let (status, mut whole, content) = asked(true, None);
        assert_eq!((status, content), (StatusCode::OK, Some((0, 10))));
        whole.remove(header::DATE);
        for range in [None, Some("bytes=2-3"), Some("bytes=10-")] {
            let (status, mut headers, content) = asked(false, range);
            headers.remove(header::DATE);
            assert_eq!((status, content), (StatusCode::OK, None), "{range:?}");
            assert_eq!(headers, whole, "{range:?}");
        }
        let (status, headers, content) = asked(true, Some("bytes=10-"));
        assert_eq!((status, content), (StatusCode::RANGE_NOT_SATISFIABLE, None));
        assert_eq!(headers[header::CONTENT_RANGE], "bytes */10");
        let (status, headers, content) = asked(true, Some("bytes=2-3"));
        assert_eq!(
            (status, content),
            (StatusCode::PARTIAL_CONTENT, Some((2, 2)))
        );
        assert_eq!(headers[header::CONTENT_RANGE], "bytes 2-3/10");
        assert_eq!(headers[header::CONTENT_LENGTH], "2");
    }
}
