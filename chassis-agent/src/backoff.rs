//! How long a device is left alone after a failure. Pure.
//!
//! A device that fails is asked ever more rarely; one that keeps failing trips
//! its breaker, after which it gets one look in a long while until it answers.
//! Every device has its own, so that none suffers for another.

use std::time::Duration;

/// Longest pause between two tries to reach a device.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// First and longest pause after a refused login: many tries lock accounts.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
const LONGEST_AFTER_REFUSAL: Duration = Duration::from_secs(900);

/// Failures in a row that trip the breaker.
const TRIPS_AT: u32 = 5;

/// The failures of one device in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    refusals: u32,
}

impl Breaker {
    /// Whether the device has kept failing and is left alone.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.failures >= TRIPS_AT
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The device answered.
    pub const fn close(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    /// The device failed; `kind` is the kind of error and `interval` how often
    /// it would be asked. Returns how long to leave it alone.
    pub fn fail(&mut self, kind: &str, interval: Duration) -> Duration {
        let longest = LONGEST_PAUSE.max(interval);
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let pause = if self.is_open() {
            longest
        } else {
            interval.saturating_mul(1 << doublings).min(longest)
        };
        if kind != "login-refused" {
            return pause;
        }
        let refusals = self.refusals.min(16);
        self.refusals = self.refusals.saturating_add(1);
        let refused = AFTER_REFUSAL.saturating_mul(1 << refusals);
        pause.max(refused.min(LONGEST_AFTER_REFUSAL))
    }
}

/// `interval`, a tenth less where `chance` is 0, a tenth more where it is 1, so
/// that many devices are not asked at one moment.
#[must_use]
pub fn jittered(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(kind: &str, interval: u64, count: usize) -> Vec<u64> {
        let mut breaker = Breaker::default();
        (0..count)
            .map(|_| breaker.fail(kind, Duration::from_secs(interval)).as_secs())
            .collect()
    }

    #[test]
    fn a_device_that_fails_is_asked_ever_more_rarely() {
        assert_eq!(pauses("timed-out", 30, 6), [30, 60, 120, 240, 300, 300]);
        assert_eq!(pauses("timed-out", 5, 6), [5, 10, 20, 40, 300, 300]);
        // Never more often than a healthy one.
        assert_eq!(pauses("timed-out", 600, 3), [600, 600, 600]);
        assert_eq!(
            pauses("login-refused", 5, 7),
            [60, 120, 240, 480, 900, 900, 900]
        );
    }

    #[test]
    fn the_breaker_opens_and_one_answer_closes_it() {
        let mut breaker = Breaker::default();
        let interval = Duration::from_secs(30);
        let opened = (1..=6)
            .find(|_| {
                breaker.fail("unreachable", interval);
                breaker.is_open()
            })
            .unwrap();
        assert_eq!((opened, breaker.failures()), (5, 5));
        breaker.close();
        assert_eq!(breaker.fail("unreachable", interval), interval);
        assert!(!breaker.is_open());
    }

    #[test]
    fn jitter_spreads_by_a_tenth() {
        let minute = Duration::from_secs(60);
        for (chance, expected) in [(0.0, 54), (0.5, 60), (1.0, 66), (9.0, 66)] {
            let secs = jittered(minute, chance).as_secs_f64().round();
            assert!((secs - f64::from(expected)).abs() < 0.5, "{chance}: {secs}");
        }
    }
}
