//! `GET /blobs/sha256/HEX`: kernels, initramfs and root file systems by digest.

use std::fs::File;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use boot_proto::ids::Digest;

use super::errors::{Failure, blocking};
use super::files::{Meter, Outgoing, send};
use super::{App, Peer};
use crate::boots::Fetched;
use crate::images::Role;

/// Sends a blob. What is under a digest never changes.
pub(super) async fn get(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(hex): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let outgoing = blocking(move || open(&app, peer, &hex)).await?;
    Ok(send(&method, &headers, outgoing))
}

fn open(app: &App, peer: Peer, hex: &str) -> Result<Outgoing, Failure> {
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
    Ok(Outgoing {
        file,
        size: metadata.len(),
        etag: format!("\"sha256:{hex}\""),
        cache_control: "public, max-age=31536000, immutable",
        content_type: "application/octet-stream",
        meter: Meter::new(app.boots.clone(), peer.address(), what),
    })
}
