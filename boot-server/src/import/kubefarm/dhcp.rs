//! `tags.dhcpOptions`: options for clients with a tag.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::values::{at, entries, text};
use crate::dhcp::custom;
use crate::import::Findings;

/// What boot-server decides by itself, and what kubefarm's users set it for.
const OWN: [(u8, &str); 2] = [
    (66, "boot-server names itself as the server to boot from"),
    (
        67,
        "boot-server chooses the boot loader by the client's architecture",
    ),
];

/// Options by tag, `all` among them.
#[derive(Debug, Default)]
pub(super) struct DhcpOptions(BTreeMap<String, BTreeMap<u8, Sent>>);

/// An option as a profile declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub name: String,
    pub value: String,
}

impl DhcpOptions {
    pub fn read(values: &Value, findings: &mut Findings) -> Self {
        let mut options = Self::default();
        for (tag, map) in entries(at(values, &["tags", "dhcpOptions"])) {
            for (key, value) in entries(map) {
                let path = format!("tags.dhcpOptions.{tag}.{key}");
                options.add(tag, key, value, path, findings);
            }
        }
        options
    }

    fn add(&mut self, tag: &str, key: &str, value: &Value, path: String, findings: &mut Findings) {
        let Some(value) = text(value) else {
            return findings.left_out(path, "the value of an option is one text");
        };
        match option(key, value.trim()) {
            Ok((code, sent)) => {
                // One option has one name throughout, so that maps merge by it.
                let known = self.0.values().find_map(|map| map.get(&code));
                let name = known.map_or(sent.name, |known| known.name.clone());
                let sent = Sent { name, ..sent };
                self.0.entry(tag.to_owned()).or_default().insert(code, sent);
            }
            Err(reason) => findings.left_out(path, reason),
        }
    }

    pub fn tags(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// A tag's own options.
    pub fn of(&self, tag: &str) -> BTreeMap<String, String> {
        let sent = self.0.get(tag).into_iter().flat_map(BTreeMap::values);
        sent.map(|sent| (sent.name.clone(), sent.value.clone()))
            .collect()
    }

    /// Options that a client with these tags is sent although another of its
    /// tags says otherwise. All are tagged alike for dnsmasq, which then takes
    /// the one that stands last in its file; the chart writes tags in
    /// alphabetical order, `all` in its place among them.
    pub fn settled(&self, tags: &[String]) -> BTreeMap<String, String> {
        let mine: BTreeSet<&str> = tags.iter().map(String::as_str).chain(["all"]).collect();
        let mut last: BTreeMap<u8, &Sent> = BTreeMap::new();
        let mut contested: BTreeMap<String, String> = BTreeMap::new();
        for map in mine.iter().filter_map(|tag| self.0.get(*tag)) {
            for (code, sent) in map {
                if last.insert(*code, sent).is_some_and(|known| known != sent)
                    || contested.contains_key(&sent.name)
                {
                    contested.insert(sent.name.clone(), sent.value.clone());
                }
            }
        }
        contested
    }

    /// Takes an option of `all` away, if no tag says otherwise and `take` wants
    /// its value.
    pub fn take_from_all(&mut self, code: u8, take: impl FnOnce(&str) -> bool) {
        let holders = self
            .0
            .values()
            .filter(|map| map.contains_key(&code))
            .count();
        let Some(all) = self.0.get_mut("all").filter(|_| holders == 1) else {
            return;
        };
        if all.get(&code).is_some_and(|sent| take(&sent.value)) {
            all.remove(&code);
        }
    }
}

/// The chart's rule for keys: digits, or with a colon, as they are; `broadcast`
/// is 28; anything else is one of dnsmasq's names.
pub(super) fn option(key: &str, value: &str) -> Result<(u8, Sent), String> {
    let name = key.strip_prefix("option:").unwrap_or(key);
    if name.starts_with("option6:") {
        return Err("boot-server speaks DHCP for IPv4".into());
    }
    if name == "server-ip-address" {
        return Err("boot-server is the server that machines boot from".into());
    }
    if name.contains(':') {
        return Err("options inside of vendor or encapsulated options cannot be declared".into());
    }
    if value.split(',').any(|part| part.trim() == "0.0.0.0") {
        return Err("0.0.0.0 is dnsmasq's word for its own address; write the address".into());
    }
    let (code, _) = custom::encode(name, value).map_err(|error| error.to_string())?;
    if let Some((_, reason)) = OWN.iter().find(|(own, _)| *own == code) {
        return Err((*reason).into());
    }
    let (name, value) = (name.to_ascii_lowercase(), value.to_owned());
    Ok((code, Sent { name, value }))
}
