//! Which `ltsp.conf` variables a node sees. kubefarm writes a section per tag;
//! on the client a plain variable is assigned again and again, and the last
//! assignment wins: first `all` (`[clients]`), then `ltsp.config.options`
//! (`[common]`), then the pool's tags in the order of its list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::values::{at, entries, items, text, text_at};
use crate::import::Findings;

/// A variable's value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub value: String,
    pub path: String,
}

/// Variables by name.
pub(super) type Variables = BTreeMap<String, Assigned>;

/// The sections, by the name of the profile that each becomes.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// `tags.*.all`.
    pub all: Variables,
    /// `ltsp.config.options`.
    pub common: Variables,
    /// Every other key under `tags.*`.
    pub tags: BTreeMap<String, Variables>,
}

impl Layers {
    pub fn read(values: &Value, findings: &mut Findings) -> Self {
        let tags = at(values, &["tags"]);
        let kinds = ["ltspOptions", "kubernetesLabels", "kubernetesTaints"];
        let names: BTreeSet<&String> = kinds
            .iter()
            .flat_map(|kind| entries(at(tags, &[kind])).map(|(tag, _)| tag))
            .collect();
        let mut layers = Self::default();
        for tag in names {
            let variables = section(tags, tag, findings);
            if tag == "all" {
                layers.all = variables;
            } else {
                layers.tags.insert(tag.clone(), variables);
            }
        }
        let options = at(values, &["ltsp", "config", "options"]);
        layers.common = plain(options, "ltsp.config.options", findings);
        layers
    }

    fn in_order<'a>(&'a self, tags: &'a [String]) -> impl Iterator<Item = &'a Variables> {
        [&self.all, &self.common]
            .into_iter()
            .chain(tags.iter().filter_map(|tag| self.tags.get(tag)))
    }

    /// What a node of a pool with these tags sees.
    pub fn seen_with(&self, tags: &[String]) -> Variables {
        let mut seen = Variables::new();
        for layer in self.in_order(tags) {
            seen.extend(layer.clone());
        }
        seen
    }

    /// Names that more than one section assigns, of those that any node sees.
    /// Profiles add some things up where `ltsp.conf` assigns, so these are
    /// settled for each pool.
    pub fn contested(&self, used: &BTreeSet<&String>) -> BTreeSet<String> {
        let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
        let layers = [&self.all, &self.common]
            .into_iter()
            .chain(used.iter().filter_map(|tag| self.tags.get(*tag)));
        for name in layers.flat_map(BTreeMap::keys) {
            if !once.insert(name) {
                twice.insert(name.clone());
            }
        }
        twice
    }
}

/// One section: options, then the tag's labels and taints as variables.
fn section(tags: &Value, tag: &str, findings: &mut Findings) -> Variables {
    let path = |kind: &str| format!("tags.{kind}.{tag}");
    let options = at(tags, &["ltspOptions", tag]);
    let mut variables = plain(options, &path("ltspOptions"), findings);
    let suffix = variable_suffix(tag);
    let mut put = |family: &str, kind: &str, words: Vec<String>| {
        if !words.is_empty() {
            let (value, path) = (words.join(","), path(kind));
            variables.insert(format!("{family}_{suffix}"), Assigned { value, path });
        }
    };
    let labels = entries(at(tags, &["kubernetesLabels", tag]))
        .filter_map(|(key, value)| Some(format!("{key}={}", text(value)?)));
    put("KUBERNETES_LABELS", "kubernetesLabels", labels.collect());
    let taint = |taint: &Value| {
        let part = |key| text_at(taint, &[key]).unwrap_or_default();
        format!("{}={}:{}", part("key"), part("value"), part("effect"))
    };
    let taints = items(at(tags, &["kubernetesTaints", tag])).iter();
    put(
        "KUBERNETES_TAINTS",
        "kubernetesTaints",
        taints.map(taint).collect(),
    );
    variables
}

fn plain(options: &Value, path: &str, findings: &mut Findings) -> Variables {
    let mut variables = Variables::new();
    for (name, value) in entries(options) {
        let path = format!("{path}.{name}");
        match text(value) {
            Some(value) => drop(variables.insert(name.clone(), Assigned { value, path })),
            None => findings.left_out(path, "the value of a variable is one text"),
        }
    }
    variables
}

/// Upper case, every run of what is no word character one underscore.
fn variable_suffix(tag: &str) -> String {
    let mut suffix = String::new();
    let mut was_word = true;
    for c in tag.to_uppercase().chars() {
        let is_word = c.is_ascii_alphanumeric() || c == '_';
        if is_word {
            suffix.push(c);
        } else if was_word {
            suffix.push('_');
        }
        was_word = is_word;
    }
    suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_made_as_the_chart_makes_them() {
        for (tag, suffix) in [
            ("foo", "FOO"),
            ("foo-bar", "FOO_BAR"),
            ("a.-b", "A_B"),
            ("x_y", "X_Y"),
        ] {
            assert_eq!(variable_suffix(tag), suffix);
        }
    }
}
