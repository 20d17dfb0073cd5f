//! Matchbox's folder of data as manifests: groups, profiles, and the texts that
//! profiles name.

mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use boot_proto::ids::name_mistake;
use boot_proto::matchbox::normal_mac;
use boot_proto::resources::{
    MAX_TEMPLATE_BYTES, MachineSpec, MatchboxBoot, MatchboxGroupSpec, MatchboxProfileSpec,
    MatchboxTemplate, Metadata, Object, Resource,
};
use serde::Deserialize;

use super::{Findings, Imported};
use crate::matchbox::{Template, templates};
pub use read::{Folder, ReadError, read};

/// What there is beside the folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether each MAC that a group names becomes a Machine.
    pub machines: bool,
}

/// `groups/NAME.json`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    profile: String,
    selector: BTreeMap<String, String>,
    metadata: BTreeMap<String, serde_json::Value>,
}

/// `profiles/NAME.json`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Profile {
    id: String,
    boot: Boot,
    ignition_id: String,
    cloud_id: String,
    generic_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Boot {
    kernel: String,
    initrd: Vec<String>,
    args: Vec<String>,
}

/// Turns the folder into resources.
#[must_use]
pub fn import(folder: &Folder, options: Options) -> Imported {
    let mut import = Import {
        folder,
        findings: Findings::default(),
        resources: Vec::new(),
        machines: BTreeMap::new(),
    };
    let profiles = import.profiles();
    import.groups(&profiles);
    import.machines(options);
    for (path, reason) in &folder.left_out {
        import.findings.left_out(path.clone(), reason.clone());
    }
    if folder.has_assets {
        import.findings.changed(
            "assets",
            "its files are not in the manifests: copy or link the folder to `assets` beside \
             them, or name it with `boot-server serve --assets`",
        );
    }
    Imported {
        resources: import.resources,
        findings: import.findings.sorted(),
    }
}

struct Import<'a> {
    folder: &'a Folder,
    findings: Findings,
    resources: Vec<Resource>,
    /// MACs that groups name, each with the name for its machine.
    machines: BTreeMap<String, String>,
}

impl Import<'_> {
    /// The profiles. Gives their names by the ids that groups use, which are the
    /// names of the files.
    fn profiles(&mut self) -> BTreeMap<String, String> {
        let folder = self.folder;
        let mut names = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (id, text) in &folder.profiles {
            let path = format!("profiles/{id}.json");
            let profile: Profile = match serde_json::from_str(text) {
                Ok(profile) => profile,
                Err(error) => {
                    let reason = format!("it cannot be read, and Matchbox leaves it out: {error}");
                    self.findings.left_out(path, reason);
                    continue;
                }
            };
            if profile.id.is_empty() {
                let reason = "it has no id, and Matchbox leaves it out";
                self.findings.left_out(path, reason);
                continue;
            }
            for field in unread(text) {
                let reason = "Matchbox does not read that: what is meant by it has to be said anew, \
                              such as args for cmdline";
                self.findings
                    .left_out(format!("{path}: {field}"), reason.to_owned());
            }
            let name = self.name(id, &path, &mut taken);
            let spec = self.profile(&path, profile);
            self.resources.push(Resource::MatchboxProfile(Object {
                metadata: metadata(&name),
                spec,
            }));
            names.insert(id.clone(), name);
        }
        names
    }

    fn profile(&mut self, path: &str, profile: Profile) -> MatchboxProfileSpec {
        let folder = self.folder;
        let spec = MatchboxProfileSpec {
            boot: MatchboxBoot {
                kernel: profile.boot.kernel,
                initrd: profile.boot.initrd,
                args: profile.boot.args,
            },
            ignition: self.template(path, "ignition", &profile.ignition_id, &folder.ignition),
            cloud: self.template(path, "cloud", &profile.cloud_id, &folder.cloud),
            generic: self.template(path, "generic", &profile.generic_id, &folder.generic),
        };
        for (kind, template) in templates(&spec) {
            let path = format!("{kind}/{}", template.name);
            if let Err(error) = Template::parse(&template.text) {
                let reason = format!("the template cannot be read: {error}");
                self.findings.unfilled(path, reason);
            } else if kind == "ignition" && !template.text.contains("variant:") {
                self.findings.unfilled(
                    path,
                    "a Container Linux Config, without a variant: today's Matchbox renders none \
                     either; begin it with `variant: flatcar` and `version: 1.0.0`, and see \
                     Butane's words for what was called otherwise",
                );
            } else if kind == "ignition" {
                self.findings.changed(
                    path,
                    "a Butane template: variants flatcar and fcos are turned into Ignition here, \
                     without what Butane makes up beyond them (boot_device, trees, \
                     with_mount_unit, local files); `butane` makes a .ign of any",
                );
            }
        }
        spec
    }

    fn template(
        &mut self,
        profile: &str,
        kind: &str,
        id: &str,
        texts: &BTreeMap<String, String>,
    ) -> Option<MatchboxTemplate> {
        if id.is_empty() {
            return None;
        }
        let Some(text) = texts.get(id) else {
            let reason = format!("there is no {kind}/{id}; /{kind} will answer 404, as it did");
            self.findings
                .left_out(format!("{profile}: {kind}_id"), reason);
            return None;
        };
        if text.len() > MAX_TEMPLATE_BYTES {
            let reason = format!("it is larger than {MAX_TEMPLATE_BYTES} bytes");
            self.findings.left_out(format!("{kind}/{id}"), reason);
            return None;
        }
        Some(MatchboxTemplate {
            name: id.to_owned(),
            text: text.clone(),
        })
    }

    fn groups(&mut self, profiles: &BTreeMap<String, String>) {
        let folder = self.folder;
        let mut taken = BTreeSet::new();
        for (id, text) in &folder.groups {
            let path = format!("groups/{id}.json");
            let group: Group = match serde_json::from_str(text) {
                Ok(group) => group,
                Err(error) => {
                    let reason = format!("it cannot be read, and Matchbox leaves it out: {error}");
                    self.findings.left_out(path, reason);
                    continue;
                }
            };
            let is_mac = |key: &str| key.eq_ignore_ascii_case("mac");
            let macs = group.selector.iter().filter(|(key, _)| is_mac(key));
            let macs: Vec<&String> = macs.map(|(_, mac)| mac).collect();
            if let Some(mac) = macs.iter().find(|mac| normal_mac(mac).is_none()) {
                let reason = format!("{mac:?} is no MAC, and Matchbox leaves it out");
                self.findings.left_out(path, reason);
                continue;
            }
            let name = self.name(id, &path, &mut taken);
            for mac in macs.into_iter().filter_map(|mac| normal_mac(mac)) {
                self.machines.entry(mac).or_insert_with(|| name.clone());
            }
            let profile = profiles.get(&group.profile).cloned().unwrap_or_else(|| {
                let reason = format!(
                    "there is no profile {:?}: name another, or delete the group",
                    group.profile
                );
                self.findings.unfilled(format!("{path}: profile"), reason);
                group.profile.clone()
            });
            self.resources.push(Resource::MatchboxGroup(Object {
                metadata: metadata(&name),
                spec: MatchboxGroupSpec {
                    profile,
                    selector: group.selector,
                    metadata: group.metadata,
                },
            }));
        }
    }

    /// A Machine for each MAC, or a word on what one is good for.
    fn machines(&mut self, options: Options) {
        let mut taken = BTreeSet::new();
        for (mac, name) in std::mem::take(&mut self.machines) {
            let Ok(mac) = mac.parse() else { continue };
            if !options.machines {
                self.findings.changed(
                    format!("MAC {mac}"),
                    "no Machine is declared for it, so that anybody who names it is given its \
                     configs, as Matchbox does; with --machines they go to its own address alone",
                );
                continue;
            }
            if taken.insert(name.clone()) {
                self.resources.push(Resource::Machine(Object {
                    metadata: metadata(&name),
                    spec: MachineSpec {
                        macs: vec![mac],
                        ..MachineSpec::default()
                    },
                }));
            }
        }
    }

    /// A name for a resource, as near to Matchbox's id as it may be.
    fn name(&mut self, id: &str, path: &str, taken: &mut BTreeSet<String>) -> String {
        let mut name: String = id
            .to_ascii_lowercase()
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '-' | '.' => c,
                _ => '-',
            })
            .take(60)
            .collect();
        name = name.trim_matches(['-', '.']).to_owned();
        if name_mistake(&name).is_some() {
            name = name.replace('.', "-");
        }
        if name_mistake(&name).is_some() {
            name = format!("m{}", hex::encode(id).chars().take(40).collect::<String>());
        }
        let first = name.clone();
        let mut number = 1_u32;
        while !taken.insert(name.clone()) {
            number = number.saturating_add(1);
            name = format!("{first}-{number}");
        }
        if name != id {
            let reason = format!("resources cannot be named so; it is {name} now");
            self.findings.changed(path, reason);
        }
        name
    }
}

/// Fields of a profile that Matchbox passes over, such as those of its first versions.
fn unread(profile: &str) -> Vec<String> {
    const FIELDS: [&str; 6] = [
        "id",
        "name",
        "boot",
        "ignition_id",
        "cloud_id",
        "generic_id",
    ];
    const OF_BOOT: [&str; 3] = ["kernel", "initrd", "args"];
    let value: serde_json::Value = serde_json::from_str(profile).unwrap_or_default();
    let others = |value: &serde_json::Value, known: &[&str], prefix: &str| -> Vec<String> {
        let fields = value.as_object().into_iter().flatten();
        let fields = fields.map(|(field, _)| field);
        // Go takes names of fields in any case.
        let is_known = |field: &String| known.iter().any(|own| own.eq_ignore_ascii_case(field));
        fields
            .filter(|field| !is_known(field))
            .map(|field| format!("{prefix}{field}"))
            .collect()
    };
    let mut unread = others(&value, &FIELDS, "");
    unread.extend(others(&value["boot"], &OF_BOOT, "boot."));
    unread
}

fn metadata(name: &str) -> Metadata {
    Metadata {
        name: name.to_owned(),
        ..Metadata::default()
    }
}

/// Whether a folder looks like Matchbox's.
#[must_use]
pub fn is_matchbox(folder: &Path) -> bool {
    folder.join("groups").is_dir() && folder.join("profiles").is_dir()
}
