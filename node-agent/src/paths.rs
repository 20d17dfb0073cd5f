//! Where things are in the initramfs and in the new root.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use boot_proto::ids::Digest;

/// The mark beside a kept image that a running system reads from it.
#[must_use]
pub fn in_use(kept: &Path) -> PathBuf {
    kept.with_extension("in-use")
}

/// A new file that nobody but root ever reads; what was there is gone.
///
/// # Errors
/// When it cannot be made.
pub fn create_secret(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// The places of a boot, all below one directory: `/`, or that of a test.
#[derive(Clone, Debug)]
pub struct Paths {
    base: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Paths {
    /// The places below `base`.
    #[must_use]
    pub fn below(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
        }
    }

    /// A place below the base, named without a leading slash.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// The new root, as long as it is not the root.
    #[must_use]
    pub fn new_root(&self) -> PathBuf {
        self.at("newroot")
    }

    /// What Moonfarm keeps in `/run`; `/run` moves into the new root.
    #[must_use]
    pub fn run(&self, name: &str) -> PathBuf {
        self.at("run/moonfarm").join(name)
    }

    /// The file that the image is stored in.
    #[must_use]
    pub fn image_file(&self) -> PathBuf {
        self.run("image").join("root.squashfs")
    }

    /// Where the file system of a local disk with this label is mounted.
    #[must_use]
    pub fn disk(&self, label: &str) -> PathBuf {
        self.run(&format!("disk-{label}"))
    }

    /// An image that is kept on the disk with this label.
    #[must_use]
    pub fn kept_image(&self, label: &str, image: &Digest) -> PathBuf {
        let folder = self.disk(label).join("moonfarm/images");
        folder.join(format!("{}.squashfs", image.hex()))
    }

    /// The boot config, kept for the join.
    #[must_use]
    pub fn boot_config(&self) -> PathBuf {
        self.run("boot-config.json")
    }
}
