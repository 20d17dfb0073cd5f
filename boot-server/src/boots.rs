//! The boot log: one record a boot, from the first packet to Ready, fed by
//! DHCP, TFTP, HTTP and the nodes' own reports.
//!
//! What happened is taken in at once and in memory; a task writes what changed
//! to the store a few times a second, so that no network face ever waits for a
//! disk.

mod agent;
mod book;
mod decisions;
mod join;
mod record;
mod reports;
mod sent;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_proto::api::BootView;
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::report::BootReport;
use boot_proto::time::WallClock;
use tokio::sync::Notify;

use crate::dhcp::responder::Decision;
use crate::events::{BootEvent, EventSink};
use crate::store::{Batch, Database, StoreError};
use crate::{clock, neighbours};

use book::Book;
use decisions::Decisions;
use record::{Boot, Stage};

/// Shortest time between two writes to the store.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);
/// How often boots are looked at that have gone silent.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// Told of each machine's latest boot when it has moved, after it was written.
pub type Observer = Arc<dyn Fn(&BootView, WallClock) + Send + Sync>;

/// The boot log; shared by all faces.
pub struct BootLog {
    book: Mutex<Book>,
    decisions: Mutex<Decisions>,
    database: Database,
    changed: Notify,
}

/// What the boot script tells of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// MAC of the booting NIC.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// The machine.
    pub machine: &'a str,
    /// `bios` or `uefi`, as iPXE tells it.
    pub firmware: Option<&'static str>,
    /// What it was given.
    pub given: Given,
}

/// What a boot script starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// An image.
    Image(Digest),
    /// What the MatchboxProfile of that name says.
    Profile(String),
    /// Nothing, and why.
    Nothing(String),
}

fn count_failures<'a>(outcomes: impl Iterator<Item = &'a str>) -> u32 {
    outcomes.fold(0, |count: u32, outcome| match outcome {
        "failed" => count.saturating_add(1),
        "ready" | record::HANDED_OVER => 0,
        _ => count,
    })
}

impl BootLog {
    /// Reads the log from the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(database: Database) -> Result<Arc<Self>, StoreError> {
        let book = Book::new(database.read_all::<Boot>()?);
        Ok(Arc::new(Self {
            book: Mutex::new(book),
            decisions: Mutex::default(),
            database,
            changed: Notify::new(),
        }))
    }

    /// All boots, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<BootView> {
        self.book().boots().map(|boot| boot.view.clone()).collect()
    }

    /// The latest boot of the NIC with that MAC.
    #[must_use]
    pub fn latest(&self, mac: MacAddr) -> Option<BootView> {
        self.book().latest(mac).map(|boot| boot.view.clone())
    }

    /// How many boots of the NIC with that MAC have failed since the last one that
    /// became ready. A boot that neither did nor failed says nothing.
    #[must_use]
    pub fn failures_in_a_row(&self, mac: MacAddr) -> u32 {
        let book = self.book();
        let ids = book.ids_of(mac);
        let own = ids.iter().rev().filter_map(|id| book.boot(*id));
        count_failures(own.map(|boot| boot.view.outcome.as_str()))
    }

    /// When the firmware or boot loader of the NIC with that MAC last asked for
    /// something to boot.
    #[must_use]
    pub fn asked(&self, mac: MacAddr) -> Option<WallClock> {
        self.book().latest(mac).map(|boot| boot.asked)
    }

    /// What DHCP decided last about a client, and when; not kept across restarts.
    #[must_use]
    pub fn last_decision(&self, mac: MacAddr) -> Option<(WallClock, Decision)> {
        let decisions = self.decisions.lock();
        decisions.unwrap_or_else(PoisonError::into_inner).of(mac)
    }

    /// A machine was given its boot script, or told why it gets none.
    pub fn script(&self, script: &Script<'_>) {
        self.change(|book, now| book.script(now, script));
    }

    /// A kernel or initramfs went out to `address` by HTTP.
    pub fn fetched(&self, address: Ipv4Addr, stage: Fetched, bytes: u64, size: u64) {
        self.locate(address);
        self.change(|book, now| book.fetched(now, address, stage, bytes, size));
    }

    /// The machine at `address` was told to come back for its image.
    pub fn waiting(&self, address: Ipv4Addr, message: &str) {
        self.change(|book, now| book.waiting(now, address, message));
    }

    /// A node reported.
    pub fn report(&self, report: &BootReport, machine: &str, address: Ipv4Addr) {
        self.change(|book, now| book.report(now, report, machine, address));
    }

    /// A remark for the boot's timeline that does not move it.
    pub fn note(&self, mac: MacAddr, step: &str, message: &str) {
        self.change(|book, now| book.note(now, mac, step, message));
    }

    /// A machine that will not report has got the last that it fetches here.
    pub fn handed_over(&self, mac: MacAddr, message: &str) {
        self.change(|book, now| book.handed_over(now, mac, message));
    }

    /// The boot `id` has reached its end.
    pub fn ready(&self, id: u64, message: &str) {
        self.change(|book, now| book.ready(now, id, message));
    }

    /// The boot `id` got stuck; `reason` says how.
    pub fn stuck(&self, id: u64, reason: &str) {
        self.change(|book, now| book.stuck(now, id, reason));
    }

    /// Writes what has changed, and tells `observer` of it, until cancelled.
    pub async fn run(self: Arc<Self>, observer: Observer) {
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = expiry.tick() => self.change(|book, now| book.expire(now)),
            }
            let (log, observer) = (Arc::clone(&self), Arc::clone(&observer));
            // It waits for the disk.
            let _ = tokio::task::spawn_blocking(move || log.flush(&observer)).await;
            tokio::time::sleep(WRITE_INTERVAL).await;
        }
    }

    /// Writes what has changed since the last time.
    pub fn flush(&self, observer: &Observer) {
        let (changed, gone) = self.book().take_changes();
        if changed.is_empty() && gone.is_empty() {
            return;
        }
        if let Err(error) = self.write(&changed, &gone) {
            tracing::error!(error = %crate::images::chain(&error), "the boot log could not be written");
            self.book().give_back(&changed, gone);
        }
        let is_latest = |view: &BootView| {
            view.mac
                .and_then(|mac| self.latest(mac))
                .is_some_and(|latest| latest.id == view.id)
        };
        for boot in changed.iter().filter(|boot| is_latest(&boot.view)) {
            observer(&boot.view, boot.asked);
        }
    }

    fn write(&self, changed: &[Boot], gone: &[u64]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for boot in changed {
            batch.put(boot)?;
        }
        for id in gone {
            batch.delete::<Boot>(&record::key(*id));
        }
        self.database.commit(batch)
    }

    /// Where another server gives the addresses, DHCP does not tell which boot an
    /// address belongs to; the kernel does, on our own links.
    fn locate(&self, address: Ipv4Addr) {
        if self.book().has_boot_at(address) {
            return;
        }
        if let Some(mac) = neighbours::mac_at(address) {
            self.book().found_at(address, mac);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Book, WallClock)) {
        let now = clock::wall();
        let has_changes = {
            let mut book = self.book();
            change(&mut book, now);
            book.has_changes()
        };
        if has_changes {
            self.changed.notify_one();
        }
    }
}

impl EventSink for BootLog {
    fn record(&self, event: BootEvent) {
        if let BootEvent::File { address, .. } = &event {
            self.locate(*address);
        }
        self.change(|book, now| book.event(now, event));
    }

    fn decided(&self, mac: MacAddr, decision: Decision) {
        let now = clock::wall();
        let decisions = self.decisions.lock();
        decisions
            .unwrap_or_else(PoisonError::into_inner)
            .keep(mac, now, decision);
    }
}

/// What a boot loader fetches by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A boot loader.
    Loader,
    /// A kernel.
    Kernel,
    /// An initramfs.
    Initramfs,
    /// A root file system, which the node agent fetches.
    Root,
}

impl Fetched {
    const fn stage(self) -> Option<Stage> {
        match self {
            Self::Loader => Some(Stage::Loader),
            Self::Kernel => Some(Stage::Kernel),
            Self::Initramfs => Some(Stage::Initramfs),
            // The agent itself tells how far it is with that.
            Self::Root => None,
        }
    }
}
