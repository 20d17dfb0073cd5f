//! The one place where this program reads a clock.

use std::sync::OnceLock;
use std::time::Instant;

use boot_proto::time::Monotonic;

/// Time since this program first asked.
#[must_use]
pub fn now() -> Monotonic {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    Monotonic(BEGINNING.get_or_init(Instant::now).elapsed())
}
