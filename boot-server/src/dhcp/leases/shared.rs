//! The lease table with the store behind it, shared by DHCP and HTTP.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use boot_proto::api::LeaseView;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{AddressRange, Object, SubnetSpec};
use boot_proto::time::WallClock;

use super::{Change, Lease, LeaseKind, LeaseTable};
use crate::store::{Batch, Database, StoreError};

/// All leases. Share them as `Arc<Leases>`.
#[derive(Debug)]
pub struct Leases {
    database: Database,
    table: Mutex<LeaseTable>,
}

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

impl Leases {
    /// Reads the leases of the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(database: Database) -> Result<Self, StoreError> {
        let table = LeaseTable::new(database.read_all::<Lease>()?);
        Ok(Self {
            database,
            table: Mutex::new(table),
        })
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
    /// nobody is promised what a restart would forget.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let written = batch_of(changes).and_then(|batch| self.database.commit(batch));
        if written.is_err() {
            self.lock().undo(changes);
        }
        written
    }

    /// The table stays usable after a panic elsewhere: each change of it is
    /// complete before anything can fail.
    fn lock(&self) -> MutexGuard<'_, LeaseTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn batch_of(changes: &[Change]) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    for change in changes {
        match &change.after {
            Some(lease) => batch.put(lease)?,
            None => batch.delete::<Lease>(&change.address.to_string()),
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Record as _;

    #[test]
    fn the_key_of_a_lease_is_its_address() {
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 0, 9),
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            machine: None,
            subnet: "lan".into(),
            kind: super::super::LeaseKind::Dynamic,
            expires: None,
        };
        assert_eq!(lease.key(), lease.address.to_string());
    }
}
