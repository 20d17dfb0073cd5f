//! Taking an image out of the store.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;

use boot_proto::ids::Digest;

use super::add::sync_folder;
use super::{ImageError, ImageStore};

impl ImageStore {
    /// Removes the image of that manifest digest, and those of its blobs that no
    /// other image has. A transfer that is under way goes on to its end: the
    /// file lives as long as it is open.
    ///
    /// # Errors
    /// When there is no such image, or files cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let images = self.list()?;
        let Some(image) = images.iter().find(|image| image.digest == *digest) else {
            return Err(ImageError::Unknown {
                name: digest.to_string(),
            });
        };
        let path = self.manifest_path(digest);
        fs::remove_file(&path).map_err(ImageError::io("removing", &path))?;
        let _ = fs::remove_file(self.signature_path(digest));
        sync_folder(&path)?;
        let still_used: HashSet<Digest> = images
            .iter()
            .filter(|other| other.digest != *digest)
            .flat_map(|other| other.files().map(|(_, file)| file.digest))
            .collect();
        for (_, file) in image.files() {
            if still_used.contains(&file.digest) {
                continue;
            }
            let path = self.blob_path(&file.digest);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(ImageError::io("removing", &path)(error)),
            }
        }
        self.list()?;
        Ok(())
    }
}
