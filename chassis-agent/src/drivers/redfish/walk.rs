//! The walk over a service: which resources are read, and which are left out
//! because they would say nothing new. Talks through [`Fetch`] alone.

use std::collections::BTreeSet;

use boot_proto::api::ObservedMachine;
use boot_proto::redfish_rules::{Expand, RedfishRules, fits};
use serde_json::Value;

use super::adapters;
use super::fetch::{Fetch, FetchError};
use super::macs::{NicList, boot_targets};
use super::resources::{
    self, Member, Root, last_part, link, links, members, next_page, same_uri, text,
};
use crate::drivers::DriverError;

/// A system of the service.
#[derive(Clone, Debug)]
pub struct System {
    /// Where it is.
    pub uri: String,
    /// What it says.
    pub body: Value,
}

impl System {
    /// What it is called on this service.
    #[must_use]
    pub fn slot(&self) -> String {
        let id = match self.body.get("Id") {
            Some(Value::String(id)) if !id.trim().is_empty() => Some(id.trim().to_owned()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        id.unwrap_or_else(|| last_part(&self.uri).to_owned())
    }

    /// The machine without its NICs.
    #[must_use]
    pub fn machine(&self) -> ObservedMachine {
        let system = &self.body;
        ObservedMachine {
            slot: self.slot(),
            macs: Vec::new(),
            power: resources::power(system),
            uuid: text(system, "UUID").and_then(|uuid| boot_proto::uuid::usable(&uuid)),
            serial: text(system, "SerialNumber"),
            manufacturer: text(system, "Manufacturer"),
            model: text(system, "Model"),
            nics: Vec::new(),
        }
    }
}

/// A walk over one service.
pub struct Walk<'a> {
    pub(super) fetch: &'a mut dyn Fetch,
    pub(super) rules: &'a RedfishRules,
    root: Root,
    expands: bool,
    /// All chassis, listed once and only where systems do not name theirs.
    chassis: Option<Vec<Member>>,
}

/// The paths of the service root, in the order in which they are tried: some
/// services know one of them alone.
const ROOTS: [&str; 2] = ["/redfish/v1/", "/redfish/v1"];

/// Where iLO 4 has its service before firmware 2.30.
const OLD_ROOT: &str = "/rest/v1";

/// Reads the service root; with `with_old`, also that of the interface which
/// became Redfish.
///
/// # Errors
/// When there is no Redfish service.
pub async fn service_root(fetch: &mut dyn Fetch, with_old: bool) -> Result<Value, DriverError> {
    let mut first = None;
    let roots = ROOTS.into_iter().chain(with_old.then_some(OLD_ROOT));
    for path in roots {
        match fetch.get(path).await {
            // A root without links is met after a BMC's restart, and null on
            // one vendor's old boards; the usual places are tried then.
            Ok(root @ (Value::Object(_) | Value::Null)) => return Ok(root),
            Ok(other) => {
                first.get_or_insert(DriverError::Garbled {
                    command: format!("GET {path}"),
                    problem: "it is no service root".into(),
                    excerpt: crate::drivers::excerpt(&other.to_string()),
                });
            }
            Err(FetchError::Fatal(error)) => return Err(error),
            Err(FetchError::Absent(error)) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| DriverError::Profile("no service root".into())))
}

impl<'a> Walk<'a> {
    /// A walk that begins at `root`.
    pub fn new(fetch: &'a mut dyn Fetch, rules: &'a RedfishRules, root: &Value) -> Self {
        let root = Root::read(root);
        let expands = root.expands && rules.expand == Expand::Offered;
        Self {
            fetch,
            rules,
            root,
            expands,
            chassis: None,
        }
    }

    /// The hosts among the systems. None is right for the manager of an
    /// enclosure or a switch.
    ///
    /// # Errors
    /// When the systems cannot be read.
    pub async fn systems(&mut self) -> Result<Vec<System>, DriverError> {
        const USUAL: &str = "/redfish/v1/Systems";
        let named = self.root.systems.clone();
        let listed = self.pages(named.as_deref().unwrap_or(USUAL)).await;
        let members = match (listed, named) {
            (Ok(members), _) => members,
            (Err(FetchError::Fatal(error)), _) | (Err(FetchError::Absent(error)), Some(_)) => {
                return Err(error);
            }
            // A root that says nothing at all is no proof that there are none.
            (Err(FetchError::Absent(error)), None) if self.root.is_empty() => return Err(error),
            (Err(FetchError::Absent(_)), None) => return Ok(Vec::new()),
        };
        let mut systems = Vec::new();
        let mut first_failure = None;
        let most = usize::try_from(self.rules.limits.systems).unwrap_or(usize::MAX);
        for Member { uri, body } in members.into_iter().take(most) {
            let read = match body {
                Some(body) => Ok(body),
                None => self.fetch.get(&uri).await,
            };
            match read {
                Ok(body @ Value::Object(_)) => systems.push(System { uri, body }),
                Ok(_) => tracing::debug!(uri, "a system that says nothing is left out"),
                Err(FetchError::Fatal(error)) => return Err(error),
                Err(FetchError::Absent(error)) => {
                    // Some services list systems that are not there.
                    tracing::debug!(uri, %error, "a system is left out");
                    first_failure.get_or_insert(error);
                }
            }
        }
        match (systems.is_empty(), first_failure) {
            (true, Some(error)) => return Err(error),
            _ => systems.retain(|system| !self.is_no_host(system)),
        }
        Ok(systems)
    }

    fn is_no_host(&self, system: &System) -> bool {
        let is_none = self
            .rules
            .not_hosts
            .iter()
            .any(|rule| fits(rule, &system.body));
        if is_none {
            tracing::debug!(uri = system.uri, "a system that is no host is left out");
        }
        is_none
    }

    /// The machines with their NICs.
    ///
    /// # Errors
    /// When the service fails on the way.
    pub async fn inventory(
        &mut self,
        systems: &[System],
    ) -> Result<Vec<ObservedMachine>, DriverError> {
        let mut machines: Vec<ObservedMachine> = Vec::new();
        for system in systems {
            let mut machine = system.machine();
            let mut nics = NicList::new(&self.rules.macs);
            self.nics(system, systems, &mut nics).await?;
            (machine.macs, machine.nics) = nics.finish();
            drop_shared_macs(&mut machine, &machines);
            machines.push(machine);
        }
        Ok(machines)
    }

    async fn nics(
        &mut self,
        system: &System,
        all: &[System],
        nics: &mut NicList<'_>,
    ) -> Result<(), DriverError> {
        if let Some(path) = link(&system.body, "EthernetInterfaces") {
            for interface in self.collection(&path).await? {
                nics.interface(&interface.1);
            }
        }
        nics.told_by_host(&system.body);
        for path in old_adapters(&system.body) {
            for adapter in self.collection(&path).await? {
                nics.base_adapter(&adapter.1);
            }
        }
        let chassis = self.chassis_of(system, all).await?;
        for chassis in &chassis {
            adapters::read(self, chassis, nics).await?;
        }
        if !chassis
            .iter()
            .any(|chassis| link(chassis, "NetworkAdapters").is_some())
        {
            adapters::read_named(self, &system.body, nics).await?;
        }
        if boot_targets(&system.body).is_empty() {
            let options = system
                .body
                .get("Boot")
                .and_then(|boot| link(boot, "BootOptions"));
            if let Some(path) = options {
                for option in self.collection(&path).await? {
                    nics.boot_option(&option.1);
                }
            }
        } else {
            nics.boot_targets(&system.body);
        }
        if !self.rules.macs.bios_attributes.is_empty()
            && let Some(path) = link(&system.body, "Bios")
            && let Some(bios) = self.optional(&path).await?
        {
            nics.bios(&bios);
        }
        Ok(())
    }

    /// The chassis that hold this system and no other.
    async fn chassis_of(
        &mut self,
        system: &System,
        all: &[System],
    ) -> Result<Vec<Value>, DriverError> {
        const MOST: usize = 8;
        let named = system
            .body
            .get("Links")
            .map(|l| links(l, "Chassis"))
            .unwrap_or_default();
        let mut found = Vec::new();
        for uri in named.iter().take(MOST) {
            found.extend(self.optional(uri).await?);
        }
        if named.is_empty() {
            found.extend(self.unnamed_chassis(system).await?);
        }
        // In a chassis of several hosts nobody can tell whose adapters they are.
        let hosts: BTreeSet<String> = all.iter().map(|system| same_uri(&system.uri)).collect();
        found.retain(|body| {
            let systems = body.get("Links").map(|l| links(l, "ComputerSystems"));
            let held = systems.unwrap_or_default();
            held.iter()
                .filter(|uri| hosts.contains(&same_uri(uri)))
                .count()
                <= 1
        });
        Ok(found)
    }

    /// The chassis of a system that names none: those that name the system,
    /// or the one with its name, as Cray's controllers have it.
    async fn unnamed_chassis(&mut self, system: &System) -> Result<Vec<Value>, DriverError> {
        const MOST: usize = 8;
        let Some(path) = self.root.chassis.clone() else {
            return Ok(Vec::new());
        };
        if self.chassis.is_none() {
            self.chassis = Some(match self.pages(&path).await {
                Ok(members) => members,
                Err(FetchError::Fatal(error)) => return Err(error),
                Err(FetchError::Absent(_)) => Vec::new(),
            });
        }
        let chassis = self.chassis.clone().unwrap_or_default();
        let own = last_part(&system.uri);
        let namesake = chassis
            .iter()
            .find(|m| last_part(&m.uri).eq_ignore_ascii_case(own));
        if let Some(member) = namesake {
            return Ok(self.optional(&member.uri).await?.into_iter().collect());
        }
        let mut found = Vec::new();
        for Member { uri, body } in chassis.into_iter().take(MOST) {
            let body = match body {
                Some(body) => Some(body),
                None => self.optional(&uri).await?,
            };
            found.extend(body.filter(|body| {
                let systems = body.get("Links").map(|l| links(l, "ComputerSystems"));
                let systems = systems.unwrap_or_default();
                systems
                    .iter()
                    .any(|uri| same_uri(uri) == same_uri(&system.uri))
            }));
        }
        Ok(found)
    }

    /// A resource that is worth having, not worth failing for.
    pub(super) async fn optional(&mut self, path: &str) -> Result<Option<Value>, DriverError> {
        match self.fetch.get(path).await {
            Ok(Value::Null) => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(FetchError::Fatal(error)) => Err(error),
            Err(FetchError::Absent(error)) => {
                tracing::debug!(path, %error, "left out");
                Ok(None)
            }
        }
    }

    /// The members of a collection that is worth having, in an order that does
    /// not change between two scans.
    pub(super) async fn collection(
        &mut self,
        path: &str,
    ) -> Result<Vec<(String, Value)>, DriverError> {
        let mut members = match self.pages(path).await {
            Ok(members) => members,
            Err(FetchError::Fatal(error)) => return Err(error),
            Err(FetchError::Absent(error)) => {
                tracing::debug!(path, %error, "left out");
                return Ok(Vec::new());
            }
        };
        sort(&mut members);
        let mut read = Vec::new();
        for Member { uri, body } in members {
            let body = match body {
                Some(body) => Some(body),
                None => self.optional(&uri).await?,
            };
            read.extend(body.map(|body| (uri, body)));
        }
        Ok(read)
    }

    /// All pages of a collection. Pages and members that come again are cut.
    async fn pages(&mut self, path: &str) -> Result<Vec<Member>, FetchError> {
        const MOST_PAGES: usize = 64;
        let most = usize::try_from(self.rules.limits.members).unwrap_or(usize::MAX);
        let mut page = self.first_page(path).await?;
        let mut seen_pages = BTreeSet::from([same_uri(path)]);
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        loop {
            let before = all.len();
            for member in members(&page) {
                if all.len() < most && seen.insert(same_uri(&member.uri)) {
                    all.push(member);
                }
            }
            let Some(next) = next_page(&page) else {
                break;
            };
            let is_new = seen_pages.insert(same_uri(&next));
            // A page that brings nothing new is the sign of a circle whose URIs
            // differ each time.
            let goes_on = is_new && all.len() > before;
            if !goes_on || seen_pages.len() > MOST_PAGES || all.len() >= most {
                tracing::warn!(path, next, "the pages of this collection do not end");
                break;
            }
            page = match self.fetch.get(&next).await {
                Ok(page) => page,
                Err(FetchError::Fatal(error)) => return Err(FetchError::Fatal(error)),
                Err(FetchError::Absent(error)) => {
                    tracing::debug!(next, %error, "the rest of a collection is left out");
                    break;
                }
            };
        }
        Ok(all)
    }

    async fn first_page(&mut self, path: &str) -> Result<Value, FetchError> {
        if self.expands {
            // `.` is what every service that can expand understands; `*` brings
            // whole trees, and iLO refuses it.
            let expanded = format!("{path}?$expand=.($levels=1)");
            match self.fetch.get(&expanded).await {
                Ok(page @ Value::Object(_)) => return Ok(page),
                Err(FetchError::Fatal(error)) => return Err(FetchError::Fatal(error)),
                Ok(_) | Err(FetchError::Absent(_)) => {
                    tracing::debug!(path, "offers to expand and does not");
                    self.expands = false;
                }
            }
        }
        self.fetch.get(path).await
    }
}

/// Collections of adapters that older iLO firmware has beside the standard's.
fn old_adapters(system: &Value) -> Vec<String> {
    let vendors = system.get("Oem").and_then(Value::as_object);
    vendors
        .into_iter()
        .flat_map(serde_json::Map::values)
        .filter_map(|vendor| vendor.get("Links").or_else(|| vendor.get("links")))
        .filter_map(|links| link(links, "NetworkAdapters"))
        .collect()
}

/// Two hosts of one service with one MAC: nobody can tell whose it is, and the
/// first has it.
fn drop_shared_macs(machine: &mut ObservedMachine, others: &[ObservedMachine]) {
    let is_taken =
        |mac: &boot_proto::ids::MacAddr| others.iter().any(|other| other.macs.contains(mac));
    let shared: Vec<_> = machine.macs.iter().copied().filter(is_taken).collect();
    for mac in shared {
        tracing::warn!(slot = machine.slot, %mac, "another system of this service has this MAC");
        machine.macs.retain(|own| *own != mac);
        machine.nics.retain(|nic| nic.mac != Some(mac));
    }
}

/// An order that does not change between two scans, although some services list
/// members in another order each time. Ids of one length count in hex, as those
/// of boot options do; elsewhere 2 comes before 10.
fn sort(members: &mut [Member]) {
    let lengths: BTreeSet<usize> = members.iter().map(|m| last_part(&m.uri).len()).collect();
    if lengths.len() <= 1 {
        members.sort_by_key(|member| same_uri(&member.uri));
    } else {
        members.sort_by_key(|member| natural_order(&member.uri));
    }
}

/// Words and the numbers behind them.
fn natural_order(uri: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut word = String::new();
    let mut digits = String::new();
    for c in same_uri(uri).chars() {
        if c.is_ascii_digit() && digits.len() < 18 {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            parts.push((
                std::mem::take(&mut word),
                digits.parse().unwrap_or_default(),
            ));
            digits.clear();
        }
        word.push(c);
    }
    parts.push((word, digits.parse().unwrap_or_default()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_one_order() {
        for (uris, sorted) in [
            (vec!["/a/10", "/a/2", "/a/1"], vec!["/a/1", "/a/2", "/a/10"]),
            (
                vec!["/a/Boot000A", "/a/Boot0009"],
                vec!["/a/Boot0009", "/a/Boot000A"],
            ),
            (
                vec!["/a/NIC.Slot.10-1", "/a/NIC.Slot.5-1", "/a/NIC.Embedded.1"],
                vec!["/a/NIC.Embedded.1", "/a/NIC.Slot.5-1", "/a/NIC.Slot.10-1"],
            ),
        ] {
            let member = |uri: &&str| Member {
                uri: (*uri).to_owned(),
                body: None,
            };
            let mut members: Vec<Member> = uris.iter().map(member).collect();
            sort(&mut members);
            let found: Vec<&str> = members.iter().map(|member| member.uri.as_str()).collect();
            assert_eq!(found, sorted);
        }
    }
}
