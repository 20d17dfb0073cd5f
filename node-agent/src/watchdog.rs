//! The hardware watchdog: fed while the boot goes on, so that a hang becomes a
//! restart. What hangs is taken to be the whole agent: every step of the plan
//! has time limits of its own, so the feeder stops only when no step has ended
//! for longer than any step may take.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::{Clock as _, SystemClock};
use crate::log::Log;

/// How often it is fed.
const FEED: Duration = Duration::from_secs(5);
/// No step of a boot goes on for longer without telling of it.
const LONGEST_STEP: Duration = Duration::from_secs(900);
/// Time-out in seconds where nobody says.
const DEFAULT_SECS: u32 = 120;

/// A watchdog that is being fed. Dropped, it is switched off.
#[derive(Debug)]
pub struct Watchdog {
    secs: u32,
    shared: Arc<Shared>,
    feeder: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    /// Whether it goes on counting down when it is fed no more.
    stays_armed: AtomicBool,
    /// Whether a person has taken over.
    is_attended: AtomicBool,
    /// Seconds since the kernel's start at which something was last done.
    alive: AtomicU64,
}

impl Watchdog {
    /// Opens the first watchdog of the machine and begins to feed it; none where
    /// there is none or `secs` is 0.
    #[must_use]
    pub fn start(dev: &Path, secs: Option<u32>, log: &Log) -> Option<Self> {
        let secs = secs.unwrap_or(DEFAULT_SECS);
        if secs == 0 {
            return None;
        }
        let path = dev.join("watchdog0");
        let file = OpenOptions::new().write(true).open(path).ok()?;
        if let Err(error) = crate::kernel::linux::set_watchdog_timeout(&file, secs) {
            log.warn(&format!("the watchdog keeps its own time-out: {error}"));
        }
        log.info(&format!(
            "the hardware watchdog restarts this machine if it hangs for {secs} s"
        ));
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            stays_armed: AtomicBool::new(false),
            is_attended: AtomicBool::new(false),
            alive: AtomicU64::new(now_secs()),
        });
        let own = Arc::clone(&shared);
        let feeder = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || feed(file, &own))
            .ok()?;
        Some(Self {
            secs,
            shared,
            feeder: Some(feeder),
        })
    }

    /// Its time-out in seconds.
    #[must_use]
    pub fn secs(&self) -> u32 {
        self.secs
    }

    /// Hands it on, armed: whoever is next has to open and feed it before its
    /// time is over, or the machine restarts.
    pub fn hand_on(self) {
        self.shared.stays_armed.store(true, Ordering::Relaxed);
    }

    /// A person looks after the machine, who may take their time: it is fed as
    /// long as this process lives.
    pub fn attended(&self) {
        self.shared.is_attended.store(true, Ordering::Relaxed);
    }

    /// What comes next has a limit of its own and may take so long.
    pub fn allow(&self, time: Duration) {
        let until = now_secs().saturating_add(time.as_secs());
        self.shared.alive.store(until, Ordering::Relaxed);
    }

    /// Something was done: no hang.
    pub fn alive(&self) {
        self.shared.alive.store(now_secs(), Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether something was done of late, or nothing need be done.
    fn deserves_food(&self, now_secs: u64) -> bool {
        let silent = now_secs.saturating_sub(self.alive.load(Ordering::Relaxed));
        silent <= LONGEST_STEP.as_secs() || self.is_attended.load(Ordering::Relaxed)
    }
}

fn now_secs() -> u64 {
    SystemClock.now().0.as_secs()
}

fn feed(mut file: File, shared: &Shared) {
    while !shared.is_over.load(Ordering::Relaxed) {
        if shared.deserves_food(now_secs()) {
            let _ = file.write_all(b"1");
        }
        thread::park_timeout(FEED);
    }
    // Closed with this letter it stops, closed without it goes on counting down
    // (kernel document watchdog-api, "Magic Close").
    let last = if shared.stays_armed.load(Ordering::Relaxed) {
        b"1"
    } else {
        b"V"
    };
    let _ = file.write_all(last);
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            feeder.thread().unpark();
            let _ = feeder.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_agent_starves_it_and_a_person_does_not() {
        let shared = Shared {
            is_over: AtomicBool::new(false),
            stays_armed: AtomicBool::new(false),
            is_attended: AtomicBool::new(false),
            alive: AtomicU64::new(100),
        };
        assert!(shared.deserves_food(100 + LONGEST_STEP.as_secs()));
        assert!(!shared.deserves_food(101 + LONGEST_STEP.as_secs()));
        // Something that may take until then is under way.
        assert!(shared.deserves_food(50));
        shared.is_attended.store(true, Ordering::Relaxed);
        assert!(shared.deserves_food(1_000_000));
    }
}
