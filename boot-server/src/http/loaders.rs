//! `GET /loaders/FILE`: boot loaders, for firmware that boots by HTTP.

use std::fs::File;
use std::time::UNIX_EPOCH;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::errors::{Failure, blocking};
use super::files::{Facts, Meter, Outgoing, choose_part, conditions, send};
use super::{App, Peer};
use crate::boots::Fetched;
use crate::loaders;

/// Sends a file of the loaders' folder itself; nothing below or beside it.
pub(super) async fn get(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (facts, outgoing) = blocking(move || open(&app, peer, &name)).await?;
    let chosen = choose_part(method == Method::GET, &conditions(&headers), &facts);
    Ok(send(chosen, outgoing))
}

fn open(app: &App, peer: Peer, name: &str) -> Result<(Facts, Outgoing), Failure> {
    let missing = || {
        Failure::new(
            StatusCode::NOT_FOUND,
            "there is no boot loader of that name",
        )
    };
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if !is_plain {
        return Err(missing());
    }
    let file = File::open(loaders::locate(&app.loaders, name.as_ref())).map_err(|_| missing())?;
    let metadata = file.metadata().map_err(|error| Failure::internal(&error))?;
    if !metadata.is_file() {
        return Err(missing());
    }
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let stamp = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let facts = Facts {
        size: metadata.len(),
        etag: format!("\"{:x}-{:x}\"", stamp.as_nanos(), metadata.len()),
        modified,
        cache_control: "no-cache",
        // UEFI firmware takes the type for its word (UEFI 2.10 §24.7.3.1).
        content_type: if name.ends_with(".efi") {
            "application/efi"
        } else {
            "application/octet-stream"
        },
    };
    let meter = Meter::new(app, peer.address(), Some(Fetched::Loader));
    Ok((facts, Outgoing { file, meter }))
}
