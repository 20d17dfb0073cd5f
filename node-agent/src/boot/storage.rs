//! The phases image and root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use boot_proto::boot_config::ImageSource;
use boot_proto::report::Progress;
use boot_proto::time::Monotonic;

use super::{Boot, StepError};
use crate::fetch::{Downloader, Received};
use crate::http::Client;
use crate::kernel::Mount;
use crate::memory::mib;
use crate::plan::INIT;
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
    ) -> Result<String, StepError> {
        self.mount_once(tmpfs)?;
        let (clock, log) = (self.world.clock, self.world.log);
        let begin = clock.now();
        let client = Client::new(CONNECT, STANDSTILL, self.world.trust.ca());
        let downloader = Downloader { client, clock, log };
        let (mut reported, mut told) = (begin, begin);
        downloader.fetch(image, file, &mut |received| {
            let now = clock.now();
            if now.since(reported) >= REPORT_EVERY {
                reported = now;
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
            "{}, SHA-256 is right",
            so_far(all, begin, clock.now())
        ))
    }

    pub(super) fn mount_root(
        &mut self,
        file: &Path,
        lower: &Path,
        overlay: &Mount,
        root: &Path,
    ) -> Result<String, StepError> {
        let device = match self.state.loop_device.clone() {
            Some(device) => device,
            None => self.world.kernel.attach_loop(file)?,
        };
        self.state.loop_device = Some(device.clone());
        self.mount_once(&Mount {
            read_only: true,
            plain_files: false,
            ..Mount::new("squashfs", &device.to_string_lossy(), lower)
        })?;
        self.mount_once(overlay)?;
        let (upper, work) = (overlay.target.join("upper"), overlay.target.join("work"));
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
            "overlay in RAM over the image on {}",
            device.display()
        ))
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
