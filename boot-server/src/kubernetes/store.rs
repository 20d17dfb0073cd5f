//! The parts of the store put together: what goes in, what goes out, and when.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use boot_proto::api::BootView;
use boot_proto::resources::Kind;
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::api::ApiServer;
use super::claims::Claims;
use super::declare::{Objects, declare};
use super::events::Events;
use super::machines::written;
use super::membership::{self, Memberships};
use super::mirror::{Listed, MachineSink, Mirror};
use super::outbox::{Outbox, Write};
use super::unsent::{Unsent, with_unsent};
use super::{cache, heartbeat, verdicts};
use crate::adoption::Keeper;
use crate::clock;
use crate::dhcp::leases::Leases;
use crate::farm::{self, Change, Farm, FarmError, LearnedChassis, MachineStore};
use crate::inventory::LearnedMachine;
use crate::store::{Database, StoreError};

/// Pause in which a change of several objects comes together.
const SETTLE: Duration = Duration::from_millis(250);
/// How long a start waits for the API server where it has a cache.
const PATIENCE: Duration = Duration::from_secs(10);

/// Learned machines: at once in the cache on disk, soon in the API server.
#[derive(Debug)]
struct Machines {
    cache: Database,
    outbox: Outbox,
    unsent: Unsent,
    dirty: Arc<Dirty>,
}

/// Machines of which there is something new to say.
#[derive(Debug, Default)]
struct Dirty {
    names: Mutex<BTreeSet<String>>,
    some: Notify,
}

impl Dirty {
    fn add(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned());
        drop(names);
        self.some.notify_one();
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MachineStore for Machines {
    fn load(&self) -> Result<Vec<LearnedMachine>, StoreError> {
        self.cache.load()
    }

    fn commit(
        &self,
        changes: &[Change],
        chassis: Option<&LearnedChassis>,
    ) -> Result<(), StoreError> {
        let mut batch = farm::batch(changes, chassis)?;
        for change in changes {
            if let Change::Put(machine) = change {
                self.unsent.mark(&machine.name, &mut batch)?;
            }
        }
        self.cache.commit(batch)?;
        for change in changes {
            match change {
                Change::Put(machine) => self.dirty.add(&machine.name),
                Change::Delete(name) => {
                    self.unsent.sent(name, self.unsent.mark_of(name));
                    self.outbox.put(name, Write::Delete, None);
                }
            }
        }
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Hands what watches see to the farm.
struct Intake {
    farm: Weak<Farm>,
    outbox: Outbox,
    unsent: Unsent,
    cache: Database,
    dirty: Arc<Dirty>,
}

impl MachineSink for Intake {
    fn machine(&self, name: &str, status: Option<&Value>, change: Change) {
        self.take(vec![(name.to_owned(), status.cloned(), change)]);
    }

    fn machines(&self, listed: Vec<Listed>) {
        let some = |(name, status, change)| (name, Some(status), change);
        self.take(listed.into_iter().map(some).collect());
    }
}

impl Intake {
    fn take(&self, seen: Vec<(String, Option<Value>, Change)>) {
        let Some(farm) = self.farm.upgrade() else {
            return;
        };
        let mut changes = Vec::new();
        for (name, status, mut change) in seen {
            self.outbox.seen(&name, status.clone());
            let known = farm.learned(&name);
            membership::keep_known(&mut change, status.as_ref(), known.as_ref());
            // What is not written yet is newer than what was read.
            let unsent = known.filter(|_| self.unsent.mark_of(&name).is_some());
            match unsent {
                Some(unsent) => changes.extend(with_unsent(change, &unsent)),
                None => changes.push(change),
            }
        }
        if farm.take_in(changes.clone()) == 0 {
            return;
        }
        // What others found belongs to a pool, which is ours to say.
        for change in &changes {
            if let Change::Put(machine) = change {
                self.dirty.add(&machine.name);
            }
        }
        if let Err(error) = MachineStore::commit(&self.cache, &changes, None) {
            tracing::warn!(error = %crate::images::chain(&error), "what is known of machines is not cached");
        }
    }
}

/// The store, open.
pub struct Store {
    /// The farm on it.
    pub farm: Arc<Farm>,
    /// The API server.
    pub api: ApiServer,
    /// Leases as claims.
    pub claims: Claims,
    shared: Arc<Shared>,
    machines: Arc<Machines>,
    before: Objects,
}

struct Shared {
    mirror: Mirror,
    outbox: Outbox,
    events: Events,
    told: Mutex<HashSet<(u64, String)>>,
}

impl Store {
    /// Opens the cache; nothing is asked of the API server yet.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn open(api: ApiServer, cache: &Database) -> Result<Self, FarmError> {
        let unsent = Unsent::open(cache.clone())?;
        let outbox = Outbox::new(unsent.clone());
        let machines = Arc::new(Machines {
            cache: cache.clone(),
            outbox: outbox.clone(),
            unsent: unsent.clone(),
            dirty: Arc::default(),
        });
        for machine in unsent.machines() {
            machines.dirty.add(&machine);
        }
        let before = cache::read(cache)?;
        let declared = declare(&before, &before).declared;
        let store: Arc<dyn MachineStore> = machines.clone();
        let farm = Arc::new(Farm::open_shared(store, declared)?);
        let shared = Arc::new(Shared {
            mirror: Mirror::default(),
            outbox,
            events: Events::new(&api),
            told: Mutex::default(),
        });
        let claims = Claims::open(api.clone(), cache.clone())?;
        Ok(Self {
            farm,
            api,
            claims,
            shared,
            machines,
            before,
        })
    }

    /// Starts watching and writing. Returns when what is declared is known: from
    /// the API server, or from the cache where that is away.
    pub async fn start(&self, leases: &Arc<Leases>) -> Vec<JoinHandle<()>> {
        self.claims.attach(leases);
        let intake: Arc<dyn MachineSink> = Arc::new(Intake {
            farm: Arc::downgrade(&self.farm),
            outbox: self.shared.outbox.clone(),
            unsent: self.machines.unsent.clone(),
            cache: self.machines.cache.clone(),
            dirty: Arc::clone(&self.machines.dirty),
        });
        let mirror = &self.shared.mirror;
        let mut tasks: Vec<JoinHandle<()>> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let watch = mirror
                    .clone()
                    .watch(self.api.clone(), kind, Arc::clone(&intake));
                tokio::spawn(watch)
            })
            .collect();
        tasks.push(tokio::spawn(self.claims.clone().watch()));
        self.wait_for_lists().await;
        let first = Arc::new(OnceLock::new());
        tasks.push(tokio::spawn(
            self.clone_for_tasks().follow(Arc::clone(&first)),
        ));
        tasks.push(tokio::spawn(self.clone_for_tasks().tell()));
        tasks.push(tokio::spawn(self.claims.clone().run()));
        tasks.push(tokio::spawn(
            self.shared.outbox.clone().run(self.api.clone()),
        ));
        tasks.push(tokio::spawn(self.api.clone().probe()));
        let outbox = self.shared.outbox.clone();
        tasks.push(tokio::spawn(heartbeat::run(self.api.clone(), outbox)));
        while mirror.is_synced() && first.get().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tasks
    }

    async fn wait_for_lists(&self) {
        let lists = async {
            self.shared.mirror.wait().await;
            self.claims.wait().await;
        };
        tokio::pin!(lists);
        loop {
            if tokio::time::timeout(PATIENCE, &mut lists).await.is_ok() {
                return;
            }
            if !self.before.is_empty() {
                tracing::warn!(
                    "the API server is away; starting with what was declared when it was last seen"
                );
                return;
            }
            tracing::warn!(
                "waiting for the API server: are the CustomResourceDefinitions of deploy/crds installed, and may this account list them?"
            );
        }
    }

    /// Keeps how far machines are with a move.
    #[must_use]
    pub fn keeper(&self) -> Arc<dyn Keeper> {
        Arc::new(self.memberships())
    }

    fn memberships(&self) -> Memberships {
        Memberships {
            api: self.api.clone(),
            mirror: self.shared.mirror.clone(),
            events: self.shared.events.clone(),
            farm: Arc::clone(&self.farm),
        }
    }

    fn clone_for_tasks(&self) -> Tasks {
        Tasks {
            memberships: self.memberships(),
            farm: Arc::clone(&self.farm),
            api: self.api.clone(),
            shared: Arc::clone(&self.shared),
            dirty: Arc::clone(&self.machines.dirty),
            unsent: self.machines.unsent.clone(),
            cache: self.machines.cache.clone(),
            before: self.before.clone(),
        }
    }

    /// Hears of boots, and makes an Event of each that ended.
    pub fn boot_listener(&self) -> impl Fn(&BootView) + Send + Sync + use<> {
        let (shared, runtime) = (Arc::clone(&self.shared), tokio::runtime::Handle::current());
        move |boot: &BootView| {
            let Some(machine) = &boot.machine else { return };
            let is_end = matches!(boot.outcome.as_str(), "ready" | "failed");
            let is_new = || {
                let mut told = shared.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.insert((boot.id, boot.outcome.clone()))
            };
            if is_end && is_new() {
                let (shared, boot) = (Arc::clone(&shared), boot.clone());
                let key = (Kind::Machine, machine.clone());
                runtime.spawn(async move { shared.tell_end(&key, &boot).await });
            }
        }
    }
}

impl Shared {
    async fn tell_end(&self, key: &super::declare::Key, boot: &BootView) {
        let uid = self.mirror.seen(key).unwrap_or_default().uid;
        let image = boot.image.map(|image| image.short()).unwrap_or_default();
        if boot.outcome == "ready" {
            let note = format!("booted image {image} and is Ready");
            self.events.tell(key, &uid, "Booted", "Boot", &note).await;
        } else {
            let reason = boot.reason.as_deref().unwrap_or("no reason is known");
            let note = format!("boot of image {image} failed at {}: {reason}", boot.phase);
            self.events
                .warn(key, &uid, "BootFailed", "Boot", &note)
                .await;
        }
    }
}

/// What the background tasks work with.
struct Tasks {
    farm: Arc<Farm>,
    memberships: Memberships,
    api: ApiServer,
    shared: Arc<Shared>,
    dirty: Arc<Dirty>,
    unsent: Unsent,
    cache: Database,
    before: Objects,
}

impl Tasks {
    /// Takes over what is declared whenever it changes, until cancelled.
    async fn follow(mut self, first: Arc<OnceLock<()>>) {
        loop {
            let Some(objects) = self.shared.mirror.objects() else {
                self.shared.mirror.declared.notified().await;
                continue;
            };
            self.take_over(objects).await;
            let _ = first.set(());
            self.shared.mirror.declared.notified().await;
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn take_over(&mut self, objects: Objects) {
        let before = std::mem::take(&mut self.before);
        let (farm, cache) = (Arc::clone(&self.farm), self.cache.clone());
        let done = tokio::task::spawn_blocking(move || {
            let verdict = declare(&objects, &before);
            match farm.declare(verdict.declared.clone()) {
                Ok(true) => {
                    let summary = verdict.declared.summary();
                    let wrong = verdict.mistakes.len();
                    tracing::info!(summary, wrong, "took over what is declared");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %crate::images::chain(&error), "what is declared is not taken over");
                }
            }
            cache::write(&cache, &before, &verdict.in_force);
            verdict
        });
        let Ok(verdict) = done.await else { return };
        self.before = verdict.in_force;
        for (key, words) in &verdict.mistakes {
            tracing::warn!(kind = %key.0, name = key.1, mistake = words.join("; "), "not used as it is");
        }
        for view in self.farm.machines() {
            self.dirty.add(&view.name);
        }
        // Of several servers one shall be first, and the others see it.
        let jitter = rand::rng().random_range(0..1_000);
        tokio::time::sleep(Duration::from_millis(jitter)).await;
        let seen = self.shared.mirror.all_seen();
        let due = verdicts::due(&seen, &verdict.mistakes, clock::wall());
        verdicts::write(&self.api, &self.shared.events, &seen, due).await;
    }

    /// Says what is known of machines, until cancelled.
    async fn tell(self) {
        loop {
            self.dirty.some.notified().await;
            tokio::time::sleep(SETTLE).await;
            let inventory = self.farm.inventory();
            for name in self.dirty.take() {
                let mark = self.unsent.mark_of(&name);
                let learned = self.farm.learned(&name);
                let Some(assignment) = inventory.assignment_of(&name) else {
                    continue;
                };
                let mut record =
                    learned.unwrap_or_else(|| LearnedMachine::new(&name, clock::wall()));
                record.status.address = record.status.address.or(assignment.address);
                let status = written(
                    &record,
                    assignment.pool.as_deref(),
                    Some(&assignment.hostname),
                );
                self.shared.outbox.put(&name, Write::Status(status), mark);
                self.memberships.carry_over(&record).await;
            }
        }
    }
}
