//! The only file that reads clocks or sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boot_proto::time::{Monotonic, WallClock};
use nix::time::{ClockId, clock_gettime};

/// The time, and waiting.
pub trait Clock {
    /// Time since the kernel started, time asleep included.
    fn now(&self) -> Monotonic;
    /// The wall clock, which may be badly wrong.
    fn wall(&self) -> WallClock;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Monotonic {
        // Cannot fail for a clock that every kernel has; zero would only spoil
        // a time in a report.
        Monotonic(clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from))
    }

    fn wall(&self) -> WallClock {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallClock(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A clock that only sleeping moves.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct FakeClock(std::cell::Cell<Duration>);

#[cfg(test)]
impl Clock for FakeClock {
    fn now(&self) -> Monotonic {
        Monotonic(self.0.get())
    }
    fn wall(&self) -> WallClock {
        WallClock(1_700_000_000_000)
    }
    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// Four random bytes from the kernel: DHCP transaction numbers and jitter need
/// to differ between machines that start at once, not to be secret.
#[must_use]
pub fn random_u32() -> u32 {
    use std::io::Read as _;
    let mut bytes = [0; 4];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => SystemClock.now().0.subsec_nanos(),
    }
}
