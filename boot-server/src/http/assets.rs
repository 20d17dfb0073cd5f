//! `GET /assets/PATH`: files of the folder of assets, for Matchbox's machines.

use std::fs::{File, Metadata};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path as FilePath};
use std::time::UNIX_EPOCH;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::errors::{Failure, blocking};
use super::files::{Facts, Meter, Outgoing, choose_part, conditions, send};
use super::{App, Peer};
use crate::boots::Fetched;
use crate::manifests::Declared;

/// Sends a file of the folder; never one outside of it, and no list of files.
pub(super) async fn get(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (facts, outgoing) = blocking(move || open(&app, peer, &path)).await?;
    let chosen = choose_part(method == Method::GET, &conditions(&headers), &facts);
    Ok(send(chosen, outgoing))
}

fn open(app: &App, peer: Peer, path: &str) -> Result<(Facts, Outgoing), Failure> {
    let missing = || Failure::new(StatusCode::NOT_FOUND, "there is no asset of that name");
    let inventory = app.farm.inventory();
    let declared = inventory.declared();
    // Beside the manifests unless told otherwise.
    let folder = match &app.assets {
        Some(folder) => folder.clone(),
        None if declared.folder.as_os_str().is_empty() => return Err(missing()),
        None => declared.path_of("assets"),
    };
    let (file, metadata) = open_below(&folder, path).ok_or_else(missing)?;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let stamp = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let facts = Facts {
        size: metadata.len(),
        etag: format!("\"{:x}-{:x}\"", stamp.as_nanos(), metadata.len()),
        modified,
        cache_control: "no-cache",
        content_type: "application/octet-stream",
    };
    let meter = Meter::new(app, peer.address(), part_of_boot(declared, path));
    Ok((facts, Outgoing { file, meter }))
}

/// Opens a regular file below `folder` that everybody on this host may read.
/// Links are followed as long as they stay within the folder.
fn open_below(folder: &FilePath, path: &str) -> Option<(File, Metadata)> {
    let path = FilePath::new(path);
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b".")));
    if !is_plain || path.as_os_str().as_encoded_bytes().contains(&0) {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let path = folder.join(path).canonicalize().ok()?;
    if !path.starts_with(&folder) {
        return None;
    }
    // Opening a FIFO would wait for ever otherwise, and the links are followed
    // already.
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(&path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    let is_public = metadata.permissions().mode() & 0o004 != 0;
    (metadata.is_file() && is_public).then_some((file, metadata))
}

/// A kernel or initramfs, where a profile names the file so.
fn part_of_boot(declared: &Declared, path: &str) -> Option<Fetched> {
    let is_it = |text: &str| {
        let words = text.split_ascii_whitespace().last();
        words.is_some_and(|url| {
            url.split_once("/assets/")
                .is_some_and(|(_, asset)| asset == path)
        })
    };
    let boots = || declared.matchbox_profiles.values().map(|it| &it.spec.boot);
    if boots().any(|boot| is_it(&boot.kernel)) {
        return Some(Fetched::Kernel);
    }
    boots()
        .any(|boot| boot.initrd.iter().any(|initrd| is_it(initrd)))
        .then_some(Fetched::Initramfs)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_way_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let assets = dir.path().join("assets");
        fs::create_dir_all(assets.join("flatcar")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(assets.join("flatcar/vmlinuz"), "k").unwrap();
        fs::write(assets.join(".hidden"), "h").unwrap();
        fs::write(assets.join("private"), "p").unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(assets.join("private"), mode).unwrap();
        symlink("../secret", assets.join("out")).unwrap();
        symlink("flatcar", assets.join("current")).unwrap();
        symlink("/", assets.join("root")).unwrap();
        for (path, is_there) in [
            ("flatcar/vmlinuz", true),
            ("current/vmlinuz", true),
            ("flatcar//vmlinuz", true),
            ("flatcar", false),
            ("", false),
            ("../secret", false),
            ("flatcar/../../secret", false),
            ("/etc/passwd", false),
            ("root/etc/passwd", false),
            ("out", false),
            (".hidden", false),
            ("private", false),
            ("flatcar/vmlinuz\0", false),
            ("missing", false),
        ] {
            assert_eq!(open_below(&assets, path).is_some(), is_there, "{path:?}");
        }
        assert!(open_below(&dir.path().join("none"), "x").is_none());
    }
}
