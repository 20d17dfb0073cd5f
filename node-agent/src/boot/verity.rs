//! An image on a local disk whose blocks are checked when they are read.
//!
//! A boot that begins with such an image marks it as in use, and an orderly shutdown
//! takes the mark away. Who finds it checks all of the image, and so does the boot
//! after a block that was wrong, which restarts the machine unless the profile says
//! that it only fails the read: then each boot checks all of the image.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use boot_proto::boot_config::ImageSource;
use boot_proto::ids::Checksum;
use boot_proto::resources::{KeepImage, OnCorruption};
use boot_proto::verity::{BLOCK, Tree, hashes, tree_bytes};

use super::Boot;
use crate::kernel::{Kernel, KernelError, Verity};
use crate::log::chain;
use crate::paths::in_use;

/// Bytes read at a time.
const PIECE: usize = 256 * BLOCK;
/// Where the kernel shows its driver, built in or loaded.
const DRIVER: &str = "sys/module/dm_verity";
/// Threads at most; memory is no faster with more.
const MOST_THREADS: usize = 8;

fn tree_file(kept: &Path) -> PathBuf {
    kept.with_extension("verity")
}

impl Boot<'_> {
    /// What the tree must lead to, where the profile wants one and the image has it.
    pub(super) fn wanted(&self, keep: &KeepImage, image: &ImageSource) -> Option<Wanted> {
        if keep.verity && image.checks.verity.is_none() {
            self.world.log.warn(&format!(
                "the manifest of image {} has no root hash for dm-verity: the image is checked \
                 once, before it is used (cargo xtask image build writes one)",
                image.name
            ));
        }
        let root = image.checks.verity.filter(|_| keep.verity)?;
        let on_corruption = keep.on_corruption.unwrap_or_default();
        Some(Wanted {
            root,
            on_corruption,
        })
    }

    /// Uses what was kept by an earlier boot that ended in order, without reading it.
    pub(super) fn use_unread(
        &mut self,
        kept: &Path,
        image: &ImageSource,
        wanted: Wanted,
    ) -> Option<String> {
        let has = |path: &Path, bytes| fs::metadata(path).is_ok_and(|file| file.len() == bytes);
        if !has(kept, image.size) || !has(&tree_file(kept), tree_bytes(image.size)) {
            return None;
        }
        if in_use(kept).exists() {
            let text =
                "the last run from this disk did not end in order: all of the image is checked";
            self.world.log.info(text);
            return None;
        }
        match self.open_checked(kept, image.size, wanted) {
            Ok(()) => Some("not downloaded".to_owned()),
            Err(why) => {
                let text = format!("dm-verity: {}; all of the image is checked", chain(&why));
                self.world.log.warn(&text);
                None
            }
        }
    }

    /// Has each block of an image that is right now checked again when it is read.
    pub(super) fn seal(&mut self, kept: &Path, image: &ImageSource, wanted: Wanted) {
        let sealed = write_tree(kept, wanted.root)
            .and_then(|()| self.open_checked(kept, image.size, wanted));
        if let Err(why) = sealed {
            let text = format!("dm-verity: {}; the image is not checked again", chain(&why));
            self.world.log.warn(&text);
        }
    }

    fn open_checked(&mut self, kept: &Path, size: u64, wanted: Wanted) -> io::Result<()> {
        self.load_storage(&["dm_verity"]);
        File::create(in_use(kept))?.sync_all()?;
        if let Some(folder) = kept.parent() {
            File::open(folder)?.sync_all()?;
        }
        let opened = open(&mut *self.world.kernel, kept, size, wanted);
        let device = opened.map_err(|error| {
            if self.world.paths.at(DRIVER).exists() {
                return io::Error::other(error);
            }
            io::Error::other(format!(
                "{}; this kernel has no dm_verity: build the initramfs with `node-agent \
                 initramfs --storage`, as `cargo xtask image build` does, of a kernel that \
                 has it as a module",
                chain(&error)
            ))
        })?;
        self.state.image_device = Some(device);
        Ok(())
    }
}

/// What the tree of an image must lead to, and what a block does that is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    root: Checksum,
    on_corruption: OnCorruption,
}

/// The device over an image and its tree. Where there is none, no loop device is left
/// behind: each would keep the disk from being unmounted.
fn open(
    kernel: &mut dyn Kernel,
    kept: &Path,
    size: u64,
    wanted: Wanted,
) -> Result<PathBuf, KernelError> {
    with_loop(kernel, kept, |kernel, data| {
        with_loop(kernel, &tree_file(kept), |kernel, tree| {
            kernel.open_verity(&Verity {
                data: data.to_owned(),
                tree: tree.to_owned(),
                blocks: size / BLOCK as u64,
                root: wanted.root,
                on_corruption: wanted.on_corruption,
            })
        })
    })
}

/// Makes a loop device of a file for `then`, and gives it up again where that fails.
fn with_loop(
    kernel: &mut dyn Kernel,
    file: &Path,
    then: impl FnOnce(&mut dyn Kernel, &Path) -> Result<PathBuf, KernelError>,
) -> Result<PathBuf, KernelError> {
    let device = kernel.attach_loop(file)?;
    let done = then(kernel, &device);
    if done.is_err() {
        // The first error is the one to tell.
        let _ = kernel.detach_loop(&device);
    }
    done
}

/// Writes the tree of a file, if it leads to `root`.
fn write_tree(kept: &Path, root: Checksum) -> io::Result<()> {
    let tree = Tree::over(leaves(kept)?).filter(|tree| tree.root == root);
    let Some(tree) = tree else {
        return Err(io::Error::other(
            "the image's manifest has the root hash of something else",
        ));
    };
    let part = kept.with_extension("verity.part");
    fs::write(&part, tree.blocks)?;
    // Whole on the disk before it has the name that is looked for.
    File::open(&part)?.sync_all()?;
    fs::rename(&part, tree_file(kept))
}

/// The hashes of a file's blocks; all processors share the work.
fn leaves(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS);
    let share = (end / threads as u64).next_multiple_of(BLOCK as u64);
    thread::scope(|scope| {
        let shares = (0..threads as u64).map(|number| {
            let (from, to) = (number * share, (number + 1) * share);
            let file = &file;
            scope.spawn(move || leaves_of(file, from.min(end), to.min(end)))
        });
        let shares: Vec<_> = shares.collect();
        let mut all = Vec::new();
        for share in shares {
            let hashed = share
                .join()
                .map_err(|_| io::Error::other("a thread ended"))?;
            all.extend(hashed?);
        }
        Ok(all)
    })
}

fn leaves_of(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let (mut at, mut found) = (from, Vec::new());
    let mut piece = vec![0; PIECE];
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
        let read = piece.get_mut(..length).unwrap_or_default();
        file.read_exact_at(read, at)?;
        found.extend(hashes(read));
        at += length as u64;
    }
    Ok(found)
}
