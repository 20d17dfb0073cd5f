//! The lease table with the store behind it, shared by DHCP and HTTP.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boot_proto::api::LeaseView;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{AddressRange, Object, SubnetSpec};
use boot_proto::time::{Monotonic, WallClock};

use super::clock_steps::{ClockWatch, rebased};
use super::{
    Change, Conflict, Lease, LeaseKind, LeaseLog, LeaseStore, LeaseStoreError, LeaseTable,
};
use crate::clock;
use crate::store::Database;

/// How full a subnet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its name.
    pub subnet: String,
    /// Leases that hold now.
    pub held: u64,
    /// Addresses of its ranges that nobody holds and that do not rest.
    pub free: u64,
}

/// All leases. Share them as `Arc<Leases>`.
#[derive(Debug)]
pub struct Leases {
    store: Arc<dyn LeaseStore>,
    table: Mutex<LeaseTable>,
    watch: Mutex<ClockWatch>,
}

/// The lease log in `folder`. A new one takes over what an earlier release kept
/// in the state file.
///
/// # Errors
/// When either cannot be read, or the log cannot be written.
pub fn open_log(folder: &Path, database: &Database) -> Result<LeaseLog, LeaseStoreError> {
    let log = LeaseLog::open(folder)?;
    if log.is_new()? {
        let leases: Vec<Lease> = database.read_all().map_err(LeaseStoreError::TakeOver)?;
        let change = |lease: Lease| Change {
            address: lease.address,
            before: None,
            after: Some(lease),
        };
        let changes: Vec<Change> = leases.into_iter().map(change).collect();
        log.commit(&changes)?;
    }
    Ok(log)
}

impl Leases {
    /// Reads the leases of the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn LeaseStore>) -> Result<Self, LeaseStoreError> {
        let now = clock::wall();
        let leases = store.load()?;
        let leases = leases.into_iter().map(|lease| rebased(lease, now));
        let table = LeaseTable::new(leases).looking_from(store.first_place());
        Ok(Self {
            store,
            table: Mutex::new(table),
            watch: Mutex::default(),
        })
    }

    /// Looks whether the system clock was set, and moves all leases with it.
    /// To be called at least every few seconds.
    pub fn follow_clock(&self, wall: WallClock, monotonic: Monotonic) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = watch.look(wall, monotonic) else {
            return;
        };
        drop(watch);
        if self.store.is_shared() {
            tracing::warn!(%step, "the system clock was set; leases are shared with other servers and stay as they are");
            return;
        }
        let changes = self.lock().shift(step);
        tracing::warn!(%step, leases = changes.len(), "the system clock was set; leases keep the time they have left");
        if let Err(error) = self.store.commit(&changes) {
            let error = crate::images::chain(&error);
            tracing::error!(
                error,
                "leases with their new times cannot be stored; those that are renewed will be"
            );
        }
    }

    /// Takes in what another server did with an address.
    pub fn learn(&self, address: Ipv4Addr, lease: Option<Lease>) {
        self.lock().learn(address, lease);
    }

    /// The MAC that holds an address now.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now: WallClock) -> Option<MacAddr> {
        self.lock().holder(address, now)
    }

    /// All leases by address, ended ones among them.
    #[must_use]
    pub fn list(&self) -> Vec<Lease> {
        self.lock().iter().cloned().collect()
    }

    /// Leases that hold now, as the management API shows them.
    #[must_use]
    pub fn views(&self, now: WallClock) -> Vec<LeaseView> {
        let table = self.lock();
        let active = table.iter().filter(|lease| lease.is_active(now));
        active
            .map(|lease| LeaseView {
                address: lease.address,
                mac: lease.mac,
                machine: lease.machine.clone(),
                subnet: lease.subnet.clone(),
                kind: lease.kind.name().to_owned(),
                expires: lease.expires,
            })
            .collect()
    }

    /// How many leases of each subnet hold now, by its name, and in how many
    /// addresses of its ranges.
    #[must_use]
    pub fn usage(&self, subnets: &[&Object<SubnetSpec>], now: WallClock) -> Vec<Usage> {
        let table = self.lock();
        let of = |subnet: &&Object<SubnetSpec>| {
            let mut usage = Usage {
                subnet: subnet.name().to_owned(),
                ..Usage::default()
            };
            usage.free = subnet.spec.ranges.iter().map(AddressRange::count).sum();
            let within = table.within(subnet.spec.cidr);
            for lease in within.filter(|lease| lease.is_active(now)) {
                usage.held += u64::from(lease.kind != LeaseKind::Declined);
                let mut ranges = subnet.spec.ranges.iter();
                if ranges.any(|range| range.contains(lease.address)) {
                    usage.free = usage.free.saturating_sub(1);
                }
            }
            usage
        };
        subnets.iter().map(of).collect()
    }

    /// Decides on the table; no write happens here.
    pub(crate) fn decide<T>(&self, decide: impl FnOnce(&mut LeaseTable) -> T) -> T {
        decide(&mut self.lock())
    }

    /// Makes changes durable. Where that fails they are taken back, so that
    /// nobody is promised what a restart would forget; what was decided on top
    /// of them, which `later` gives, is taken back before them. Returns the
    /// addresses that another server was faster with.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn commit(
        &self,
        changes: &[Change],
        later: impl FnOnce() -> Vec<Change>,
    ) -> Result<Vec<Ipv4Addr>, LeaseStoreError> {
        match self.store.commit(changes) {
            Ok(conflicts) => {
                let lost = conflicts.iter().map(|conflict| conflict.address).collect();
                if !conflicts.is_empty() {
                    let mut table = self.lock();
                    for Conflict { address, held } in conflicts {
                        table.learn(address, held);
                    }
                    table.step_aside();
                }
                Ok(lost)
            }
            Err(error) => {
                let mut table = self.lock();
                table.undo(&later());
                table.undo(changes);
                Err(error)
            }
        }
    }

    /// The table stays usable after a panic elsewhere: each change of it is
    /// complete before anything can fail.
    fn lock(&self) -> MutexGuard<'_, LeaseTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
