//! The Machines of the API server, read once for each change: a look at one
//! chassis of hundreds is no look at all Machines.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use boot_proto::api::ObservedMachine;
use boot_proto::ids::MacAddr;
use boot_proto::kubernetes::FOUND_LABEL;
use boot_proto::uuid;
use kube::api::DynamicObject;

use super::machines::{Known, Machines, new_name};
use super::sink::part;

/// An object as it was read, and what it says.
struct Entry {
    object: Arc<DynamicObject>,
    known: Known,
    /// The update that saw it last.
    seen: u64,
}

/// Names of Machines by something that they have.
type Names<K> = HashMap<K, BTreeSet<String>>;

/// What identifies a Machine.
#[derive(Default)]
struct Keys {
    chassis: Names<String>,
    macs: Names<MacAddr>,
    uuids: Names<String>,
}

/// All Machines.
#[derive(Default)]
pub struct Registry {
    entries: HashMap<String, Entry>,
    keys: Keys,
    updates: u64,
}

impl Registry {
    /// Takes over what the watch has now. Says how many objects had to be read.
    pub fn update(&mut self, objects: Vec<Arc<DynamicObject>>) -> usize {
        self.updates += 1;
        let mut read = 0;
        for object in objects {
            let Some(name) = object.metadata.name.clone() else {
                continue;
            };
            if let Some(entry) = self.entries.get_mut(&name)
                && Arc::ptr_eq(&entry.object, &object)
            {
                entry.seen = self.updates;
                continue;
            }
            read += 1;
            self.forget(&name);
            let Some(known) = known(&object) else {
                continue;
            };
            self.keys.add(&name, &known);
            let seen = self.updates;
            let entry = Entry {
                object,
                known,
                seen,
            };
            self.entries.insert(name, entry);
        }
        let now = self.updates;
        let gone = self.entries.iter().filter(|(_, entry)| entry.seen < now);
        let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.forget(name));
        read
    }

    fn forget(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.keys.remove(name, &entry.known);
        }
    }

    /// The Machines that a look at `chassis` can be about: those that are in it or
    /// were, those that have a MAC or UUID of what it shows, and those of the names
    /// that it would give.
    #[must_use]
    pub fn about(&self, chassis: &str, shown: &[ObservedMachine]) -> Machines {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        extend(&mut names, self.keys.chassis.get(chassis));
        let mut given = Vec::new();
        for machine in shown {
            for mac in &machine.macs {
                extend(&mut names, self.keys.macs.get(mac));
            }
            if let Some(uuid) = machine.uuid.as_deref().and_then(uuid::usable) {
                extend(&mut names, self.keys.uuids.get(&uuid));
            }
            given.extend(new_name(chassis, &machine.slot.to_lowercase()));
        }
        names.extend(given.iter().map(String::as_str));
        let known = |name: &str| Some((name.to_owned(), self.entries.get(name)?.known.clone()));
        names.into_iter().filter_map(known).collect()
    }
}

fn extend<'a>(names: &mut BTreeSet<&'a str>, more: Option<&'a BTreeSet<String>>) {
    names.extend(more.into_iter().flatten().map(String::as_str));
}

impl Keys {
    fn add(&mut self, name: &str, known: &Known) {
        let (chassis, macs, uuid) = keys_of(known);
        for one in chassis {
            add(&mut self.chassis, one.to_owned(), name);
        }
        for mac in macs {
            add(&mut self.macs, mac, name);
        }
        if let Some(uuid) = uuid {
            add(&mut self.uuids, uuid, name);
        }
    }

    fn remove(&mut self, name: &str, known: &Known) {
        let (chassis, macs, uuid) = keys_of(known);
        for one in chassis {
            remove(&mut self.chassis, &one.to_owned(), name);
        }
        for mac in macs {
            remove(&mut self.macs, &mac, name);
        }
        if let Some(uuid) = uuid {
            remove(&mut self.uuids, &uuid, name);
        }
    }
}

fn add<K: Eq + Hash>(names: &mut Names<K>, key: K, name: &str) {
    names.entry(key).or_default().insert(name.to_owned());
}

fn remove<K: Eq + Hash>(names: &mut Names<K>, key: &K, name: &str) {
    if let Some(of_key) = names.get_mut(key) {
        of_key.remove(name);
        if of_key.is_empty() {
            names.remove(key);
        }
    }
}

/// Chassis, MACs and UUID of a Machine.
fn keys_of(known: &Known) -> (Vec<&str>, Vec<MacAddr>, Option<String>) {
    let observed = known.status.observed.as_ref();
    let shown_in = observed.and_then(|observed| observed.chassis.as_deref());
    let chassis = known.spec.chassis.as_deref().into_iter().chain(shown_in);
    let met = known.status.met.iter().flat_map(|met| &met.macs);
    let macs = known.spec.macs.iter().chain(met).copied();
    let uuid = known.spec.uuid.as_deref().and_then(uuid::usable);
    (chassis.collect(), macs.collect(), uuid)
}

/// What an object says; `None` where it cannot be read.
fn known(object: &DynamicObject) -> Option<Known> {
    let labels = object.metadata.labels.as_ref();
    let spec = part(object, "spec");
    let is_declared = spec.as_object().is_some_and(|spec| !spec.is_empty());
    Some(Known {
        is_found: labels.is_some_and(|labels| labels.contains_key(FOUND_LABEL)) && !is_declared,
        spec: serde_json::from_value(spec).ok()?,
        status: serde_json::from_value(part(object, "status")).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, spec: Value, status: Value) -> Arc<DynamicObject> {
        let object = json!({
            "apiVersion": "moonfarm.dev/v1alpha1",
            "kind": "Machine",
            "metadata": {"name": name},
            "spec": spec,
            "status": status,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn shown(slot: &str, macs: &[&str]) -> ObservedMachine {
        ObservedMachine {
            slot: slot.into(),
            macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
            ..ObservedMachine::default()
        }
    }

    #[test]
    fn an_object_is_read_once_for_each_change() {
        let mut all: Vec<_> = (0..500)
            .map(|n| object(&format!("n-{n}"), json!({"pool": "work"}), json!({})))
            .collect();
        let mut registry = Registry::default();
        assert_eq!(registry.update(all.clone()), 500);
        assert_eq!(registry.update(all.clone()), 0);
        all[7] = object("n-7", json!({"chassis": "m1", "slot": "c1n1"}), json!({}));
        assert_eq!(registry.update(all.clone()), 1);
        let about = registry.about("m1", &[]);
        assert_eq!(about.keys().collect::<Vec<_>>(), ["n-7"]);
        all.remove(7);
        assert_eq!(registry.update(all), 0);
        assert!(registry.about("m1", &[]).is_empty());
        assert!(registry.keys.chassis.is_empty());
    }

    #[test]
    fn a_look_is_about_whom_it_may_concern() {
        let mac = "02:00:00:00:00:01";
        let all = vec![
            object(
                "declared",
                json!({"chassis": "m1", "slot": "c1n1"}),
                json!({}),
            ),
            object(
                "was-there",
                json!({}),
                json!({"observed": {"chassis": "m1"}}),
            ),
            object("booted", json!({}), json!({"met": {"macs": [mac]}})),
            object("m1-c4n1", json!({}), json!({})),
            object(
                "elsewhere",
                json!({"chassis": "m2", "slot": "c1n1"}),
                json!({}),
            ),
        ];
        let mut registry = Registry::default();
        registry.update(all);
        let about = registry.about("m1", &[shown("c2n1", &[mac]), shown("C4N1", &[])]);
        let names: Vec<_> = about.keys().map(String::as_str).collect();
        assert_eq!(names, ["booted", "declared", "m1-c4n1", "was-there"]);
    }
}
