//! The image store: a folder of blobs and manifests, each named by its SHA-256.
//!
//! `STATE/images/blobs/sha256/HEX` holds kernels, initramfs and root file
//! systems, `STATE/images/manifests/HEX.json` what belongs together. The
//! command line writes it, also while a server runs; the server reads it anew
//! whenever the folder holds other manifests than it knows.

mod add;
pub mod origin;
mod remove;
mod resolve;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::UNIX_EPOCH;

use boot_proto::ids::Digest;
use boot_proto::image::{ImageFile, ImageManifest};
use boot_proto::time::WallClock;

pub use resolve::resolve_name;
pub use verify::{BlobFault, BlobReport, Verdict};

/// Largest `manifest.json` that is read.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// What can go wrong with the image store.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("{doing} {path}")]
    Io {
        /// What was tried, such as `reading`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `manifest.json` is not one.
    #[error("{path} is not an image manifest this version understands: {reason}")]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the image is not what the manifest says.
    #[error("{path} is not what the manifest says: {reason}; build the image again")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// What lies beside the manifest is no signature.
    #[error("{path} is no signature of minisign; sign manifest.json anew, or remove that file")]
    Signature {
        /// Which file.
        path: PathBuf,
    },
    /// No image of that name or digest.
    #[error(
        "there is no image {name:?} in the store; `boot-server image list` shows what there is"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It is on its way into the store, or could not be fetched.
    #[error("image {name:?} is not in the store yet; {status}")]
    Coming {
        /// What was asked for.
        name: String,
        /// How far that is.
        status: String,
    },
    /// A short digest fits several images.
    #[error("{name:?} is the beginning of several digests; give more digits")]
    Ambiguous {
        /// What was asked for.
        name: String,
    },
}

impl ImageError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredImage {
    /// SHA-256 of the manifest's bytes; the image's name.
    pub digest: Digest,
    /// What the image consists of.
    pub manifest: ImageManifest,
    /// When it was added, or added again.
    pub added: WallClock,
    /// The same to the nanosecond, so that "newest" is never a draw of two
    /// images added in one script.
    added_ns: u128,
}

impl StoredImage {
    /// Bytes of kernel, initramfs and root file system together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files()
            .iter()
            .fold(0, |sum, (_, file)| sum.saturating_add(file.size))
    }

    /// The image's files, each with what it is for.
    #[must_use]
    pub fn files(&self) -> [(Role, &ImageFile); 3] {
        files_of(&self.manifest)
    }
}

fn files_of(manifest: &ImageManifest) -> [(Role, &ImageFile); 3] {
    [
        (Role::Kernel, &manifest.kernel),
        (Role::Initramfs, &manifest.initramfs),
        (Role::Root, &manifest.root),
    ]
}

/// What a file of an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The kernel.
    Kernel,
    /// The initramfs.
    Initramfs,
    /// The root file system.
    Root,
}

/// The image store in one folder.
#[derive(Debug)]
pub struct ImageStore {
    root: PathBuf,
    known: RwLock<Arc<Vec<StoredImage>>>,
    /// Of images that are fetched from elsewhere: how far that is.
    coming: RwLock<HashMap<Digest, String>>,
}

impl ImageStore {
    /// Opens the store in `root` (`STATE/images`), making the folders where
    /// they are missing.
    ///
    /// # Errors
    /// When the folders cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let store = Self {
            root: root.to_owned(),
            known: RwLock::default(),
            coming: RwLock::default(),
        };
        for folder in [store.blob_folder(), store.manifest_folder()] {
            fs::create_dir_all(&folder).map_err(ImageError::io("making", &folder))?;
        }
        store.list()?;
        Ok(store)
    }

    /// Every image, oldest first. Manifests are named by their content, so the
    /// same file names mean that nothing has changed since the last look.
    ///
    /// # Errors
    /// When the folder cannot be read. A manifest that is damaged is reported in
    /// the log and left out.
    pub fn list(&self) -> Result<Arc<Vec<StoredImage>>, ImageError> {
        let on_disk = self.stamps()?;
        let known = self.known();
        let unchanged = known.len() == on_disk.len()
            && known
                .iter()
                .all(|image| on_disk.contains(&(image.digest, image.added_ns)));
        if unchanged {
            return Ok(known);
        }
        let mut images: Vec<StoredImage> = on_disk
            .into_iter()
            .filter_map(|(digest, added_ns)| {
                let earlier = known.iter().find(|image| image.digest == digest).cloned();
                let manifest = match earlier {
                    Some(image) => image.manifest,
                    None => self.read_stored_manifest(digest)?,
                };
                let added = WallClock(u64::try_from(added_ns / 1_000_000).unwrap_or(u64::MAX));
                Some(StoredImage {
                    digest,
                    manifest,
                    added,
                    added_ns,
                })
            })
            .collect();
        images.sort_by_key(|image| (image.added_ns, image.digest));
        let images = Arc::new(images);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = images.clone();
        Ok(images)
    }

    /// Where the blob of `digest` is, whether it is there or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_folder().join(digest.hex())
    }

    /// What a blob is for, by the manifests last read.
    #[must_use]
    pub fn role_of(&self, blob: &Digest) -> Option<Role> {
        self.known()
            .iter()
            .rev()
            .flat_map(|image| image.files().map(|(role, file)| (role, file.digest)))
            .find_map(|(role, digest)| (digest == *blob).then_some(role))
    }

    /// Remembers how far the fetching of an image is; `None` when it is there.
    fn tell(&self, image: Digest, status: Option<String>) {
        let mut coming = self.coming.write().unwrap_or_else(PoisonError::into_inner);
        match status {
            Some(status) => coming.insert(image, status),
            None => coming.remove(&image),
        };
    }

    /// How far the fetching of an image is, where it is fetched from elsewhere.
    #[must_use]
    pub fn coming(&self, image: &Digest) -> Option<String> {
        let coming = self.coming.read().unwrap_or_else(PoisonError::into_inner);
        coming.get(image).cloned()
    }

    fn known(&self) -> Arc<Vec<StoredImage>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn blob_folder(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    fn manifest_folder(&self) -> PathBuf {
        self.root.join("manifests")
    }

    fn manifest_path(&self, digest: &Digest) -> PathBuf {
        self.manifest_folder()
            .join(format!("{}.json", digest.hex()))
    }

    /// Digest and time of every manifest file.
    fn stamps(&self) -> Result<Vec<(Digest, u128)>, ImageError> {
        let folder = self.manifest_folder();
        let entries = fs::read_dir(&folder).map_err(ImageError::io("reading", &folder))?;
        let mut stamps = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ImageError::io("reading", &folder))?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let Some(digest) = digest.and_then(|hex| hex.parse::<Digest>().ok()) else {
                continue;
            };
            // It may have been removed since the folder was read.
            let Ok(modified) = entry.metadata().and_then(|data| data.modified()) else {
                continue;
            };
            let nanos = modified
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos();
            stamps.push((digest, nanos));
        }
        Ok(stamps)
    }

    fn read_stored_manifest(&self, digest: Digest) -> Option<ImageManifest> {
        let path = self.manifest_path(&digest);
        match read_manifest(&path) {
            Ok((bytes, manifest)) if Digest::of(&bytes) == digest => Some(manifest),
            Ok(_) => {
                tracing::error!(%digest, path = %path.display(),
                    "an image's manifest is damaged; remove the image and add it again");
                None
            }
            Err(error) => {
                tracing::error!(%digest, error = %chain(&error), "an image is left out");
                None
            }
        }
    }
}

/// Reads a manifest: its bytes, which name the image, and what they say.
fn read_manifest(path: &Path) -> Result<(Vec<u8>, ImageManifest), ImageError> {
    use std::io::Read as _;
    let refuse = |reason: String| ImageError::Manifest {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(ImageError::io("reading", path))?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(refuse(format!("it has more than {MANIFEST_LIMIT} bytes")));
    }
    let manifest = parse_manifest(path, &bytes)?;
    Ok((bytes, manifest))
}

/// What a manifest says, where it is one. `path` is where it came from.
fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<ImageManifest, ImageError> {
    let refuse = |reason: String| ImageError::Manifest {
        path: path.to_owned(),
        reason,
    };
    let manifest: ImageManifest =
        serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    if manifest.version != boot_proto::image::VERSION {
        return Err(refuse(format!(
            "its version is {}, known is {}",
            manifest.version,
            boot_proto::image::VERSION
        )));
    }
    for (_, file) in files_of(&manifest) {
        let is_plain = !file.file.is_empty()
            && file.file != "."
            && file.file != ".."
            && !file.file.contains(['/', '\0']);
        if !is_plain {
            return Err(refuse(format!("{:?} is not a plain file name", file.file)));
        }
    }
    Ok(manifest)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// An image as the store would list it, for tests of what uses one.
#[cfg(test)]
pub(crate) fn stored_for_tests(manifest: &ImageManifest) -> StoredImage {
    let bytes = serde_json::to_vec(manifest).unwrap_or_default();
    StoredImage {
        digest: Digest::of(&bytes),
        manifest: manifest.clone(),
        added: WallClock(0),
        added_ns: 0,
    }
}
