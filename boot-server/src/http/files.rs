//! Sending a file, or a part of it, in large pieces.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::ranges::{Conditions, Part, choose};
use crate::boots::{BootLog, Fetched};

/// How much is read at a time: large enough that the threads' hand-over does not
/// count, small enough for hundreds of transfers at once.
const CHUNK: u64 = 256 * 1024;

/// A file to send.
pub(super) struct Outgoing {
    pub file: File,
    pub size: u64,
    /// Entity tag with its quotes.
    pub etag: String,
    pub cache_control: &'static str,
    pub content_type: &'static str,
    /// Told how much went out.
    pub meter: Meter,
}

/// Tells the boot log how much of a file went out, also when the client hangs up.
pub(super) struct Meter {
    pub boots: Arc<BootLog>,
    pub address: Option<Ipv4Addr>,
    pub what: Option<Fetched>,
    sent: u64,
    expected: u64,
}

impl Meter {
    pub const fn new(
        boots: Arc<BootLog>,
        address: Option<Ipv4Addr>,
        what: Option<Fetched>,
    ) -> Self {
        Self {
            boots,
            address,
            what,
            sent: 0,
            expected: 0,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let (Some(address), Some(what), 1..) = (self.address, self.what, self.expected) {
            self.boots.fetched(address, what, self.sent, self.expected);
        }
    }
}

/// Answers a GET or HEAD request for a file.
pub(super) fn send(method: &Method, headers: &HeaderMap, outgoing: Outgoing) -> Response {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let conditions = Conditions {
        if_match: text(header::IF_MATCH),
        if_none_match: text(header::IF_NONE_MATCH),
        if_range: text(header::IF_RANGE),
        // RFC 9110 §14.2: ranges are for GET alone.
        range: text(header::RANGE).filter(|_| method == Method::GET),
    };
    let size = outgoing.size;
    let (status, first, length) = match choose(&conditions, &outgoing.etag, size) {
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
    let etag = outgoing.etag.clone();
    let (cache_control, content_type) = (outgoing.cache_control, outgoing.content_type);
    let has_content = status.is_success();
    let body = if has_content && method == Method::GET && length > 0 {
        stream(outgoing, first, length)
    } else {
        Body::empty()
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes".into());
    if has_content {
        set(header::CACHE_CONTROL, cache_control.into());
        set(header::CONTENT_TYPE, content_type.into());
        set(header::CONTENT_LENGTH, length.to_string());
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first.saturating_add(length).saturating_sub(1);
        set(
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{size}"),
        );
    } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
        set(header::CONTENT_RANGE, format!("bytes */{size}"));
    }
    response
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
