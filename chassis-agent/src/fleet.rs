//! What bounds all chassis together: how many are visited at once, and how many
//! machines are powered on within a time, so that a rack does not trip its
//! breakers nor flood boot-server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_proto::time::Monotonic;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The time the limit of power-ons is for.
pub const POWER_ON_INTERVAL: Duration = Duration::from_secs(30);

/// Shared by the loops of all chassis.
#[derive(Clone, Debug)]
pub struct Fleet {
    visits: Arc<Semaphore>,
    /// The turns of devices that failed last time.
    doubtful: Arc<Semaphore>,
    power_ons: Arc<Mutex<Budget>>,
}

impl Fleet {
    /// Bounds for so many visits at once and so many power-ons within
    /// [`POWER_ON_INTERVAL`].
    #[must_use]
    pub fn new(visits: usize, power_ons: usize) -> Self {
        let visits = visits.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            visits: Arc::new(Semaphore::new(visits)),
            doubtful: Arc::new(Semaphore::new((visits / 4).max(1))),
            power_ons: Arc::new(Mutex::new(Budget::new(power_ons, POWER_ON_INTERVAL))),
        }
    }

    /// Waits for one's turn to visit a device; it is over when the permit is
    /// dropped. Devices that failed last time have turns of their own: a rack
    /// of BMCs that answer a byte a second must not keep the others waiting.
    pub async fn turn(&self, failed_last_time: bool) -> Option<SemaphorePermit<'_>> {
        let turns = if failed_last_time {
            &self.doubtful
        } else {
            &self.visits
        };
        // It is never closed; if it were, going on would be right.
        turns.acquire().await.ok()
    }

    /// The power-ons left, for one decision at a time.
    pub fn power_ons(&self) -> MutexGuard<'_, Budget> {
        self.power_ons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many within a time. Pure; time comes in.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: usize,
    interval: Duration,
    spent: VecDeque<Monotonic>,
}

impl Budget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub const fn new(limit: usize, interval: Duration) -> Self {
        Self {
            limit,
            interval,
            spent: VecDeque::new(),
        }
    }

    /// What is left now.
    pub fn room(&mut self, now: Monotonic) -> usize {
        while self
            .spent
            .front()
            .is_some_and(|at| now.since(*at) >= self.interval)
        {
            self.spent.pop_front();
        }
        self.limit.saturating_sub(self.spent.len())
    }

    /// Spends one.
    pub fn spend(&mut self, now: Monotonic) {
        self.spent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_comes_back_with_time() {
        let at = |secs| Monotonic(Duration::from_secs(secs));
        let mut budget = Budget::new(2, Duration::from_secs(30));
        let mut granted = Vec::new();
        for secs in 0..90 {
            if budget.room(at(secs)) > 0 {
                budget.spend(at(secs));
                granted.push(secs);
            }
        }
        assert_eq!(granted, [0, 1, 30, 31, 60, 61]);
    }

    #[tokio::test]
    async fn only_so_many_visits_at_once() {
        let fleet = Fleet::new(1, 1);
        let first = fleet.turn(false).await;
        assert!(fleet.visits.try_acquire().is_err());
        drop(first);
        assert!(fleet.visits.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn devices_that_fail_take_no_turns_from_those_that_work() {
        let fleet = Fleet::new(4, 1);
        let hanging = fleet.turn(true).await;
        assert!(fleet.doubtful.try_acquire().is_err(), "one in four");
        let working = [
            fleet.turn(false).await,
            fleet.turn(false).await,
            fleet.turn(false).await,
            fleet.turn(false).await,
        ];
        assert!(hanging.is_some() && working.iter().all(Option::is_some));
    }
}
