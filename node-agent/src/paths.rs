//! Where things are in the initramfs and in the new root.

use std::path::{Path, PathBuf};

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

    /// The boot config, kept for the join.
    #[must_use]
    pub fn boot_config(&self) -> PathBuf {
        self.run("boot-config.json")
    }
}
