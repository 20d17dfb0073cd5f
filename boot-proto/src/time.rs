//! Points in time as values, so that what decides never reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since some fixed point of this process; only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// The point `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// How long after `earlier` this is, or zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, as the machine's clock has them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallClock(pub u64);

impl WallClock {
    /// The point `by` later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// How long after `earlier` this is, or zero: clocks may be set back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The time as RFC 3339 has it, in UTC, to the second.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        time::OffsetDateTime::from_unix_timestamp(seconds)
            .ok()
            .and_then(|at| {
                at.format(&time::format_description::well_known::Rfc3339)
                    .ok()
            })
            .unwrap_or_else(|| format!("{seconds} s after 1970"))
    }

    /// Reads a time as RFC 3339 has it, in any zone; `None` where it is none or
    /// lies before 1970.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let format = &time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(text, format).ok()?;
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }
}

/// A duration in whole milliseconds, at most `u64::MAX`.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_prints_and_survives_a_clock_set_back() {
        assert_eq!(
            WallClock(1_700_000_000_000).to_rfc3339(),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(WallClock(5).since(WallClock(9)), Duration::ZERO);
        assert_eq!(
            WallClock(u64::MAX).after(Duration::from_secs(1)),
            WallClock(u64::MAX)
        );
        assert!(!WallClock(u64::MAX).to_rfc3339().is_empty());
        for (text, millis) in [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
            ("2023-11-14T23:13:20.250000+01:00", Some(1_700_000_000_250)),
            ("1969-12-31T23:59:58Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(
                WallClock::from_rfc3339(text),
                millis.map(WallClock),
                "{text}"
            );
        }
    }
}
