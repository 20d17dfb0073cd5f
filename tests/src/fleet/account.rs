//! What happened to the devices of a fleet, device by device, and when all of
//! them have reached a phase.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

/// What all devices reach, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The inventory of every device was reported.
    Inventory,
    /// After that, the power of every device was read once more.
    Power,
}

/// What happened to all devices since the counts were last cleared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Devices.
    pub devices: u32,
    /// Machines reported with MACs.
    pub machines: u64,
    /// MACs reported.
    pub macs: u64,
    /// Requests of all devices.
    pub requests: u64,
    /// Requests of the device that was asked most.
    pub most_requests: u32,
    /// Looks at a system, in a phase of power polls.
    pub looks: u64,
    /// Time that all devices together took to answer, in seconds.
    pub busy_secs: f64,
    /// Time that the slowest device took to answer, in seconds.
    pub slowest_secs: f64,
    /// Most devices that were answering at one moment.
    pub peak: u32,
    /// Reports that said that a device is out of reach.
    pub failures: u64,
    /// What the last such report said.
    pub last_failure: String,
}

#[derive(Clone, Copy, Default)]
struct Device {
    requests: u32,
    all_requests: u32,
    looks: u32,
    busy: Duration,
    is_reported: bool,
    is_looked: bool,
}

#[derive(Default)]
struct Book {
    devices: Vec<Device>,
    reported: u32,
    looked: u32,
    answering: u32,
    peak: u32,
    machines: u64,
    macs: u64,
    failures: u64,
    last_failure: String,
    counts_power: bool,
}

/// Shared by all devices.
pub struct Account {
    book: Mutex<Book>,
    reached: Notify,
    begun: Instant,
}

impl Account {
    /// An account of so many devices.
    #[must_use]
    pub fn new(devices: u32) -> Self {
        let book = Book {
            devices: vec![Device::default(); devices as usize],
            ..Book::default()
        };
        Self {
            book: Mutex::new(book),
            reached: Notify::new(),
            begun: Instant::now(),
        }
    }

    /// Time since the fleet began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came in; returns which one of this device it is.
    pub fn asked(&self, device: u32, is_system: bool) -> u32 {
        let mut book = self.book();
        let is_look = is_system && book.counts_power;
        book.answering += 1;
        book.peak = book.peak.max(book.answering);
        let Some(device) = book.devices.get_mut(device as usize) else {
            return 0;
        };
        device.requests += 1;
        device.all_requests += 1;
        device.looks += u32::from(is_look);
        device.all_requests
    }

    /// It was answered after this time.
    pub fn answered(&self, device: u32, took: Duration, is_system: bool) {
        let mut book = self.book();
        book.answering = book.answering.saturating_sub(1);
        let counts_power = book.counts_power;
        let Some(device) = book.devices.get_mut(device as usize) else {
            return;
        };
        device.busy += took;
        // A look that began before the phase does not count.
        if counts_power && is_system && device.looks > 0 && !device.is_looked {
            device.is_looked = true;
            book.looked += 1;
            self.reached.notify_waiters();
        }
    }

    /// A whole inventory of a device was reported.
    pub fn reported(&self, device: u32, machines: usize, macs: usize) {
        let mut book = self.book();
        let Some(device) = book.devices.get_mut(device as usize) else {
            return;
        };
        if std::mem::replace(&mut device.is_reported, true) {
            return;
        }
        book.reported += 1;
        book.machines += machines as u64;
        book.macs += macs as u64;
        self.reached.notify_waiters();
    }

    /// Power states of a device were reported, by a driver whose requests are
    /// not counted here.
    pub fn power_reported(&self, device: u32) {
        let mut book = self.book();
        if !book.counts_power {
            return;
        }
        let Some(device) = book.devices.get_mut(device as usize) else {
            return;
        };
        device.looks += 1;
        if !std::mem::replace(&mut device.is_looked, true) {
            book.looked += 1;
            self.reached.notify_waiters();
        }
    }

    /// A device was reported to be out of reach.
    pub fn failed(&self, message: &str) {
        let mut book = self.book();
        book.failures += 1;
        book.last_failure = message.chars().take(300).collect();
    }

    /// Waits until all devices have reached a phase.
    pub async fn wait(&self, phase: Phase) {
        loop {
            let notified = self.reached.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let book = self.book();
                let count = match phase {
                    Phase::Inventory => book.reported,
                    Phase::Power => book.looked,
                };
                if count as usize >= book.devices.len() {
                    return;
                }
            }
            notified.await;
        }
    }

    /// How many devices have reached a phase.
    #[must_use]
    pub fn count(&self, phase: Phase) -> u32 {
        let book = self.book();
        match phase {
            Phase::Inventory => book.reported,
            Phase::Power => book.looked,
        }
    }

    /// What happened since the last time this was asked; counts begin anew, and
    /// power polls are counted from now on.
    pub fn close(&self) -> Stats {
        let mut book = self.book();
        let devices = &book.devices;
        let sum = |value: fn(&Device) -> u64| devices.iter().map(value).sum::<u64>();
        let busy = devices.iter().map(|device| device.busy);
        let stats = Stats {
            devices: u32::try_from(devices.len()).unwrap_or(u32::MAX),
            machines: book.machines,
            macs: book.macs,
            requests: sum(|device| u64::from(device.requests)),
            most_requests: devices.iter().map(|d| d.requests).max().unwrap_or(0),
            looks: sum(|device| u64::from(device.looks)),
            busy_secs: busy.clone().sum::<Duration>().as_secs_f64(),
            slowest_secs: busy.max().unwrap_or_default().as_secs_f64(),
            peak: book.peak,
            failures: book.failures,
            last_failure: book.last_failure.clone(),
        };
        for device in &mut book.devices {
            (device.requests, device.looks, device.busy) = (0, 0, Duration::ZERO);
        }
        (book.looked, book.peak, book.counts_power) = (0, 0, true);
        stats
    }
}
