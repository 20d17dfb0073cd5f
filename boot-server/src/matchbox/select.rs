//! Which group a request belongs to.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use boot_proto::matchbox::normal_mac;
use boot_proto::resources::{MatchboxGroupSpec, MatchboxProfileSpec, Object};

use super::Labels;
use crate::manifests::Declared;

/// The group that a request belongs to, and its profile.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// The group.
    pub group: &'a Object<MatchboxGroupSpec>,
    /// Its profile; none where there is none of that name.
    pub profile: Option<&'a Object<MatchboxProfileSpec>>,
}

impl Match<'_> {
    /// Whether it is there for all that no other group takes.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.group.spec.selector.is_empty()
    }
}

/// Finds the group whose selectors the labels all have: the one with the most
/// selectors; of several such the one whose sorted `key=value` list is last.
#[must_use]
pub fn select<'a>(declared: &'a Declared, labels: &Labels) -> Option<Match<'a>> {
    let groups = declared.matchbox_groups.values();
    let group = groups
        .filter(|group| matches(&group.spec, labels))
        .max_by_key(|group| {
            let spec = &group.spec;
            // Of two that are the same in all this Matchbox takes any.
            (spec.selector.len(), ordering(spec), Reverse(group.name()))
        })?;
    Some(Match {
        group,
        profile: declared.matchbox_profiles.get(&group.spec.profile),
    })
}

/// A label that is missing is the empty text.
fn matches(group: &MatchboxGroupSpec, labels: &Labels) -> bool {
    group.selector.iter().all(|(key, value)| {
        let label = labels.get(key).map_or("", String::as_str);
        if key.eq_ignore_ascii_case("mac") {
            return normal_mac(value).as_deref() == Some(label);
        }
        label == value
    })
}

fn ordering(group: &MatchboxGroupSpec) -> String {
    let selector = normal_selector(group);
    let mut pairs: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort();
    pairs.join(",")
}

/// The selectors with a MAC in colon form.
pub(super) fn normal_selector(group: &MatchboxGroupSpec) -> BTreeMap<&str, String> {
    let selector = group.selector.iter();
    selector
        .map(|(key, value)| {
            let is_mac = key.eq_ignore_ascii_case("mac");
            let mac = is_mac.then(|| normal_mac(value)).flatten();
            (key.as_str(), mac.unwrap_or_else(|| value.clone()))
        })
        .collect()
}
