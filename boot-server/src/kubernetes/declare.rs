//! From the objects of an API server to what is declared. Pure.
//!
//! Objects arrive one by one and in any order, so that a mistake in one must not
//! stop the others: one that cannot be used stays as it was when it last could,
//! and what it refers to stays with it. One that never could be used is left
//! out. Which, and why, goes into the objects' conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use boot_proto::manifest::{self, Mistake, SourceFile};
use boot_proto::resources::{API_VERSION, Kind};
use serde_json::{Value, json};

use crate::manifests::Declared;

/// Which object.
pub type Key = (Kind, String);

/// What of an object is declared: labels and spec.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Declaration {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec`.
    pub spec: Value,
}

/// Objects by what they are.
pub type Objects = BTreeMap<Key, Declaration>;

/// What is in force, and what is wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is declared now.
    pub declared: Declared,
    /// The objects that this came from.
    pub in_force: Objects,
    /// What is wrong with objects, in words.
    pub mistakes: BTreeMap<Key, Vec<String>>,
}

/// Rounds of leaving out what refers to what was left out.
const MAX_ROUNDS: usize = 16;

/// Reads all objects as they are; `before` is what was in force until now.
#[must_use]
pub fn declare(objects: &Objects, before: &Objects) -> Verdict {
    let first = load(objects, before);
    let mut mistakes: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    if first.mistakes.is_empty() {
        return Verdict {
            declared: Declared::new(Path::new(""), first.resources),
            in_force: objects.clone(),
            mistakes,
        };
    }
    for (key, words) in told(&first.mistakes) {
        mistakes.entry(key).or_default().push(words);
    }
    let mut candidates = objects.clone();
    for key in mistakes.keys() {
        match before.get(key) {
            Some(good) => drop(candidates.insert(key.clone(), good.clone())),
            None => drop(candidates.remove(key)),
        }
    }
    keep_referred(&mut candidates, before, mistakes.keys());
    for _ in 0..MAX_ROUNDS {
        let loaded = load(&candidates, before);
        if loaded.mistakes.is_empty() {
            return Verdict {
                declared: Declared::new(Path::new(""), loaded.resources),
                in_force: candidates,
                mistakes,
            };
        }
        for (key, words) in told(&loaded.mistakes) {
            candidates.remove(&key);
            let known = mistakes.entry(key).or_default();
            if known.is_empty() {
                known.push(words);
            }
        }
    }
    Verdict {
        mistakes,
        ..Verdict::default()
    }
}

/// What an object that stays as it was refers to stays too, though it is deleted.
fn keep_referred<'a>(
    candidates: &mut Objects,
    before: &Objects,
    kept: impl Iterator<Item = &'a Key>,
) {
    let mut open: Vec<Key> = kept.cloned().collect();
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    while let Some(key) = open.pop() {
        let Some(declaration) = candidates.get(&key).cloned() else {
            continue;
        };
        if !seen.insert(key.clone()) {
            continue;
        }
        for referred in references(key.0, &declaration.spec) {
            if let Some(good) = before.get(&referred) {
                candidates
                    .entry(referred.clone())
                    .or_insert_with(|| good.clone());
            }
            open.push(referred);
        }
    }
}

/// The objects that a spec names.
fn references(kind: Kind, spec: &Value) -> Vec<Key> {
    let fields: &[(&str, Kind)] = match kind {
        Kind::Chassis => &[("pool", Kind::NodePool)],
        Kind::Machine => &[
            ("pool", Kind::NodePool),
            ("chassis", Kind::Chassis),
            ("profiles", Kind::Profile),
        ],
        Kind::NodePool => &[
            ("cluster", Kind::Cluster),
            ("subnet", Kind::Subnet),
            ("profiles", Kind::Profile),
        ],
        Kind::MatchboxGroup => &[("profile", Kind::MatchboxProfile)],
        _ => &[],
    };
    let mut keys = Vec::new();
    for (field, kind) in fields {
        match &spec[*field] {
            Value::String(name) => keys.push((*kind, name.clone())),
            Value::Array(names) => keys.extend(
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|name| (*kind, name.to_owned())),
            ),
            _ => {}
        }
    }
    keys
}

/// Each object as a file of its own: JSON is YAML, and a mistake names the file.
/// What is in force already comes first, so that of two objects that claim one
/// thing the newcomer is wrong.
fn load(objects: &Objects, before: &Objects) -> manifest::Loaded {
    let (old, new): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|(key, declaration)| before.get(*key) == Some(*declaration));
    let files: Vec<SourceFile> = old
        .into_iter()
        .chain(new)
        .map(|((kind, name), declaration)| {
            let mut metadata = json!({"name": name});
            if !declaration.labels.is_empty() {
                metadata["labels"] = json!(declaration.labels);
            }
            let text = json!({
                "apiVersion": API_VERSION,
                "kind": kind.name(),
                "metadata": metadata,
                "spec": declaration.spec,
            });
            SourceFile {
                name: format!("{kind}/{name}"),
                text: text.to_string().into_bytes(),
            }
        })
        .collect();
    manifest::load(&files)
}

/// Mistakes in words, each with the object it is in. Places in a file that
/// nobody wrote say nothing.
fn told(mistakes: &[Mistake]) -> Vec<(Key, String)> {
    let key = |mistake: &Mistake| {
        let (kind, name) = mistake.file.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some((kind, name.to_owned()))
    };
    let words = |mistake: &Mistake| {
        let mut words = without_places(&mistake.message);
        if !mistake.path.is_empty() {
            words = format!("{}: {words}", mistake.path);
        }
        if !mistake.hint.is_empty() {
            words.push_str("; ");
            words.push_str(&mistake.hint);
        }
        words
    };
    mistakes
        .iter()
        .filter_map(|mistake| Some((key(mistake)?, words(mistake))))
        .collect()
}

/// `…, at Machine/a:1` without the line.
fn without_places(message: &str) -> String {
    message.trim_end_matches(":1").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(list: &[(Kind, &str, Value)]) -> Objects {
        list.iter()
            .map(|(kind, name, spec)| {
                let declaration = Declaration {
                    labels: BTreeMap::new(),
                    spec: spec.clone(),
                };
                ((*kind, (*name).to_owned()), declaration)
            })
            .collect()
    }

    fn key(kind: Kind, name: &str) -> Key {
        (kind, name.to_owned())
    }

    #[test]
    fn one_wrong_object_fails_alone() {
        let all = objects(&[
            (Kind::Profile, "base", json!({"mtu": 1500})),
            (
                Kind::NodePool,
                "workers",
                json!({"image": "debian", "profiles": ["base"]}),
            ),
            (
                Kind::NodePool,
                "other",
                json!({"image": "debian", "profiles": ["absent"]}),
            ),
            (
                Kind::Machine,
                "a",
                json!({"macs": ["02:00:00:00:00:01"], "pool": "workers"}),
            ),
            (
                Kind::Machine,
                "b",
                json!({"macs": ["02:00:00:00:00:02"], "pool": "other"}),
            ),
        ]);
        let verdict = declare(&all, &Objects::new());
        assert!(verdict.declared.machines.contains_key("a"));
        assert!(verdict.declared.pools.contains_key("workers"));
        assert!(!verdict.declared.pools.contains_key("other"));
        // Its pool was left out, so that it would be given another one's.
        assert!(!verdict.declared.machines.contains_key("b"));
        let told = &verdict.mistakes[&key(Kind::NodePool, "other")];
        assert!(
            told[0].contains("there is no Profile \"absent\""),
            "{told:?}"
        );
        assert!(verdict.mistakes.contains_key(&key(Kind::Machine, "b")));
    }

    #[test]
    fn a_change_for_the_worse_leaves_the_last_good_in_force() {
        let good = objects(&[
            (Kind::Profile, "base", json!({"mtu": 1500})),
            (
                Kind::NodePool,
                "workers",
                json!({"image": "debian", "profiles": ["base"]}),
            ),
        ]);
        let before = declare(&good, &Objects::new());
        assert!(before.mistakes.is_empty());

        let mut typo = good.clone();
        typo.insert(
            key(Kind::NodePool, "workers"),
            Declaration {
                labels: BTreeMap::new(),
                spec: json!({"image": "new", "profiles": ["bsae"]}),
            },
        );
        let verdict = declare(&typo, &before.in_force);
        assert_eq!(verdict.declared.pools["workers"].spec.image, "debian");
        assert_eq!(verdict.mistakes.len(), 1);

        // A Profile that is still named is not gone before nobody names it.
        let mut deleted = good.clone();
        deleted.remove(&key(Kind::Profile, "base"));
        let verdict = declare(&deleted, &before.in_force);
        assert!(verdict.declared.profiles.contains_key("base"));
        assert!(
            verdict.mistakes[&key(Kind::NodePool, "workers")][0]
                .contains("there is no Profile \"base\"")
        );
    }

    #[test]
    fn two_claims_of_one_mac_leave_the_first() {
        let mac = json!({"macs": ["02:00:00:00:00:01"]});
        let first = objects(&[(Kind::Machine, "b", mac.clone())]);
        let before = declare(&first, &Objects::new());
        let both = objects(&[(Kind::Machine, "a", mac.clone()), (Kind::Machine, "b", mac)]);
        let verdict = declare(&both, &before.in_force);
        assert!(verdict.declared.machines.contains_key("b"), "{verdict:?}");
        assert_eq!(verdict.declared.machines.len(), 1);
        assert!(verdict.mistakes.contains_key(&key(Kind::Machine, "a")));
    }
}
