//! A system clock that is set while leases run.
//!
//! Clients count their leases down by themselves. Where this host's clock is
//! set an hour forward, no lease has come an hour nearer to its end: taking the
//! clock at its word would give addresses away that are in use. So steps are
//! told from time that passed, and all leases are moved by them.

use std::time::Duration;

use boot_proto::time::{Monotonic, WallClock};

use super::Lease;

/// Less than this is time synchronisation at work.
const LEAST_STEP: Duration = Duration::from_secs(10);
/// A lease that began this much after now was given by another clock.
const SLACK: Duration = Duration::from_secs(60);

/// How far the clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// Into the future.
    Forward(Duration),
    /// Into the past.
    Back(Duration),
}

impl ClockStep {
    pub(super) fn moved(self, at: WallClock) -> WallClock {
        let millis = |by: Duration| u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Forward(by) => at.after(by),
            Self::Back(by) => WallClock(at.0.saturating_sub(millis(by))),
        }
    }
}

impl std::fmt::Display for ClockStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward(by) => write!(f, "{} s forward", by.as_secs()),
            Self::Back(by) => write!(f, "{} s back", by.as_secs()),
        }
    }
}

/// Sees steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockWatch(Option<(WallClock, Monotonic)>);

impl ClockWatch {
    /// Whether the clock was set since the last look.
    pub fn look(&mut self, wall: WallClock, monotonic: Monotonic) -> Option<ClockStep> {
        let (last, at) = self.0.replace((wall, monotonic))?;
        let expected = last.after(monotonic.since(at));
        let (forward, back) = (wall.since(expected), expected.since(wall));
        if forward >= LEAST_STEP {
            Some(ClockStep::Forward(forward))
        } else if back >= LEAST_STEP {
            Some(ClockStep::Back(back))
        } else {
            None
        }
    }
}

/// A lease as it is read at the start. One that began in the future was given
/// while the clock was ahead, or the clock is behind now: it runs its whole
/// length from now, neither for years nor not at all.
pub(super) fn rebased(mut lease: Lease, now: WallClock) -> Lease {
    if lease.since.since(now) > SLACK {
        lease.expires = lease.expires.map(|end| now.after(end.since(lease.since)));
        lease.since = now;
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_time() {
        let secs = Duration::from_secs;
        let mut watch = ClockWatch::default();
        let mut look = |wall: u64, mono| watch.look(WallClock(wall * 1000), Monotonic(secs(mono)));
        assert_eq!(look(5000, 0), None);
        assert_eq!(look(8600, 3600), None, "an hour passed");
        assert_eq!(look(8609, 3601), None, "slewed");
        assert_eq!(look(12_210, 3602), Some(ClockStep::Forward(secs(3600))));
        assert_eq!(look(12_211, 3603), None);
        assert_eq!(look(212, 3604), Some(ClockStep::Back(secs(12_000))));
        assert_eq!(look(213, 3605), None);
    }
}
