//! The one place where this program reads a clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use boot_proto::time::{Monotonic, WallClock};

/// Time since this program first asked.
#[must_use]
pub fn now() -> Monotonic {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    Monotonic(BEGINNING.get_or_init(Instant::now).elapsed())
}

/// The time of day now.
#[must_use]
pub fn wall() -> WallClock {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallClock(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
