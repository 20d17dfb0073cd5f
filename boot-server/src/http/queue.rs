//! Who may fetch an image now, and who is told when to come back. Pure.
//!
//! A rack that boots at once shares one network card. With a few transfers at
//! a time the first nodes are done early and the last no later than otherwise,
//! and nobody's transfer is so slow that it is given up.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use boot_proto::time::Monotonic;

/// Clients that are remembered as waiting; later ones wait without a place.
const LONGEST_QUEUE: usize = 16_384;
/// How long after its time a client's place is kept.
const GRACE: Duration = Duration::from_secs(10);
/// One that comes this early is as good as there.
const NEARLY: Duration = Duration::from_secs(1);
/// How long a client waits at most, and at least.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// What a transfer is thought to take before one has ended.
const FIRST_GUESS: Duration = Duration::from_secs(5);

/// Told to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When.
    pub after: Duration,
    /// How many are before it.
    pub before: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    client: IpAddr,
    due: Monotonic,
}

/// Transfers under way and clients that wait for one.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    /// How many transfers each client has.
    active: HashMap<IpAddr, usize>,
    /// In the order in which they came first.
    waiting: VecDeque<Waiting>,
    /// What a transfer takes, averaged.
    usual: Duration,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            active: HashMap::new(),
            waiting: VecDeque::new(),
            usual: FIRST_GUESS,
        }
    }

    /// Begins a transfer, or tells when to come back. `jitter` is a random
    /// number from 0 to 255, which spreads those who are told at once.
    pub fn ask(&mut self, client: IpAddr, now: Monotonic, jitter: u8) -> Result<(), Wait> {
        self.waiting
            .retain(|waiting| now.since(waiting.due) <= GRACE);
        if let Some(own) = self.active.get_mut(&client) {
            *own = own.saturating_add(1);
            return Ok(());
        }
        let place = self.waiting.iter().position(|own| own.client == client);
        let place = place.unwrap_or(self.waiting.len());
        // A free place is not kept for those who are asleep still.
        let before = self
            .waiting
            .iter()
            .take(place)
            .filter(|waiting| waiting.due <= now.after(NEARLY))
            .count();
        if before < self.limit.saturating_sub(self.active.len()) {
            self.waiting.remove(place);
            self.active.insert(client, 1);
            return Ok(());
        }
        let after = self.wait(place, jitter);
        let due = now.after(after);
        if let Some(waiting) = self.waiting.get_mut(place) {
            waiting.due = due;
        } else if self.waiting.len() < LONGEST_QUEUE {
            self.waiting.push_back(Waiting { client, due });
        }
        Err(Wait {
            after,
            before: place,
        })
    }

    /// A transfer of `client` that took so long is over.
    pub fn leave(&mut self, client: IpAddr, took: Duration, is_whole: bool) {
        if is_whole {
            self.usual = (self.usual * 7 + took) / 8;
        }
        if let Some(own) = self.active.get_mut(&client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.active.remove(&client);
            }
        }
    }

    /// Clients with a transfer, and clients that wait for one.
    pub fn counts(&self) -> (usize, usize) {
        (self.active.len(), self.waiting.len())
    }

    fn wait(&self, place: usize, jitter: u8) -> Duration {
        let rounds = place / self.limit + 1;
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let wait = self
            .usual
            .saturating_mul(rounds)
            .clamp(SHORTEST_WAIT, LONGEST_WAIT);
        wait + wait * u32::from(jitter) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn who_waited_longest_is_next() {
        let mut queue = Queue::new(2);
        queue.ask(ip(1), at(0), 0).unwrap();
        queue.ask(ip(2), at(0), 0).unwrap();
        let first = queue.ask(ip(3), at(0), 0).unwrap_err();
        let second = queue.ask(ip(4), at(0), 0).unwrap_err();
        assert_eq!((first.before, second.before), (0, 1));
        // A second connection of one that has a place needs no other.
        queue.ask(ip(1), at(1), 0).unwrap();
        queue.leave(ip(1), Duration::from_secs(2), true);
        queue.leave(ip(1), Duration::from_secs(2), true);
        // Two wait and are due: the place is the first one's.
        assert!(queue.ask(ip(4), at(6), 0).is_err());
        queue.ask(ip(3), at(6), 0).unwrap();
        assert_eq!(queue.counts(), (2, 1));
        // One that does not come back loses its place.
        queue.leave(ip(2), Duration::from_secs(2), true);
        queue.ask(ip(9), at(100), 0).unwrap();
        assert_eq!(queue.counts(), (2, 0));
    }

    #[test]
    fn a_storm_is_served_in_full_and_no_place_lies_idle_for_long() {
        const NODES: u32 = 2000;
        const LIMIT: usize = 32;
        let mut queue = Queue::new(LIMIT);
        // When each asks next, and the ends of the transfers under way.
        let mut asking: Vec<(u64, u32)> = (0..NODES).map(|node| (0, node)).collect();
        let mut ending: Vec<(u64, u32)> = Vec::new();
        let (mut now, mut served, mut asked) = (0_u64, Vec::new(), 0_u64);
        while (served.len() as u32) < NODES {
            ending.retain(|(end, node)| {
                if *end <= now {
                    queue.leave(ip(*node), Duration::from_secs(2), true);
                    served.push((now, *node));
                }
                *end > now
            });
            for (next, node) in std::mem::take(&mut asking) {
                if next > now {
                    asking.push((next, node));
                    continue;
                }
                asked += 1;
                let jitter = (node.wrapping_mul(97) % 256) as u8;
                match queue.ask(ip(node), at(now), jitter) {
                    Ok(()) => ending.push((now + 2, node)),
                    // `Retry-After` has whole seconds.
                    Err(wait) => asking.push((now + wait.after.as_secs() + 1, node)),
                }
            }
            assert!(queue.counts().0 <= LIMIT);
            now += 1;
            assert!(now < 1000, "{} of {NODES} are served", served.len());
        }
        // 2000 nodes, 32 at a time, two seconds each: 125 s at best.
        assert!(now < 190, "{now} s");
        assert!(asked < u64::from(NODES) * 20, "{asked} questions");
    }
}
