//! The one file of this program that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use boot_proto::time::{Monotonic, WallClock};

/// The time of day now.
#[must_use]
pub fn wall() -> WallClock {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallClock(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Time since this was first called.
#[must_use]
pub fn monotonic() -> Monotonic {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    Monotonic(START.get_or_init(Instant::now).elapsed())
}
