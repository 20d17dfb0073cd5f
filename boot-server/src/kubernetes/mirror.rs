//! The cache of what the API server has, kept up to date by watches, one a kind.
//!
//! Objects are taken apart at once: what is declared waits to be read as a
//! whole, the status of a Machine goes to the farm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boot_proto::kubernetes::status::MachineStatus;
use boot_proto::kubernetes::{FOUND_LABEL, plural};
use boot_proto::resources::Kind;
use boot_proto::time::WallClock;
use futures_util::StreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::api::ApiServer;
use super::declare::{Declaration, Key, Objects};
use super::machines;
use crate::farm::Change;

/// What is known of an object beside its declaration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// `metadata.uid`, for Events.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `status`.
    pub status: Value,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    seen: BTreeMap<Key, Seen>,
    machines: BTreeMap<String, Value>,
    /// Kinds whose first list is complete.
    synced: BTreeSet<Kind>,
}

/// The cache; clones share it.
#[derive(Clone, Debug)]
pub struct Mirror {
    state: Arc<Mutex<State>>,
    /// Told when what is declared may have changed.
    pub declared: Arc<Notify>,
    synced: Arc<watch::Sender<bool>>,
}

/// What happened to Machines: status for the outbox, records for the farm.
pub trait MachineSink: Send + Sync {
    /// Takes in one change; `status` is that of the object, or `None` when it is
    /// gone.
    fn machine(&self, name: &str, status: Option<&Value>, change: Change);

    /// Takes in what a list has, all at once: there may be thousands.
    fn machines(&self, listed: Vec<Listed>) {
        for (name, status, change) in listed {
            self.machine(&name, Some(&status), change);
        }
    }
}

/// A Machine of a list: its name, its status and what it says.
pub type Listed = (String, Value, Change);

/// A list that is being read.
#[derive(Default)]
struct Listing {
    names: BTreeSet<String>,
    machines: Gathered,
}

/// Gathers what a list has until it is complete.
#[derive(Default)]
struct Gathered(Mutex<Vec<Listed>>);

impl MachineSink for Gathered {
    fn machine(&self, name: &str, status: Option<&Value>, change: Change) {
        let Some(status) = status else { return };
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listed.push((name.to_owned(), status.clone(), change));
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            declared: Arc::default(),
            synced: Arc::new(watch::channel(false).0),
        }
    }
}

impl Mirror {
    /// What is declared, once all kinds were listed.
    #[must_use]
    pub fn objects(&self) -> Option<Objects> {
        self.is_synced().then(|| self.lock().objects.clone())
    }

    /// What is known of an object.
    #[must_use]
    pub fn seen(&self, key: &Key) -> Option<Seen> {
        self.lock().seen.get(key).cloned()
    }

    /// Every object with what is known of it.
    #[must_use]
    pub fn all_seen(&self) -> BTreeMap<Key, Seen> {
        self.lock().seen.clone()
    }

    /// Whether all kinds were listed.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until all kinds were listed.
    pub async fn wait(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as we do.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Watches one kind, until cancelled.
    pub async fn watch(self, api: ApiServer, kind: Kind, machines: Arc<dyn MachineSink>) {
        let objects = api.objects(kind.name(), plural(kind));
        let stream = watch_objects(objects, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut listing: Option<Listing> = None;
        let mut complaint = String::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    complaint.clear();
                    self.take(kind, event, &mut listing, machines.as_ref());
                }
                Err(error) => {
                    let error = crate::images::chain(&error);
                    if complaint != error {
                        tracing::warn!(%kind, error, "watching; trying again");
                        complaint = error;
                    }
                }
            }
        }
    }

    fn take(
        &self,
        kind: Kind,
        event: Event<DynamicObject>,
        listing: &mut Option<Listing>,
        machines: &dyn MachineSink,
    ) {
        match event {
            Event::Init => *listing = Some(Listing::default()),
            Event::InitApply(object) => {
                let listing = listing.get_or_insert_default();
                if let Some(name) = &object.metadata.name {
                    listing.names.insert(name.clone());
                }
                self.put(kind, object, &listing.machines);
            }
            Event::InitDone => {
                let listed = listing.take().unwrap_or_default();
                let gathered = listed.machines.0.into_inner();
                machines.machines(gathered.unwrap_or_else(PoisonError::into_inner));
                for name in self.names(kind) {
                    if !listed.names.contains(&name) {
                        self.remove(kind, &name, machines);
                    }
                }
                self.listed(kind);
            }
            Event::Apply(object) => self.put(kind, object, machines),
            Event::Delete(object) => {
                if let Some(name) = &object.metadata.name {
                    self.remove(kind, name, machines);
                }
            }
        }
    }

    fn put(&self, kind: Kind, object: DynamicObject, machines: &dyn MachineSink) {
        let Some(name) = object.metadata.name.clone() else {
            return;
        };
        let status = object.data.get("status").cloned().unwrap_or(json!({}));
        let created = created(&object);
        let key = (kind, name.clone());
        let declaration = declaration(kind, &object);
        let mut state = self.lock();
        let changed = match declaration {
            Some(declaration) => {
                state.objects.insert(key.clone(), declaration.clone()) != Some(declaration)
            }
            None => state.objects.remove(&key).is_some(),
        };
        let seen = Seen {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            version: object.metadata.resource_version.clone().unwrap_or_default(),
            status: status.clone(),
        };
        state.seen.insert(key, seen);
        if kind == Kind::Machine {
            state.machines.insert(name.clone(), status.clone());
        }
        drop(state);
        if changed {
            self.declared.notify_one();
        }
        if kind == Kind::Machine {
            // What others wrote and cannot be read says nothing, and loses
            // nothing else.
            let read: MachineStatus = serde_json::from_value(status.clone()).unwrap_or_default();
            let learned = machines::learned(&name, &read, created);
            machines.machine(&name, Some(&status), Change::Put(Box::new(learned)));
        }
    }

    fn remove(&self, kind: Kind, name: &str, machines: &dyn MachineSink) {
        let key = (kind, name.to_owned());
        let mut state = self.lock();
        let was_declared = state.objects.remove(&key).is_some();
        state.seen.remove(&key);
        state.machines.remove(name);
        drop(state);
        if was_declared {
            self.declared.notify_one();
        }
        if kind == Kind::Machine {
            machines.machine(name, None, Change::Delete(name.to_owned()));
        }
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let state = self.lock();
        let keys = state.seen.keys().filter(|(of, _)| *of == kind);
        keys.map(|(_, name)| name.clone()).collect()
    }

    fn listed(&self, kind: Kind) {
        let mut state = self.lock();
        state.synced.insert(kind);
        let all = state.synced.len() == Kind::ALL.len();
        drop(state);
        if all && !self.synced.send_replace(true) {
            self.declared.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an object declares. A Machine that was only found declares nothing
/// before somebody writes into its spec.
pub(super) fn declaration(kind: Kind, object: &DynamicObject) -> Option<Declaration> {
    let mut labels = object.metadata.labels.clone().unwrap_or_default();
    let spec = object.data.get("spec").cloned().unwrap_or(json!({}));
    let is_found = labels.remove(FOUND_LABEL).is_some();
    let is_empty = spec.as_object().is_none_or(serde_json::Map::is_empty);
    if kind == Kind::Machine && is_found && is_empty {
        return None;
    }
    Some(Declaration { labels, spec })
}

fn created(object: &DynamicObject) -> WallClock {
    let millis = object
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0.as_millisecond());
    WallClock(millis.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sink(Mutex<Vec<Change>>);

    impl MachineSink for Sink {
        fn machine(&self, _: &str, _: Option<&Value>, change: Change) {
            self.0.lock().unwrap().push(change);
        }
    }

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_come_and_go() {
        let (mirror, sink) = (Mirror::default(), Sink::default());
        let mut listing = None;
        for kind in Kind::ALL {
            assert!(mirror.objects().is_none());
            mirror.take(kind, Event::Init, &mut listing, &sink);
            if kind == Kind::Profile {
                let profile = object(json!({"metadata": {"name": "base"}, "spec": {"mtu": 1500}}));
                mirror.take(kind, Event::InitApply(profile), &mut listing, &sink);
            }
            mirror.take(kind, Event::InitDone, &mut listing, &sink);
        }
        assert_eq!(mirror.objects().unwrap().len(), 1);
        // A new list without it: it was deleted while nobody watched.
        mirror.take(Kind::Profile, Event::Init, &mut listing, &sink);
        mirror.take(Kind::Profile, Event::InitDone, &mut listing, &sink);
        assert!(mirror.objects().unwrap().is_empty());
    }

    #[test]
    fn a_machine_that_was_found_is_declared_by_what_is_written_into_it() {
        let (mirror, sink) = (Mirror::default(), Sink::default());
        let mut found = json!({
            "metadata": {"name": "02-00-00-00-00-01", "labels": {FOUND_LABEL: "true", "a": "b"}},
            "spec": {},
            "status": {"met": {"macs": ["02:00:00:00:00:01"]}, "conditions": "nonsense"},
        });
        let put = |value: &Value| {
            mirror.take(
                Kind::Machine,
                Event::Apply(object(value.clone())),
                &mut None,
                &sink,
            );
        };
        put(&found);
        assert!(mirror.lock().objects.is_empty());
        found["spec"] = json!({"pool": "workers"});
        put(&found);
        let state = mirror.lock();
        let declared = &state.objects[&(Kind::Machine, "02-00-00-00-00-01".to_owned())];
        assert_eq!(declared.labels, [("a".to_owned(), "b".to_owned())].into());
        drop(state);
        mirror.take(
            Kind::Machine,
            Event::Delete(object(found)),
            &mut None,
            &sink,
        );
        assert_eq!(sink.0.lock().unwrap().len(), 3);
    }
}
