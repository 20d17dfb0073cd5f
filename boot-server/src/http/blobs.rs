//! `GET /blobs/sha256/HEX`: kernels, initramfs and root file systems by digest.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use boot_proto::ids::Digest;
use boot_proto::time::Monotonic;

use super::errors::{Failure, blocking};
use super::files::{Facts, Meter, Outgoing, choose_part, conditions, send};
use super::head::Head;
use super::transfers::Seat;
use super::{App, Peer};
use crate::boots::Fetched;
use crate::clock;
use crate::images::Role;

const PREFIX: &str = "/blobs/sha256/";
/// Hex digits of a digest.
const DIGITS: usize = 64;
/// How long an open blob stands for what is on the disk: it may be removed.
const FRESH: Duration = Duration::from_secs(1);
/// A part of a root file system up to this size needs no seat.
const SMALL_PART: u64 = 1 << 20;

/// A blob's open file.
pub(super) struct Opened {
    pub file: File,
    facts: Facts,
    hex: String,
    what: Option<Fetched>,
    at: Monotonic,
}

/// The part of a blob that is sent.
pub(super) struct Content {
    pub opened: Arc<Opened>,
    pub first: u64,
    pub length: u64,
    /// Knows how much has gone out.
    pub meter: Meter,
}

impl Content {
    /// Reads the whole part, which is a small one.
    pub(super) fn append_to(&self, output: &mut Vec<u8>) -> std::io::Result<()> {
        let start = output.len();
        let length = usize::try_from(self.length).map_err(std::io::Error::other)?;
        output.resize(start.saturating_add(length), 0);
        let space = output.get_mut(start..).unwrap_or_default();
        self.opened.file.read_exact_at(space, self.first)
    }
}

/// An answer about a blob.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Option<Content>,
}

/// Answers a plain request for a blob, where it is one and the blob is there;
/// otherwise the routes say what is wrong.
pub(super) fn answer(
    app: &App,
    peer: Peer,
    head: &Head<'_>,
    last: &mut Option<Arc<Opened>>,
) -> Option<Answer> {
    let is_get = head.method == "GET";
    let hex = head.target.strip_prefix(PREFIX)?;
    if !(is_get || head.method == "HEAD") || head.body > 0 || hex.len() != DIGITS {
        return None;
    }
    let now = clock::monotonic();
    let known = last
        .take()
        .filter(|opened| opened.hex == hex && now.since(opened.at) < FRESH);
    let opened = match known {
        Some(opened) => opened,
        None => Arc::new(open(app, hex).ok()?),
    };
    *last = Some(Arc::clone(&opened));
    let (status, headers, part) = choose_part(is_get, &head.conditions, &opened.facts);
    let Some((first, length)) = part else {
        return Some(Answer {
            status,
            headers,
            content: None,
        });
    };
    let seat = match seat(app, peer, opened.what, length) {
        Ok(seat) => seat,
        // The route finds the same, and has the words for it.
        Err(failure) => return Some(refused(failure)),
    };
    let meter = meter(app, peer, opened.what, length, seat);
    Some(Answer {
        status,
        headers,
        content: Some(Content {
            opened,
            first,
            length,
            meter,
        }),
    })
}

/// The head alone of a refusal: clients go by the status and `Retry-After`.
fn refused(failure: Failure) -> Answer {
    let (parts, _) = failure.into_response().into_parts();
    let mut headers = parts.headers;
    headers.remove(axum::http::header::CONTENT_TYPE);
    headers.insert(axum::http::header::CONTENT_LENGTH, 0.into());
    Answer {
        status: parts.status,
        headers,
        content: None,
    }
}

/// A seat among the image transfers, where one is needed.
fn seat(
    app: &App,
    peer: Peer,
    what: Option<Fetched>,
    length: u64,
) -> Result<Option<Seat>, Failure> {
    if what != Some(Fetched::Root) || length <= SMALL_PART {
        return Ok(None);
    }
    app.transfers
        .ask(peer.remote.ip().to_canonical())
        .map(Some)
        .map_err(|wait| {
            if let Some(address) = peer.address() {
                app.boots.waiting(address, &wait.message());
            }
            wait.into()
        })
}

fn meter(app: &App, peer: Peer, what: Option<Fetched>, length: u64, seat: Option<Seat>) -> Meter {
    let mut meter = Meter::new(app, peer.address(), what);
    meter.expected = length;
    meter._seat = seat;
    meter
}

/// Sends a blob. What is under a digest never changes.
pub(super) async fn get(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(hex): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let opening = app.clone();
    let opened = blocking(move || open(&opening, &hex)).await?;
    let part = choose_part(method == Method::GET, &conditions(&headers), &opened.facts);
    let seat = match part.2 {
        Some((_, length)) => seat(&app, peer, opened.what, length)?,
        None => None,
    };
    let length = part.2.map_or(0, |(_, length)| length);
    let meter = meter(&app, peer, opened.what, length, seat);
    let file = opened.file;
    Ok(send(part, Outgoing { file, meter }))
}

fn open(app: &App, hex: &str) -> Result<Opened, Failure> {
    let missing = || Failure::new(StatusCode::NOT_FOUND, "there is no blob of that digest");
    // The one spelling in our own URLs; a digest has no other.
    let digest: Digest = hex.parse().map_err(|_| missing())?;
    if digest.hex() != hex {
        return Err(missing());
    }
    let file = File::open(app.images.blob_path(&digest)).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            missing()
        } else {
            Failure::internal(&error)
        }
    })?;
    let metadata = file.metadata().map_err(|error| Failure::internal(&error))?;
    if !metadata.is_file() {
        return Err(missing());
    }
    let what = app.images.role_of(&digest).map(|role| match role {
        Role::Kernel => Fetched::Kernel,
        Role::Initramfs => Fetched::Initramfs,
        Role::Root => Fetched::Root,
    });
    Ok(Opened {
        facts: Facts {
            size: metadata.len(),
            etag: format!("\"sha256:{hex}\""),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            cache_control: "public, max-age=31536000, immutable",
            content_type: "application/octet-stream",
        },
        file,
        hex: hex.to_owned(),
        what,
        at: clock::monotonic(),
    })
}
