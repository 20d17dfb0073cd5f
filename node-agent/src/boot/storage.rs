//! The phases image and root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boot_proto::boot_config::ImageSource;
use boot_proto::report::Progress;
use boot_proto::resources::{KeepImage, OverlayPlace, OverlaySpec};
use boot_proto::time::Monotonic;

use super::{Boot, StepError};
use crate::fetch::{self, Downloader, FetchError, Received};
use crate::http::Client;
use crate::kernel::Mount;
use crate::memory::mib;
use crate::plan::{self, INIT};
use crate::root_dir::RootDir;

/// Time limits of the download: to connect, and without a new octet.
const CONNECT: Duration = Duration::from_secs(10);
const STANDSTILL: Duration = Duration::from_secs(20);
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often it is on the console.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Boot<'_> {
    pub(super) fn fetch_image(
        &mut self,
        tmpfs: &Mount,
        file: &Path,
        image: &ImageSource,
        keep: Option<&KeepImage>,
    ) -> Result<String, StepError> {
        if let Some(keep) = keep {
            if let Some(told) = self.keep_image(keep, image)? {
                return Ok(told);
            }
            self.check_memory()?;
        }
        self.mount_once(tmpfs)?;
        Ok(self.download(image, file)?)
    }

    /// Whether all fits into RAM, now that it is known which disks there are.
    fn check_memory(&self) -> Result<(), StepError> {
        let Some(config) = &self.state.config else {
            return Ok(());
        };
        let has_overlay =
            plan::overlay_on(config).is_some_and(|label| self.state.disks.contains_key(label));
        let in_ram = self.budget(config);
        let budget = in_ram.without(self.state.image_file.is_some(), has_overlay);
        match budget.check() {
            Ok(_) => Ok(()),
            Err(error) => Err(StepError::hopeless(error.to_string())),
        }
    }

    /// Downloads the image to `file` and tells how that went.
    pub(super) fn download(
        &mut self,
        image: &ImageSource,
        file: &Path,
    ) -> Result<String, FetchError> {
        let (clock, log) = (self.world.clock, self.world.log);
        let begin = clock.now();
        let client = Client::new(CONNECT, STANDSTILL, self.world.trust.ca());
        let downloader = Downloader { client, clock, log };
        let (mut reported, mut told) = (begin, begin);
        downloader.fetch(image, file, &mut |received| {
            let now = clock.now();
            if now.since(reported) >= REPORT_EVERY {
                reported = now;
                self.is_alive();
                self.report(Progress::Running, |report| {
                    report.percent = Some(received.percent())
                });
            }
            if now.since(told) >= TELL_EVERY {
                told = now;
                log.info(&format!("image: {}", so_far(received, begin, now)));
            }
        })?;
        let all = Received {
            bytes: image.size,
            of: image.size,
        };
        Ok(format!(
            "{}, {} is right",
            so_far(all, begin, clock.now()),
            fetch::check_name(image)
        ))
    }

    pub(super) fn mount_root(
        &mut self,
        file: &Path,
        lower: &Path,
        overlay: &Mount,
        spec: &OverlaySpec,
        root: &Path,
    ) -> Result<String, StepError> {
        if let Some(loader) = &mut self.state.loader {
            loader.wait(self.world.log);
        }
        let device = match self.state.image_device.clone() {
            Some(device) => device,
            None => {
                let kept = self.state.image_file.clone();
                let file = kept.as_deref().unwrap_or(file);
                self.world.kernel.attach_loop(file)?
            }
        };
        self.state.image_device = Some(device.clone());
        self.mount_once(&Mount {
            read_only: true,
            plain_files: false,
            ..Mount::new("squashfs", &device.to_string_lossy(), lower)
        })?;
        let (folder, told) = self.overlay_folder(lower, overlay, spec)?;
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        for folder in [&upper, &work] {
            // The mode of upper is that of `/`.
            let made = fs::create_dir_all(folder)
                .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)));
            made.map_err(|error| StepError::new(format!("making {}: {error}", folder.display())))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        self.mount_once(&Mount {
            plain_files: false,
            ..Mount::new("overlay", "moonfarm", root).with_options(options)
        })?;
        check_init(root)?;
        Ok(format!(
            "overlay {told} over the image on {}",
            device.display()
        ))
    }

    /// The folder that takes what is written, and where that is.
    fn overlay_folder(
        &mut self,
        lower: &Path,
        overlay: &Mount,
        spec: &OverlaySpec,
    ) -> Result<(PathBuf, String), StepError> {
        let target = overlay.target.clone();
        match (spec.place, &spec.label) {
            (OverlayPlace::Disk, Some(label)) => {
                if let Some(folder) = self.overlay_on_disk(label) {
                    return Ok((folder, format!("on the disk {label}")));
                }
                self.check_memory()?;
            }
            (OverlayPlace::Zram, _) => {
                let size = self.state.config.as_ref().map(|config| self.budget(config));
                let size = size.map_or(0, |budget| budget.overlay);
                match self.mount_zram(lower, &target, size) {
                    Ok(()) => return Ok((target, "on zram".to_owned())),
                    Err(error) => self
                        .world
                        .log
                        .warn(&format!("zram: {}; a tmpfs is used", error.message)),
                }
            }
            _ => {}
        }
        self.mount_once(overlay)?;
        Ok((target, "in RAM".to_owned()))
    }
}

/// Whether the new root can take over. Found out now, there is still a network
/// to report it over.
pub(super) fn check_init(root: &Path) -> Result<(), StepError> {
    let root = RootDir::open(root)
        .map_err(|error| StepError::new(format!("opening {}: {error}", root.display())))?;
    if root.is_program(INIT) {
        return Ok(());
    }
    Err(StepError::hopeless(format!(
        "the image has no {INIT} that can be run"
    )))
}

fn so_far(received: Received, begin: Monotonic, now: Monotonic) -> String {
    let elapsed_ms = u64::try_from(now.since(begin).as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = received.bytes.saturating_mul(1000) / elapsed_ms;
    let (percent, size) = (received.percent(), mib(received.of));
    format!("{percent} % of {size}, {}/s", mib(rate))
}
