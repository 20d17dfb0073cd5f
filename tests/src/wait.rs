//! Waiting for something to become true, with an end. The one file of this
//! crate's library that reads the clock for deadlines.

use std::time::{Duration, Instant};

/// Pause between two looks at what is waited for.
pub const PAUSE: Duration = Duration::from_millis(100);

/// A point in time after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    patience: Duration,
}

impl Deadline {
    /// The point `patience` from now.
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        Self {
            started: Instant::now(),
            patience,
        }
    }

    /// Whether it has come.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.started.elapsed() >= self.patience
    }

    /// Time since the waiting began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Looks again and again until `look` gives something or time is up.
pub fn until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(patience);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.has_passed() {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_it_is_there_or_time_is_up() {
        let mut looks = 0;
        let found = until(Duration::from_secs(60), || {
            looks += 1;
            (looks == 2).then_some(looks)
        });
        assert_eq!(found, Some(2));
        assert_eq!(until(Duration::ZERO, || None::<()>), None);
    }
}
