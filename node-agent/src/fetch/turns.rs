//! Whose turn it is to give the image, and how long to wait before. Pure.

use std::time::Duration;

/// Rounds without one new octet before it is given up. A round asks each server
/// once.
pub(super) const IDLE_ROUNDS: u32 = 8;
/// Longest pause between rounds, unless every server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest that a server may ask for with `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);
/// How long the servers may put us off in all: in a boot storm others go first,
/// and each answer that says so is a sign of life.
pub(super) const LONGEST_QUEUE: Duration = Duration::from_secs(3600);

/// What to do after a connection that did not bring all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Asks the next server at once.
    Ask,
    /// Asks it after a pause.
    Wait(Duration),
    /// No server gives it.
    GiveUp,
}

/// The servers that have the image, taking turns.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    servers: usize,
    at: usize,
    /// How many were asked in this round.
    asked: usize,
    /// Whether one of them gave something.
    has_news: bool,
    /// The shortest wait that one of them asked for.
    shortest: Option<Duration>,
    idle: u32,
    queued: Duration,
}

impl Turns {
    /// `servers` of them, beginning with number `first`, from 0.
    pub(super) fn new(servers: usize, first: usize) -> Self {
        Self {
            servers: servers.max(1),
            at: first,
            asked: 0,
            has_news: false,
            shortest: None,
            idle: 0,
            queued: Duration::ZERO,
        }
    }

    /// Number of the server whose turn it is.
    pub(super) fn at(&self) -> usize {
        self.at % self.servers
    }

    /// Moves on after a connection that ended early: whether it brought anything,
    /// and the wait that the server asked for.
    pub(super) fn ended(&mut self, brought: bool, retry_after: Option<Duration>) -> Next {
        self.at += 1;
        self.asked += 1;
        self.has_news |= brought;
        let wait = retry_after.map(|wait| wait.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER));
        self.shortest = self.shortest.into_iter().chain(wait).min();
        if self.asked < self.servers {
            return Next::Ask;
        }
        self.asked = 0;
        let put_off = self.shortest.take().filter(|_| self.queued < LONGEST_QUEUE);
        let has_news = std::mem::take(&mut self.has_news);
        self.idle = match put_off {
            _ if has_news => 1,
            Some(_) => self.idle,
            None => self.idle + 1,
        };
        self.queued += put_off.unwrap_or_default();
        if self.idle >= IDLE_ROUNDS {
            return Next::GiveUp;
        }
        let doubled = Duration::from_secs(1 << self.idle.saturating_sub(1).min(8));
        Next::Wait(put_off.unwrap_or(doubled.min(LONGEST_PAUSE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wait(secs: u64) -> Next {
        Next::Wait(Duration::from_secs(secs))
    }

    #[test]
    fn one_server_is_asked_again_after_growing_pauses() {
        let mut turns = Turns::new(1, 0);
        let pauses: Vec<Next> = (0..8).map(|_| turns.ended(false, None)).collect();
        let secs = [1, 2, 4, 8, 16, 30, 30].map(wait);
        assert_eq!(pauses[..7], secs);
        assert_eq!(pauses[7], Next::GiveUp);
        // Whoever gives something is asked again soon.
        let mut turns = Turns::new(1, 0);
        for _ in 0..7 {
            turns.ended(false, None);
        }
        assert_eq!(turns.ended(true, None), wait(1));
    }

    #[test]
    fn the_next_of_several_is_asked_at_once() {
        let mut turns = Turns::new(3, 1);
        assert_eq!(turns.at(), 1);
        assert_eq!(turns.ended(false, None), Next::Ask);
        assert_eq!(turns.at(), 2);
        assert_eq!(turns.ended(true, None), Next::Ask);
        assert_eq!(turns.at(), 0);
        assert_eq!(turns.ended(false, None), wait(1));
        assert_eq!(turns.at(), 1);
    }

    #[test]
    fn come_back_later_is_honoured_when_all_say_so_or_fail() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let mut turns = Turns::new(2, 0);
        assert_eq!(turns.ended(false, secs(40)), Next::Ask);
        assert_eq!(turns.ended(false, secs(7)), wait(7));
        assert_eq!(turns.ended(false, secs(9000)), Next::Ask);
        assert_eq!(turns.ended(false, None), wait(120));
        let mut turns = Turns::new(1, 0);
        assert_eq!(turns.ended(false, secs(0)), wait(1));
        let mut waits = 0;
        while turns.ended(false, secs(120)) != Next::GiveUp {
            waits += 1;
        }
        assert!((30..40).contains(&waits), "{waits}");
    }
}
