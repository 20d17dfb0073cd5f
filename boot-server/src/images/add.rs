//! Taking an image folder into the store: checked while it is copied, durable
//! before it has a name.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use boot_proto::ids::{Checksum, Digest};
use boot_proto::image::{ImageFile, RootChecks};
use boot_proto::verity::RootHasher;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::{ImageError, ImageStore, files_of, read_manifest, signature};

/// How much is read, hashed and written at a time.
const CHUNK: usize = 1 << 20;

impl ImageStore {
    /// Copies the image in `folder` into the store and tells its digest.
    /// `progress` hears of each file: name, bytes so far, bytes in all.
    ///
    /// Blobs are written even where a blob of that name is there already: that
    /// heals one that was damaged on disk.
    ///
    /// # Errors
    /// When a file is missing, is not what the manifest says, or cannot be
    /// written. The store is then as it was.
    pub fn add(
        &self,
        folder: &Path,
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<Digest, ImageError> {
        let _lock = self.lock()?;
        let (bytes, manifest) = read_manifest(&folder.join("manifest.json"))?;
        for (_, file) in files_of(&manifest) {
            // A wrong one would stop every machine, long after the image was taken.
            let is_root = file.digest == manifest.root.digest;
            let checks = if is_root {
                &manifest.root_checks
            } else {
                &RootChecks::default()
            };
            self.add_blob(&folder.join(&file.file), file, checks, progress)?;
        }
        let digest = Digest::of(&bytes);
        if let Some(signature) = signature::read(&folder.join(signature::FILE))? {
            self.write_signature(&digest, &signature)?;
        }
        let mut draft = Draft::create(&self.manifest_folder(), &digest.hex())?;
        draft.write(&bytes)?;
        draft.keep_as(&self.manifest_path(&digest))?;
        self.list()?;
        Ok(digest)
    }

    /// Gives an image that came from elsewhere its name; its blobs are there.
    pub(super) fn keep_manifest(
        &self,
        digest: &Digest,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        if let Some(signature) = signature {
            self.write_signature(digest, signature)?;
        }
        let mut draft = Draft::create(&self.manifest_folder(), &digest.hex())?;
        draft.write(bytes)?;
        draft.keep_as(&self.manifest_path(digest))?;
        self.list().map(drop)
    }

    fn write_signature(&self, digest: &Digest, signature: &str) -> Result<(), ImageError> {
        let mut draft = Draft::create(&self.manifest_folder(), &format!("{}.sig", digest.hex()))?;
        draft.write(signature.as_bytes())?;
        draft.keep_as(&self.signature_path(digest))
    }

    /// Whether the blob of a file is there with the right size.
    pub(super) fn has_blob(&self, file: &ImageFile) -> bool {
        fs::metadata(self.blob_path(&file.digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
    }

    /// Where the beginning of a blob that is being fetched is kept.
    pub(super) fn part_path(&self, digest: &Digest) -> PathBuf {
        self.blob_folder().join(format!(".{}.fetch", digest.hex()))
    }

    /// Gives a blob that was fetched, checked and made durable its name.
    pub(super) fn keep_part(&self, part: &Path, digest: &Digest) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let path = self.blob_path(digest);
        fs::set_permissions(part, Permissions::from_mode(0o444))
            .and_then(|()| fs::rename(part, &path))
            .map_err(ImageError::io("naming", &path))?;
        sync_folder(&path)
    }

    /// Keeps two writers of the store apart until it is dropped.
    pub(super) fn lock(&self) -> Result<Flock<File>, ImageError> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ImageError::io("opening", &path))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| ImageError::io("locking", &path)(errno.into()))
    }

    fn add_blob(
        &self,
        path: &Path,
        file: &ImageFile,
        checks: &RootChecks,
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(), ImageError> {
        let mismatch = |reason| ImageError::Mismatch {
            path: path.to_owned(),
            reason,
        };
        let mut source = File::open(path).map_err(ImageError::io("opening", path))?;
        let metadata = source.metadata().map_err(ImageError::io("reading", path))?;
        if !metadata.is_file() {
            return Err(mismatch("it is not a regular file".into()));
        }
        if metadata.len() != file.size {
            return Err(mismatch(format!(
                "it has {} bytes, not {}",
                metadata.len(),
                file.size
            )));
        }
        let mut draft = Draft::create(&self.blob_folder(), &file.digest.hex())?;
        let mut hash = Sha256::new();
        let (mut blake3, mut verity) = (blake3::Hasher::new(), RootHasher::default());
        let mut buffer = vec![0; CHUNK];
        let mut done: u64 = 0;
        loop {
            progress(&file.file, done, file.size);
            let count = source
                .read(&mut buffer)
                .map_err(ImageError::io("reading", path))?;
            if count == 0 {
                break;
            }
            let chunk = buffer.get(..count).unwrap_or_default();
            hash.update(chunk);
            if checks.blake3.is_some() {
                blake3.update(chunk);
            }
            if checks.verity.is_some() {
                verity.update(chunk);
            }
            draft.write(chunk)?;
            done = done.saturating_add(count as u64);
        }
        let found = Digest::new(hash.finalize().into());
        if done != file.size || found != file.digest {
            return Err(mismatch(format!(
                "its digest is {found}, not {}",
                file.digest
            )));
        }
        let found = Checksum::new(blake3.finalize().into());
        if let Some(expected) = checks.blake3.filter(|expected| *expected != found) {
            return Err(mismatch(format!("its BLAKE3 is {found}, not {expected}")));
        }
        if let Some(expected) = checks.verity {
            let found = verity.finish();
            if found != Some(expected) {
                let found = found.map_or("none".to_owned(), |found| found.to_string());
                let text = format!("the root hash of its dm-verity is {found}, not {expected}");
                return Err(mismatch(text));
            }
        }
        draft.keep_as(&self.blob_path(&file.digest))
    }
}

/// A file being written under a name that nothing looks for; it goes away
/// unless it is kept.
struct Draft {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Draft {
    fn create(folder: &Path, name: &str) -> Result<Self, ImageError> {
        let path = folder.join(format!(".{name}.part"));
        // Left behind by a writer that was killed; the lock keeps others away.
        let _ = fs::remove_file(&path);
        let file = File::create_new(&path).map_err(ImageError::io("making", &path))?;
        Ok(Self {
            file,
            path,
            kept: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.file
            .write_all(bytes)
            .map_err(ImageError::io("writing", &self.path))
    }

    /// Makes the content durable, then gives it its name, then makes that durable.
    fn keep_as(mut self, path: &Path) -> Result<(), ImageError> {
        self.file
            .set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| self.file.sync_all())
            .map_err(ImageError::io("writing", &self.path))?;
        fs::rename(&self.path, path).map_err(ImageError::io("naming", path))?;
        self.kept = true;
        sync_folder(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in the folder of `path` durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), ImageError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(ImageError::io("writing", folder))
}
