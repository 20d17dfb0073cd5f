//! Reading the store's blobs again, to find what the disk has done to them.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use boot_proto::ids::Digest;
use boot_proto::image::ImageFile;
use sha2::{Digest as _, Sha256};

use super::{ImageError, ImageStore, StoredImage};

/// What reading one blob again showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobReport {
    /// File name in the image.
    pub file: String,
    /// What its digest must be.
    pub digest: Digest,
    /// What is wrong with it, if anything.
    pub fault: Option<BlobFault>,
}

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Its content is another.
    #[error("is damaged: {size} bytes with digest {found}")]
    Damaged {
        /// Its size in bytes.
        size: u64,
        /// The digest that it has.
        found: Digest,
    },
}

/// What reading one image again showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The image.
    pub image: StoredImage,
    /// Its blobs.
    pub blobs: Vec<BlobReport>,
}

impl Verdict {
    /// Whether every blob is what it must be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.blobs.iter().all(|blob| blob.fault.is_none())
    }
}

impl ImageStore {
    /// Reads every blob of `image` and compares digests.
    #[must_use]
    pub fn verify(&self, image: &StoredImage) -> Verdict {
        let blobs = image.files().map(|(_, file)| BlobReport {
            file: file.file.clone(),
            digest: file.digest,
            fault: self.blob_fault(file),
        });
        Verdict {
            image: image.clone(),
            blobs: blobs.into(),
        }
    }

    /// Whether all blobs of `image` are there with the right size. Cheap; it
    /// does not read them.
    ///
    /// # Errors
    /// Names the first blob that is missing or has another size.
    pub fn check_present(&self, image: &StoredImage) -> Result<(), ImageError> {
        for (_, file) in image.files() {
            let path = self.blob_path(&file.digest);
            let metadata = std::fs::metadata(&path).map_err(ImageError::io("reading", &path))?;
            if metadata.len() != file.size {
                let reason = format!("it has {} bytes, not {}", metadata.len(), file.size);
                return Err(ImageError::Mismatch { path, reason });
            }
        }
        Ok(())
    }

    fn blob_fault(&self, file: &ImageFile) -> Option<BlobFault> {
        let mut blob = match File::open(self.blob_path(&file.digest)) {
            Ok(blob) => blob,
            Err(error) if error.kind() == ErrorKind::NotFound => return Some(BlobFault::Missing),
            Err(error) => return Some(BlobFault::Unreadable(error.to_string())),
        };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size: u64 = 0;
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hash.update(buffer.get(..count).unwrap_or_default());
                    size = size.saturating_add(count as u64);
                }
                Err(error) => return Some(BlobFault::Unreadable(error.to_string())),
            }
        }
        let found = Digest::new(hash.finalize().into());
        let is_right = found == file.digest && size == file.size;
        (!is_right).then_some(BlobFault::Damaged { size, found })
    }
}
