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
/// How long a client waits at most, and at least.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long a client waits as long as no transfer has ended that tells better.
const FIRST_WAIT: Duration = Duration::from_secs(2);

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
    usual: Option<Duration>,
    /// As many ends as there are seats, while clients wait.
    round: Option<Round>,
}

/// Ends that are counted.
#[derive(Clone, Copy, Debug)]
struct Round {
    since: Monotonic,
    ended: usize,
    /// Most seats that were taken.
    taken: usize,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            active: HashMap::new(),
            waiting: VecDeque::new(),
            usual: None,
            round: None,
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
            .filter(|waiting| waiting.due <= now)
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

    /// A transfer of `client` is over.
    pub fn leave(&mut self, client: IpAddr, now: Monotonic) {
        let Some(own) = self.active.get_mut(&client) else {
            return;
        };
        *own = own.saturating_sub(1);
        if *own == 0 {
            self.measure(now);
            self.active.remove(&client);
        }
    }

    /// Takes how long it is until as many have ended as there are seats: what a
    /// single transfer shows ends with the last byte that the kernel has taken,
    /// megabytes before the client has it, and leaves out the seat's change of hands.
    fn measure(&mut self, now: Monotonic) {
        if self.waiting.is_empty() {
            self.round = None;
            return;
        }
        // The end that a round begins with is not in it.
        let Some(round) = &mut self.round else {
            self.round = Some(Round::new(now));
            return;
        };
        round.ended = round.ended.saturating_add(1);
        round.taken = round.taken.max(self.active.len());
        if round.ended < self.limit {
            return;
        }
        // Seats that nobody had yet make a round longer, and not a transfer.
        let taken = round.taken as f64 / self.limit as f64;
        let took = now.since(round.since).mul_f64(taken.min(1.0));
        self.usual = Some(self.usual.map_or(took, |usual| (usual + took) / 2));
        self.round = Some(Round::new(now));
    }

    /// Clients with a transfer, and clients that wait for one.
    pub fn counts(&self) -> (usize, usize) {
        (self.active.len(), self.waiting.len())
    }

    /// Rather early than late: one who comes early keeps its place and asks once
    /// more, but a seat that nobody comes for is lost.
    fn wait(&self, place: usize, jitter: u8) -> Duration {
        let Some(usual) = self.usual else {
            return FIRST_WAIT + FIRST_WAIT * u32::from(jitter) / 256;
        };
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let seats = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let wait = usual
            .saturating_mul(place.saturating_add(1))
            .checked_div(seats)
            .unwrap_or(usual);
        let early = wait * u32::from(jitter) / 1024;
        wait.saturating_sub(early)
            .clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }
}

impl Round {
    const fn new(since: Monotonic) -> Self {
        Self {
            since,
            ended: 0,
            taken: 0,
        }
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
        queue.leave(ip(1), at(2));
        queue.leave(ip(1), at(2));
        // Two wait and are due: the place is the first one's.
        assert!(queue.ask(ip(4), at(6), 0).is_err());
        queue.ask(ip(3), at(6), 0).unwrap();
        assert_eq!(queue.counts(), (2, 1));
        // One that does not come back loses its place.
        queue.leave(ip(2), at(7));
        queue.ask(ip(9), at(100), 0).unwrap();
        assert_eq!(queue.counts(), (2, 0));
    }

    /// What came of a storm: how long it took, and the questions that were asked.
    fn storm(nodes: u32, limit: usize, takes_ms: u64, spread_ms: u64) -> (u64, u64) {
        const STEP_MS: u64 = 20;
        let mut queue = Queue::new(limit);
        // When each asks next, and the ends of the transfers under way.
        let mut asking: Vec<(u64, u32)> = (0..nodes)
            .map(|node| (spread_ms * u64::from(node) / u64::from(nodes), node))
            .collect();
        let mut ending: Vec<(u64, u32)> = Vec::new();
        let (mut now, mut served, mut asked) = (0_u64, 0, 0_u64);
        let time = |ms| Monotonic(Duration::from_millis(ms));
        // From six tenths to fourteen of what it takes on average.
        let of = |node: u32, asked: u64| {
            let random = (u64::from(node) * 7919 + asked * 104_729) % 800;
            takes_ms * (600 + random) / 1000
        };
        while served < nodes {
            ending.retain(|(end, node)| {
                if *end <= now {
                    queue.leave(ip(*node), time(now));
                    served += 1;
                }
                *end > now
            });
            for (next, node) in std::mem::take(&mut asking) {
                if next > now {
                    asking.push((next, node));
                    continue;
                }
                asked += 1;
                let jitter = (u64::from(node).wrapping_mul(97).wrapping_add(asked) % 256) as u8;
                match queue.ask(ip(node), time(now), jitter) {
                    Ok(()) => ending.push((now + of(node, asked), node)),
                    // `Retry-After` has whole seconds.
                    Err(wait) => asking.push((now + wait.after.as_secs().max(1) * 1000, node)),
                }
            }
            assert!(queue.counts().0 <= limit);
            now += STEP_MS;
            assert!(now < 1_000_000, "{served} of {nodes} are served");
        }
        (now, asked)
    }

    #[test]
    fn a_storm_is_served_in_full_and_no_place_lies_idle_for_long() {
        for (nodes, limit, takes_ms, spread_ms) in [
            (2000, 32, 2000, 0),
            (2000, 32, 430, 2000),
            (2000, 32, 430, 20_000),
            (500, 32, 5000, 1000),
            (300, 4, 1000, 0),
        ] {
            let (took, asked) = storm(nodes, limit, takes_ms, spread_ms);
            let best = (u64::from(nodes) * takes_ms / limit as u64).max(spread_ms);
            let times = asked as f64 / f64::from(nodes);
            assert!(took * 10 < best * 16, "{took} ms, at best {best}");
            // Nobody is sent away for more than half a minute.
            let most = 5.0 + took as f64 / 30_000.0;
            assert!(times < most, "{times} questions each");
        }
    }
}
