//! Local disks in a boot: the image that is kept on one, and the overlay there or
//! on a zram device. A disk that is missing or broken is no reason not to boot:
//! what was to be on it is in RAM then, where there is room.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use boot_proto::boot_config::ImageSource;
use boot_proto::resources::KeepImage;
use boot_proto::verity::tree_bytes;

use super::{Boot, StepError};
use crate::fetch::{self, FetchError};
use crate::file_systems;
use crate::kernel::{Mount, Run};
use crate::log::chain;
use crate::memory::mib;
use crate::modules::load::Loader;

/// How long disks may take to show themselves.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What is left free on a disk beside the image.
const SLACK: u64 = 16 << 20;
/// Time limit of mkfs.
const MKFS: Duration = Duration::from_secs(60);

impl Boot<'_> {
    /// Mounts the file systems with these labels.
    pub(super) fn open_disks(&mut self, labels: &[String]) -> Result<String, StepError> {
        let begin = self.world.clock.now();
        let mut missing = labels.to_vec();
        loop {
            self.load_storage(&[]);
            missing.retain(|label| match self.open_disk(label) {
                Ok(found) => !found,
                Err(why) => {
                    self.world.log.warn(&why);
                    false
                }
            });
            let waited = self.world.clock.now().since(begin);
            if missing.is_empty() || waited >= PATIENCE {
                break;
            }
            self.world.clock.sleep(LOOK_AGAIN);
        }
        for label in &missing {
            self.world.log.warn(&format!(
                "no local disk has a file system with the label {label}; RAM is used (the \
                 initramfs needs drivers for disks: node-agent initramfs --storage)"
            ));
        }
        let opened: Vec<&str> = self.state.disks.keys().map(String::as_str).collect();
        Ok(match opened.as_slice() {
            [] => "no disk".to_owned(),
            labels => format!("disks {}", labels.join(", ")),
        })
    }

    /// Whether there is such a file system, which is then mounted.
    fn open_disk(&mut self, label: &str) -> Result<bool, String> {
        let paths = &self.world.paths;
        let found = file_systems::find(&paths.at("sys"), &paths.at("dev"), label)?;
        let Some(found) = found else { return Ok(false) };
        let target = paths.disk(label);
        // Each is as large as all NIC drivers together.
        self.load_storage(&[found.kind]);
        let mount = Mount {
            // Programs of the root file system lie here.
            plain_files: false,
            ..Mount::new(found.kind, &found.device.to_string_lossy(), &target)
        };
        let mounted = self.world.kernel.mount(&mount);
        mounted.map_err(|error| format!("disk {label}: {}; RAM is used", chain(&error)))?;
        self.state.disks.insert(label.to_owned(), target);
        Ok(true)
    }

    /// Loads drivers for the disks there are, and modules by name.
    pub(super) fn load_storage(&mut self, names: &[&str]) {
        let release = self.kernel_release();
        let paths = &self.world.paths;
        let folder = paths.at("lib/modules").join(release);
        let loader = self.state.storage.get_or_insert_with(|| {
            let cmdline = fs::read_to_string(paths.at("proc/cmdline")).unwrap_or_default();
            Loader::open_storage(&folder).with_parameters(&cmdline)
        });
        let (kernel, log) = (&mut *self.world.kernel, self.world.log);
        loader.coldplug(&paths.at("sys"), kernel, log);
        for name in names {
            loader.load(name, kernel, log);
        }
    }

    /// Takes the image from the disk that it is kept on, or downloads it to there.
    /// `None` when it has to be in RAM after all.
    pub(super) fn keep_image(
        &mut self,
        keep: &KeepImage,
        image: &ImageSource,
    ) -> Result<Option<String>, StepError> {
        let label = keep.label.as_str();
        if !self.state.disks.contains_key(label) {
            return Ok(None);
        }
        let kept = self.world.paths.kept_image(label, &image.root_digest);
        let wanted = self.wanted(keep, image);
        let told = wanted.and_then(|wanted| self.use_unread(&kept, image, wanted));
        let is_read = told.is_none();
        let told = match told.or_else(|| self.find_kept(&kept, image)) {
            Some(told) => told,
            None => match self.download_to(&kept, image) {
                Ok(told) => told,
                Err(NotKept::Disk(why)) => {
                    let text = format!("disk {label}: {}; the image goes to RAM", chain(&why));
                    self.world.log.warn(&text);
                    return Ok(None);
                }
                Err(NotKept::Image(error)) => return Err(error),
            },
        };
        if let Some(wanted) = wanted.filter(|_| is_read) {
            self.seal(&kept, image, wanted);
        }
        self.state.image_file = Some(kept);
        let verity = match self.state.image_device {
            Some(_) => ", each block checked when it is read",
            None => "",
        };
        Ok(Some(format!("{told}, kept on the disk {label}{verity}")))
    }

    /// What was kept there by an earlier boot, if it is the image.
    fn find_kept(&self, kept: &Path, image: &ImageSource) -> Option<String> {
        let metadata = fs::metadata(kept).ok()?;
        let result = match metadata.len() == image.size {
            true => fetch::check_file(kept, image).map_err(|error| chain(&error)),
            false => Err(format!("it has {} bytes", metadata.len())),
        };
        match result {
            Ok(()) => Some(format!(
                "not downloaded, {} is right",
                fetch::check_name(image)
            )),
            Err(why) => {
                let text = format!("the image on the disk is not used: {why}");
                self.world.log.warn(&text);
                let _ = fs::remove_file(kept);
                None
            }
        }
    }

    fn download_to(&mut self, kept: &Path, image: &ImageSource) -> Result<String, NotKept> {
        let folder = kept.parent().unwrap_or(kept);
        fs::create_dir_all(folder)?;
        make_room(folder, image.size.saturating_add(tree_bytes(image.size)))?;
        let part = kept.with_extension("part");
        let told = self.download(image, &part).map_err(|error| match error {
            FetchError::Store { source, .. } => NotKept::Disk(source),
            error => NotKept::Image(error.into()),
        })?;
        // Whole on the disk before it has the name that is looked for.
        File::open(&part)?.sync_all()?;
        fs::rename(&part, kept)?;
        File::open(folder)?.sync_all()?;
        Ok(told)
    }

    /// An empty folder on the disk with this label for the overlay.
    pub(super) fn overlay_on_disk(&self, label: &str) -> Option<PathBuf> {
        let folder = self.state.disks.get(label)?.join("moonfarm/overlay");
        // What an earlier boot wrote is gone with the boot, as it is in RAM.
        let emptied = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&folder),
        };
        match emptied {
            Ok(()) => Some(folder),
            Err(error) => {
                let text = format!("disk {label}: emptying its overlay: {error}; RAM is used");
                self.world.log.warn(&text);
                None
            }
        }
    }

    /// Mounts a file system on a zram device of `size` bytes at `target`; it is made
    /// with mkfs of the image, which is mounted at `lower`.
    pub(super) fn mount_zram(
        &mut self,
        lower: &Path,
        target: &Path,
        size: u64,
    ) -> Result<(), StepError> {
        self.load_storage(&["zram", "ext4"]);
        let disk_size = self.world.paths.at("sys/block/zram0/disksize");
        fs::write(&disk_size, size.to_string())
            .map_err(|error| StepError::new(format!("{}: {error}", disk_size.display())))?;
        let dev = Mount::new("devtmpfs", "devtmpfs", &lower.join("dev"));
        self.world.kernel.mount(&dev)?;
        let log = self.world.paths.run("mkfs.log");
        let words = "-q -F -m 0 -O ^has_journal,^resize_inode /dev/zram0";
        let made = self.world.kernel.run(&Run {
            root: lower.to_owned(),
            program: "/sbin/mkfs.ext4".to_owned(),
            arguments: words.split(' ').map(str::to_owned).collect(),
            environment: Vec::new(),
            output: log.clone(),
            timeout: MKFS,
        });
        self.world.kernel.unmount(&dev.target)?;
        if let Err(error) = made {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(StepError::new(format!(
                "{}: {}",
                chain(&error),
                said.trim()
            )));
        }
        let device = self.world.paths.at("dev/zram0");
        let mount = Mount {
            plain_files: false,
            ..Mount::new("ext4", &device.to_string_lossy(), target)
        };
        // What is deleted gives its RAM back.
        self.mount_once(&mount.with_options("discard".to_owned()))
    }
}

/// Why an image is not on the disk.
enum NotKept {
    /// The disk's fault.
    Disk(io::Error),
    /// There is no such image.
    Image(StepError),
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Deletes what a broken boot left behind, and then the images that were kept
/// longest, until `size` more bytes fit.
fn make_room(folder: &Path, size: u64) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "part")
        {
            fs::remove_file(&path)?;
        } else {
            kept.push((entry.metadata()?.modified()?, path));
        }
    }
    kept.sort();
    let mut kept = kept.into_iter();
    let needed = size.saturating_add(SLACK);
    loop {
        let room = nix::sys::statvfs::statvfs(folder)?;
        let free = room.blocks_available().saturating_mul(room.fragment_size());
        if free >= needed {
            return Ok(());
        }
        let Some((_, oldest)) = kept.next() else {
            let (free, needed) = (mib(free), mib(needed));
            let text = format!("{free} are free, and the image needs {needed}");
            return Err(io::Error::other(text));
        };
        fs::remove_file(oldest)?;
    }
}
