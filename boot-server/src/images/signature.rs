//! The signature of an image's manifest. Its builder made it, offline, and nodes
//! check it with the key in their initramfs; a server only passes it on.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use boot_proto::boot_config::SignedManifest;
use boot_proto::ids::Digest;

use super::{ImageError, ImageStore};

/// The file that `minisign -Sm manifest.json` writes.
pub(super) const FILE: &str = "manifest.json.minisig";
/// Its largest size: comments are for people and short.
pub(super) const LIMIT: u64 = 16 << 10;

/// The text, where it has the four lines of a signature.
pub(super) fn parse(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let is_one = matches!(lines.as_slice(), [comment, _, trusted, _, ..]
        if comment.starts_with("untrusted comment:") && trusted.starts_with("trusted comment:"));
    is_one.then(|| text.to_owned())
}

/// Reads a signature, where there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>, ImageError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(ImageError::io("opening", path))?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT)
        .read_to_end(&mut bytes)
        .map_err(ImageError::io("reading", path))?;
    let text = parse(&bytes).ok_or_else(|| ImageError::Signature {
        path: path.to_owned(),
    })?;
    Ok(Some(text))
}

impl ImageStore {
    /// Whether an image came with a signature. Whose it is, nodes check.
    #[must_use]
    pub fn is_signed(&self, image: &Digest) -> bool {
        self.signature_path(image).is_file()
    }

    /// The manifest of an image with its signature, where it has one.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn signed(&self, image: &Digest) -> Result<Option<SignedManifest>, ImageError> {
        let Some(signature) = read(&self.signature_path(image))? else {
            return Ok(None);
        };
        let path = self.manifest_path(image);
        let manifest = std::fs::read_to_string(&path).map_err(ImageError::io("reading", &path))?;
        Ok(Some(SignedManifest {
            manifest,
            signature,
        }))
    }

    pub(super) fn signature_path(&self, image: &Digest) -> PathBuf {
        self.manifest_folder()
            .join(format!("{}.minisig", image.hex()))
    }
}
