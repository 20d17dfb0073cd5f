//! Whether what a boot config asks for fits into the RAM there is.

use std::fmt::Write as _;

use boot_proto::boot_config::BootConfig;
use boot_proto::resources::TmpfsMount;

/// Room for file system metadata beside the image itself.
const IMAGE_SLACK: u64 = 1 << 20;
/// Page size: what a tmpfs counts in.
const PAGE: u64 = 4096;
/// The overlay's share of the RAM when nobody says more: a quarter.
const OVERLAY_SHARE: u64 = 4;

/// What of the RAM goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `MemTotal` in bytes; 0 when it is not known.
    pub total: u64,
    /// Size of the image's tmpfs in bytes.
    pub image: u64,
    /// Size of the overlay's tmpfs in bytes.
    pub overlay: u64,
    /// Limits of the tmpfs mounts of the booted system, added up.
    pub tmpfs: u64,
}

/// More is asked for than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not enough memory: the image needs {} and the overlay {}, together {}, but the machine has {} \
     (and its tmpfs mounts may take up to {} more); give it more memory or a smaller image, or lower \
     overlaySize",
    mib(.0.image), mib(.0.overlay), mib(.0.image.saturating_add(.0.overlay)), mib(.0.total),
    mib(.0.tmpfs)
)]
pub struct DoesNotFit(pub Budget);

impl Budget {
    /// The budget of a machine with `total` bytes of RAM.
    #[must_use]
    pub fn of(config: &BootConfig, tmpfs: &[TmpfsMount], total: u64) -> Self {
        let image = config
            .image
            .size
            .saturating_add(IMAGE_SLACK)
            .next_multiple_of(PAGE);
        let overlay = config
            .system
            .overlay_size
            .map_or(total / OVERLAY_SHARE, |size| size.0);
        // A size of 0 would be no limit at all (tmpfs(5)).
        let overlay = overlay.max(16 << 20).next_multiple_of(PAGE);
        let tmpfs = tmpfs
            .iter()
            .fold(0_u64, |sum, mount| sum.saturating_add(mount.size.0));
        Self {
            total,
            image,
            overlay,
            tmpfs,
        }
    }

    /// The same where image or overlay are on a local disk.
    #[must_use]
    pub fn without(&self, image: bool, overlay: bool) -> Self {
        Self {
            image: if image { 0 } else { self.image },
            overlay: if overlay { 0 } else { self.overlay },
            ..self.clone()
        }
    }

    /// A warning when all limits together are more than the RAM. They are limits:
    /// it matters only when they are all used up.
    ///
    /// # Errors
    /// When image and overlay do not fit.
    pub fn check(&self) -> Result<Option<String>, DoesNotFit> {
        if self.total == 0 {
            return Ok(Some("the size of the memory is not known".to_owned()));
        }
        let fixed = self.image.saturating_add(self.overlay);
        if fixed > self.total {
            return Err(DoesNotFit(self.clone()));
        }
        let all = fixed.saturating_add(self.tmpfs);
        if all <= self.total {
            return Ok(None);
        }
        let mut text = format!(
            "the limits add up to {}, which is more than the {} of memory",
            mib(all),
            mib(self.total)
        );
        let _ = write!(
            text,
            ": image {}, overlay {}, tmpfs mounts {}; full ones would end in killed processes",
            mib(self.image),
            mib(self.overlay),
            mib(self.tmpfs)
        );
        Ok(Some(text))
    }
}

/// Bytes as people say them.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configure::tests::config;

    #[test]
    fn fits_or_says_what_does_not() {
        let mut config = config();
        let budget = Budget::of(&config, &[], 2 << 30);
        assert_eq!((budget.image, budget.overlay), (101 << 20, 512 << 20));
        assert_eq!(budget.check(), Ok(None));
        config.image.size = 1500 << 20;
        config.system.overlay_size = Some("600Mi".parse().unwrap());
        let error = Budget::of(&config, &[], 2 << 30)
            .check()
            .unwrap_err()
            .to_string();
        for part in [
            "image needs 1501 MiB",
            "overlay 600 MiB",
            "together 2101 MiB",
            "has 2048 MiB",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_on_a_disk_takes_no_memory() {
        let mut config = config();
        config.image.size = 3 << 30;
        let budget = Budget::of(&config, &[], 2 << 30);
        assert!(budget.check().is_err());
        assert_eq!(budget.without(true, false).check(), Ok(None));
        assert!(budget.without(false, true).check().is_err());
    }

    #[test]
    fn limits_that_add_up_to_too_much_are_a_warning() {
        let tmpfs = TmpfsMount {
            path: "/x".into(),
            size: "2Gi".parse().unwrap(),
            mode: None,
        };
        let budget = Budget::of(&config(), &[tmpfs], 2 << 30);
        assert!(
            budget
                .check()
                .unwrap()
                .unwrap()
                .contains("add up to 2661 MiB, which is more than the 2048 MiB of memory")
        );
        let unknown = Budget { total: 0, ..budget };
        assert!(unknown.check().unwrap().is_some());
    }
}
