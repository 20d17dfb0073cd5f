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
    let (facts, outgoing) = blocking(move || {
        let name = plain_name(&name).ok_or_else(missing)?;
        open(&app, peer, name)
    })
    .await?;
    let chosen = choose_part(method == Method::GET, &conditions(&headers), &facts);
    Ok(send(chosen, outgoing))
}

/// The file's own name. shim puts the path of what it loads next behind the folder
/// it came from, with the slash that it begins with, so that there are two; some
/// firmware sends backslashes, as its own file systems have them.
fn plain_name(path: &str) -> Option<&str> {
    let name = path.trim_start_matches(['/', '\\']);
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    is_plain.then_some(name)
}

fn missing() -> Failure {
    let text = "there is no boot loader of that name";
    Failure::new(StatusCode::NOT_FOUND, text)
}

fn open(app: &App, peer: Peer, name: &str) -> Result<(Facts, Outgoing), Failure> {
    let missing = || {
        tracing::info!(ip = ?peer.address(), file = name, "there is no boot loader of that name");
        missing()
    };
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

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_as_loaders_ask_for_them() {
        for (path, name) in [
            ("shimx64.efi", Some("shimx64.efi")),
            ("/grubx64.efi", Some("grubx64.efi")),
            ("\\grubx64.efi", Some("grubx64.efi")),
            ("//mmx64.efi", Some("mmx64.efi")),
            ("", None),
            ("/", None),
            ("..", None),
            ("/../state", None),
            (".hidden", None),
            ("a/b", None),
            ("a\\b", None),
            ("\\..\\b", None),
            ("a\0", None),
        ] {
            assert_eq!(plain_name(path), name, "{path:?}");
        }
    }
}
