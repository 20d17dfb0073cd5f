//! Leases in the API server: one `AddressClaim` for each address, named by it.
//!
//! A dynamic address is given when its claim could be made, or taken over from
//! one that has ended, by the version that was read: the API server decides
//! between servers. A claim lasts a lease time longer than the lease, so that a
//! renewal needs no write before half of it is over. A reserved address needs no
//! decision; its claim follows soon, for the other servers to know.

mod plan;
mod send;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use boot_proto::kubernetes::claim::{self, AddressClaimSpec};
use boot_proto::time::WallClock;
use futures_util::{StreamExt as _, stream};
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube_access::AccessError;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::api::ApiServer;
use crate::clock;
use crate::dhcp::leases::{Change, Conflict, Lease, LeaseStore, LeaseStoreError, Leases};
use crate::store::{Batch, Database, Record, StoreError};
pub use plan::Known;
use plan::{Plan, lease_of, plan};

/// Claims that are written at once.
const AT_ONCE: usize = 32;
/// Pause between rounds of what can wait.
const ROUND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    known: HashMap<Ipv4Addr, Known>,
    /// What can wait for its write: the latest lease of each address.
    waiting: BTreeMap<Ipv4Addr, Option<Lease>>,
    /// Where the table is told what other servers give.
    leases: Weak<Leases>,
    /// Addresses whose claim is not in the cache as it is.
    dirty: BTreeSet<Ipv4Addr>,
    /// Addresses refused while the API server was away, since it was.
    refused: u64,
}

/// Leases as claims; clones share them.
#[derive(Clone, Debug)]
pub struct Claims {
    api: ApiServer,
    runtime: Handle,
    cache: Database,
    state: Arc<Mutex<State>>,
    filled: Arc<Notify>,
    synced: Arc<watch::Sender<bool>>,
}

/// A claim in the cache on disk, for a start without the API server.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Cached {
    claim: AddressClaimSpec,
    version: String,
}

impl Record for Cached {
    const TABLE: &'static str = "kubernetes_claims";
    fn key(&self) -> String {
        self.claim.address.to_string()
    }
}

impl Claims {
    /// Claims as they were when this server last saw them.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn open(api: ApiServer, cache: Database) -> Result<Self, StoreError> {
        let cached: Vec<Cached> = cache.read_all()?;
        let known = cached.into_iter().map(|cached| {
            let known = Known {
                claim: cached.claim,
                version: cached.version,
            };
            (known.claim.address, known)
        });
        let state = State {
            known: known.collect(),
            ..State::default()
        };
        Ok(Self {
            api,
            runtime: Handle::current(),
            cache,
            state: Arc::new(Mutex::new(state)),
            filled: Arc::default(),
            synced: Arc::new(watch::channel(false).0),
        })
    }

    /// Names the table that is told of other servers' leases.
    pub fn attach(&self, leases: &Arc<Leases>) {
        self.lock().leases = Arc::downgrade(leases);
    }

    /// Waits until all claims were listed.
    pub async fn wait(&self) {
        // The sender lives as long as we do.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Watches claims, until cancelled.
    pub async fn watch(self) {
        let objects = self.api.objects(claim::KIND, claim::PLURAL);
        let stream = watch_objects(objects, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listed = HashMap::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    if let Some(known) = read(&object) {
                        listed.insert(known.claim.address, known);
                    }
                }
                Ok(Event::InitDone) => self.listed(std::mem::take(&mut listed)),
                Ok(Event::Apply(object)) => {
                    if let Some(known) = read(&object) {
                        self.saw(known);
                    }
                }
                Ok(Event::Delete(object)) => self.gone(&object),
                Err(error) => {
                    tracing::debug!(error = %crate::images::chain(&error), "watching claims");
                }
            }
        }
    }

    /// Writes what can wait, and the cache, until cancelled.
    pub async fn run(self) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(ROUND).await;
            self.write_cache().await;
            let waiting = std::mem::take(&mut self.lock().waiting);
            let changes: Vec<(Ipv4Addr, Option<Lease>)> = waiting.into_iter().collect();
            if self.api.is_away() {
                self.wait_again(changes);
                tokio::time::sleep(ROUND).await;
                self.filled.notify_one();
                continue;
            }
            let claims = &self;
            let failed = stream::iter(changes)
                .map(|(address, lease)| async move {
                    let done = claims.settle(address, lease.as_ref()).await;
                    (address, lease, done)
                })
                .buffer_unordered(AT_ONCE)
                .filter_map(|(address, lease, done)| async move {
                    let error = done.err()?;
                    tracing::debug!(ip = %address, error = %crate::images::chain(&error), "a claim waits on");
                    error.is_away().then_some((address, lease))
                })
                .collect::<Vec<_>>()
                .await;
            self.wait_again(failed);
        }
    }

    /// Puts back what could not be written, under what came meanwhile.
    fn wait_again(&self, changes: Vec<(Ipv4Addr, Option<Lease>)>) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (address, lease) in changes {
            state.waiting.entry(address).or_insert(lease);
        }
        drop(state);
        self.filled.notify_one();
    }

    fn listed(&self, listed: HashMap<Ipv4Addr, Known>) {
        let before = {
            let state = self.lock();
            state.known.keys().copied().collect::<Vec<_>>()
        };
        for address in before {
            if !listed.contains_key(&address) {
                self.forget(address);
            }
        }
        for known in listed.into_values() {
            self.saw(known);
        }
        self.synced.send_replace(true);
    }

    /// Takes in a claim as the API server has it.
    fn saw(&self, known: Known) {
        let address = known.claim.address;
        let lease = lease_of(&known.claim, clock::wall());
        let is_own = known.claim.server.as_deref() == Some(&*self.api.server);
        let mut state = self.lock();
        state.known.insert(address, known);
        let leases = state.leases.upgrade();
        drop(state);
        self.changed(address);
        // Of our own leases the table knows more than the claim says.
        if let Some(leases) = leases
            && (!is_own || leases.holder(address, clock::wall()).is_none())
        {
            leases.learn(address, Some(lease));
        }
    }

    fn gone(&self, object: &DynamicObject) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if let Some(address) = claim::address(name) {
            self.forget(address);
        }
    }

    fn forget(&self, address: Ipv4Addr) {
        let mut state = self.lock();
        state.known.remove(&address);
        let leases = state.leases.upgrade();
        drop(state);
        self.changed(address);
        if let Some(leases) = leases {
            leases.learn(address, None);
        }
    }

    fn changed(&self, address: Ipv4Addr) {
        self.lock().dirty.insert(address);
        self.filled.notify_one();
    }

    /// The cache serves a start without the API server; losing it costs that
    /// alone.
    async fn write_cache(&self) {
        let (batch, database) = (self.cache_batch(), self.cache.clone());
        let written = tokio::task::spawn_blocking(move || database.commit(batch)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(error = %crate::images::chain(&error), "claims are not cached");
        }
    }

    fn cache_batch(&self) -> Batch {
        let mut batch = Batch::new();
        let mut state = self.lock();
        for address in std::mem::take(&mut state.dirty) {
            let written = match state.known.get(&address) {
                None => {
                    batch.delete::<Cached>(&address.to_string());
                    Ok(())
                }
                Some(known) => batch.put(&Cached {
                    claim: known.claim.clone(),
                    version: known.version.clone(),
                }),
            };
            if let Err(error) = written {
                tracing::debug!(ip = %address, error = %crate::images::chain(&error), "a claim is not cached");
            }
        }
        batch
    }

    /// Decides on one change: nothing to do, later, now, or lost.
    fn plan(&self, lease: &Lease, now: WallClock) -> Plan {
        let state = self.lock();
        plan(
            state.known.get(&lease.address),
            lease,
            now,
            &self.api.server,
        )
    }

    fn later(&self, address: Ipv4Addr, lease: Option<Lease>) {
        self.lock().waiting.insert(address, lease);
        self.filled.notify_one();
    }

    /// Writes what cannot wait. Returns what was lost to others or refused.
    async fn decide(&self, changes: Vec<Change>) -> Vec<Conflict> {
        stream::iter(changes)
            .map(|change| async move {
                let lease = change.after.clone()?;
                match self.settle(change.address, Some(&lease)).await {
                    Ok(None) => None,
                    Ok(Some(held)) => Some(Conflict {
                        address: change.address,
                        held: Some(held),
                    }),
                    Err(error) => {
                        self.refuse(&change, &error);
                        Some(Conflict {
                            address: change.address,
                            held: change.before.clone(),
                        })
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(|conflict| async move { conflict })
            .collect()
            .await
    }

    /// Says once for each time that the API server is away, and counts.
    fn refuse(&self, change: &Change, error: &AccessError) {
        let mut state = self.lock();
        state.refused += 1;
        let is_first = state.refused == 1 || !error.is_away();
        drop(state);
        let (ip, error) = (change.address, crate::images::chain(error));
        if is_first {
            tracing::warn!(%ip, error, "an address is refused: whether another server gave it cannot be known");
        } else {
            tracing::debug!(%ip, error, "an address is refused");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseStore for Claims {
    fn load(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let state = self.lock();
        let leases = state.known.values();
        let now = clock::wall();
        Ok(leases.map(|known| lease_of(&known.claim, now)).collect())
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<Conflict>, LeaseStoreError> {
        let now = clock::wall();
        // Only the last word on an address counts.
        let last: BTreeMap<Ipv4Addr, &Change> = changes
            .iter()
            .map(|change| (change.address, change))
            .collect();
        let (mut urgent, mut conflicts) = (Vec::new(), Vec::new());
        for (address, change) in last {
            let Some(lease) = &change.after else {
                self.later(address, None);
                continue;
            };
            match self.plan(lease, now) {
                Plan::Nothing => {}
                Plan::Later => self.later(address, Some(lease.clone())),
                Plan::Lost(held) => conflicts.push(Conflict {
                    address,
                    held: Some(held),
                }),
                Plan::Write { .. } if self.api.is_away() => {
                    let error = AccessError::Late {
                        doing: format!("claiming {address}"),
                        seconds: 0,
                    };
                    self.refuse(change, &error);
                    conflicts.push(Conflict {
                        address,
                        held: change.before.clone(),
                    });
                }
                Plan::Write { .. } => urgent.push(change.clone()),
            }
        }
        if !urgent.is_empty() {
            let claims = self.clone();
            conflicts.extend(self.runtime.block_on(claims.decide(urgent)));
        }
        if !self.api.is_away() {
            self.lock().refused = 0;
        }
        Ok(conflicts)
    }

    fn is_shared(&self) -> bool {
        true
    }

    /// FNV-1a of the server's name: the same after each start, and spread well
    /// enough for a handful of servers.
    fn first_place(&self) -> u32 {
        self.api.server.bytes().fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
    }
}

/// A claim out of an object; one that cannot be read claims nothing.
fn read(object: &DynamicObject) -> Option<Known> {
    let claim = object.data.get("spec")?.clone();
    match serde_json::from_value(claim) {
        Ok(claim) => Some(Known {
            claim,
            version: object.metadata.resource_version.clone().unwrap_or_default(),
        }),
        Err(error) => {
            let name = object.metadata.name.as_deref();
            tracing::warn!(name, %error, "an AddressClaim that cannot be read");
            None
        }
    }
}
