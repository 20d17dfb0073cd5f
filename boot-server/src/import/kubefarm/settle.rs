//! Tags as profiles. Profiles of a pool are laid over each other much as
//! kubefarm's sections are; where the two orders differ, the outcome is settled
//! for each pool and written into a profile of its own, which comes last.

use std::collections::{BTreeMap, BTreeSet};

use boot_proto::resources::{ProfileSpec, Taint, TaintEffect};
use serde_json::Value;

use super::dhcp::DhcpOptions;
use super::layers::{Layers, Variables};
use super::nodes::{Pool, valid_name};
use super::variables::{self, Said};
use super::{common, values};
use crate::import::Findings;

/// All tags, and what each says by itself.
#[derive(Debug)]
pub(super) struct Tags {
    layers: Layers,
    dhcp: DhcpOptions,
    contested: BTreeSet<String>,
    /// What `all`, `ltsp.config` and each tag say where nobody contradicts.
    all: ProfileSpec,
    common: ProfileSpec,
    own: BTreeMap<String, ProfileSpec>,
    /// What a tag's profile is called, after the release's name.
    names: BTreeMap<String, String>,
    /// Tags that the user's own values speak of.
    given: BTreeSet<String>,
}

impl Tags {
    pub fn read(
        values: &Value,
        pools: &[Pool],
        dhcp: DhcpOptions,
        findings: &mut Findings,
    ) -> Self {
        let layers = Layers::read(values, findings);
        let used = pools.iter().flat_map(|pool| &pool.tags).collect();
        let contested = layers.contested(&used);
        let mut read = |variables: &Variables| {
            let mut agreed = variables.clone();
            agreed.retain(|name, _| !contested.contains(name));
            variables::read(&agreed, findings).profile
        };
        let mut all = read(&layers.all);
        all.dhcp_options.extend(dhcp.of("all"));
        let options = read(&layers.common);
        let mut own: BTreeMap<String, ProfileSpec> = layers
            .tags
            .iter()
            .map(|(tag, variables)| (tag.clone(), read(variables)))
            .collect();
        for tag in dhcp.tags().filter(|tag| *tag != "all") {
            let profile = own.entry(tag.clone()).or_default();
            profile.dhcp_options.extend(dhcp.of(tag));
        }
        let mut common = common::read(values, findings);
        common.merge(&options);
        let odd = contradicting_taints([&all, &common].into_iter().chain(own.values()));
        for profile in [&mut all, &mut common].into_iter().chain(own.values_mut()) {
            profile
                .taints
                .retain(|it| !odd.contains(&(it.key.clone(), it.effect)));
        }
        let given = own
            .keys()
            .filter(|tag| {
                *tag != "debug" || values::at(values, &["tags", "dhcpOptions", "debug"]).is_object()
            })
            .cloned()
            .collect();
        let names = names(own.keys());
        Self {
            layers,
            dhcp,
            contested,
            all,
            common,
            own,
            names,
            given,
        }
    }

    /// The pool's tags that say anything, each once: a section runs once.
    pub fn of_pool(&self, pool: &Pool, findings: &mut Findings) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        for tag in &pool.tags {
            if !self.own.contains_key(tag) {
                findings.left_out(
                    format!("{}.tags", pool.path),
                    format!("nothing under tags: is given for {tag:?}"),
                );
            } else if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }

    /// Says which tags no pool has.
    pub fn report_unused(&self, pools: &[Pool], findings: &mut Findings) {
        let is_used = |tag: &String| pools.iter().any(|pool| pool.tags.contains(tag));
        for tag in self.given.iter().filter(|tag| !is_used(tag)) {
            findings.changed(
                format!("tags.*.{tag}"),
                "no pool has this tag; its Profile is written, and used by none",
            );
        }
    }

    /// The profiles, in the order in which they hold; empty ones are left out.
    pub fn profiles(&self, release: &str, pools: &[Pool]) -> Vec<(String, ProfileSpec)> {
        let is_wanted = |tag: &String| {
            self.given.contains(tag) || pools.iter().any(|pool| pool.tags.contains(tag))
        };
        let own = self.own.iter().filter(|(tag, _)| is_wanted(tag));
        let own = own.map(|(tag, spec)| (self.names[tag].clone(), spec));
        [
            ("all".to_owned(), &self.all),
            ("common".to_owned(), &self.common),
        ]
        .into_iter()
        .chain(own)
        .filter(|(_, spec)| **spec != ProfileSpec::default())
        .map(|(name, spec)| (format!("{release}-{name}"), spec.clone()))
        .collect()
    }

    /// Names of the profiles that a pool with these tags lists.
    pub fn names(&self, release: &str, tags: &[String]) -> Vec<String> {
        let fixed = [("all", &self.all), ("common", &self.common)];
        let own = tags
            .iter()
            .map(|tag| (self.names[tag].as_str(), &self.own[tag]));
        fixed
            .into_iter()
            .chain(own)
            .filter(|(_, spec)| **spec != ProfileSpec::default())
            .map(|(name, _)| format!("{release}-{name}"))
            .collect()
    }

    /// What a node with these tags has that its profiles alone do not give.
    pub fn settle(&self, tags: &[String], path: &str, findings: &mut Findings) -> Said {
        let seen = self.layers.seen_with(tags);
        let mut disputed = seen.clone();
        disputed.retain(|name, _| self.contested.contains(name));
        let mut settled = variables::read(&disputed, findings);
        // The same findings came up where each section was read.
        let mut whole = variables::read(&seen, &mut Findings::default());
        let mut merged = ProfileSpec::default();
        let own = tags.iter().filter_map(|tag| self.own.get(tag));
        for profile in [&self.all, &self.common].into_iter().chain(own) {
            merged.merge(profile);
        }
        merged.merge(&settled.profile);
        let profile = &mut settled.profile;
        profile
            .labels
            .extend(differing(&whole.profile.labels, &merged.labels));
        profile.kubelet_arguments.extend(differing(
            &whole.profile.kubelet_arguments,
            &merged.kubelet_arguments,
        ));
        profile.dhcp_options.extend(self.dhcp.settled(tags));
        keep_last(&mut whole.profile.taints, path, findings);
        let disputed = std::mem::take(&mut profile.taints);
        let taints = whole.profile.taints.into_iter();
        let is_missing = |it: &Taint| disputed.contains(it) || !merged.taints.contains(it);
        profile.taints = taints.filter(is_missing).collect();
        settled.image = whole.image;
        settled
    }
}

/// Entries of `wanted` that `given` has not, or with another value.
fn differing<'a>(
    wanted: &'a BTreeMap<String, String>,
    given: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (String, String)> + 'a {
    let differs = |(key, value): &(&String, &String)| given.get(*key) != Some(*value);
    wanted
        .iter()
        .filter(differs)
        .map(|(key, value)| (key.clone(), value.clone()))
}

/// Taints that have more than one value.
fn contradicting_taints<'a>(
    profiles: impl Iterator<Item = &'a ProfileSpec>,
) -> BTreeSet<(String, TaintEffect)> {
    let mut first: BTreeMap<(String, TaintEffect), &str> = BTreeMap::new();
    let mut odd = BTreeSet::new();
    for taint in profiles.flat_map(|profile| &profile.taints) {
        let key = (taint.key.clone(), taint.effect);
        if *first.entry(key.clone()).or_insert(&taint.value) != taint.value {
            odd.insert(key);
        }
    }
    odd
}

/// A kubelet refuses a key with one effect and two values.
fn keep_last(taints: &mut Vec<Taint>, path: &str, findings: &mut Findings) {
    let all = std::mem::take(taints);
    for taint in all {
        let same = |other: &Taint| other.key == taint.key && other.effect == taint.effect;
        if let Some(at) = taints.iter().position(same) {
            let lost = taints.remove(at);
            findings.changed(
                format!("{path}.tags"),
                format!(
                    "taint {} has the values {:?} and {:?}, which a kubelet refuses; the latter is written",
                    taint.key, lost.value, taint.value
                ),
            );
        }
        taints.push(taint);
    }
}

/// Valid names, another one for every tag.
fn names<'a>(tags: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let mut taken: BTreeSet<String> = ["all".to_owned(), "common".to_owned()].into();
    let mut names = BTreeMap::new();
    for tag in tags {
        let plain = valid_name(tag);
        let numbered = |number: usize| match number {
            1 if !plain.is_empty() => plain.clone(),
            _ => format!("{plain}-{number}")
                .trim_start_matches('-')
                .to_owned(),
        };
        let name = (1..).map(numbered).find(|name| !taken.contains(name));
        let name = name.unwrap_or_default();
        taken.insert(name.clone());
        names.insert(tag.clone(), name);
    }
    names
}
