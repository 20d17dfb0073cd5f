//! Joining declared with learned, and the indexes over the result.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::Ipv4Addr;

use boot_proto::dhcp::identifier_bytes;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{MachineSpec, RelayPort};
use boot_proto::slot::Slot;
use boot_proto::uuid;
use rpds::{HashTrieMapSync, HashTrieSetSync, VectorSync};

use super::{Found, Known, LearnedMachine};
use crate::manifests::Declared;

/// Positions in the list of machines by what identifies one. Copies share what
/// they have in common, so that one with another machine costs little.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub by_name: HashTrieMapSync<String, usize>,
    pub by_mac: HashTrieMapSync<MacAddr, usize>,
    pub by_uuid: HashTrieMapSync<String, usize>,
    pub by_place: HashTrieMapSync<(String, Slot), usize>,
    pub by_address: HashTrieMapSync<Ipv4Addr, usize>,
    pub by_client_id: HashTrieMapSync<Vec<u8>, usize>,
    /// By circuit id and remote id, of which one may be left open.
    pub by_port: HashTrieMapSync<PortId, usize>,
    /// UUIDs that two machines have: placeholders that our list lacks.
    shared_uuids: HashTrieSetSync<String>,
}

/// The machines, in a list whose copies share what they have in common.
pub(super) type Machines = VectorSync<Known>;

/// Circuit id and remote id of a relay port.
pub(super) type PortId = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A declared relay port in bytes; `None` where it says nothing.
pub(super) fn port_id(port: &RelayPort) -> Option<PortId> {
    let bytes = |text: &Option<String>| text.as_deref().map(identifier_bytes);
    let id = (bytes(&port.circuit_id), bytes(&port.remote_id));
    (id != (None, None)).then_some(id)
}

/// Every machine once, sorted by name.
pub(super) fn join(declared: &Declared, learned: &[LearnedMachine]) -> Machines {
    let mut machines: BTreeMap<&str, Known> = declared
        .machines
        .values()
        .map(|object| {
            let known = Known {
                name: object.metadata.name.clone(),
                declared: true,
                spec: object.spec.clone(),
                labels: object.metadata.labels.clone(),
            };
            (object.name(), known)
        })
        .collect();
    let owners = Owners::of(declared);
    for machine in learned {
        let found = owners.own(machine);
        let known = machines.entry(&machine.name).or_insert_with(|| Known {
            name: machine.name.clone(),
            declared: false,
            spec: MachineSpec::default(),
            labels: BTreeMap::new(),
        });
        fill_in(&mut known.spec, &found);
    }
    machines.into_values().collect()
}

/// Which declared machine has what identifies it.
#[derive(Default)]
struct Owners<'a> {
    macs: HashMap<MacAddr, &'a str>,
    uuids: HashMap<String, &'a str>,
    places: HashMap<(&'a str, &'a Slot), &'a str>,
}

impl<'a> Owners<'a> {
    fn of(declared: &'a Declared) -> Self {
        let mut owners = Self::default();
        for object in declared.machines.values() {
            let (name, spec) = (object.name(), &object.spec);
            owners.macs.extend(spec.macs.iter().map(|mac| (*mac, name)));
            owners.uuids.extend(
                spec.uuid
                    .as_deref()
                    .and_then(uuid::usable)
                    .map(|uuid| (uuid, name)),
            );
            if let (Some(chassis), Some(slot)) = (&spec.chassis, &spec.slot) {
                owners.places.insert((chassis.as_str(), slot), name);
            }
        }
        owners
    }

    /// What was found of this machine, without what a manifest gives to another.
    fn own(&self, machine: &LearnedMachine) -> Found {
        let is_own = |owner: Option<&&str>| owner.is_none_or(|owner| *owner == machine.name);
        let mut found = machine.found.clone();
        found.macs.retain(|mac| is_own(self.macs.get(mac)));
        found.uuid = found.uuid.filter(|uuid| is_own(self.uuids.get(uuid)));
        if let (Some(chassis), Some(slot)) = (found.chassis.as_deref(), found.slot.as_ref())
            && !is_own(self.places.get(&(chassis, slot)))
        {
            (found.chassis, found.slot) = (None, None);
        }
        found
    }
}

/// What was found out stands behind what is declared and never replaces it.
pub(super) fn fill_in(spec: &mut MachineSpec, found: &Found) {
    for mac in &found.macs {
        if !spec.macs.contains(mac) {
            spec.macs.push(*mac);
        }
    }
    if spec.uuid.is_none() {
        spec.uuid.clone_from(&found.uuid);
    }
    let is_placed_here = spec.chassis.is_none() || spec.chassis == found.chassis;
    if spec.slot.is_none() && is_placed_here {
        spec.chassis = found.chassis.clone().or(spec.chassis.take());
        spec.slot.clone_from(&found.slot);
    }
}

impl Index {
    pub fn new(machines: &Machines) -> Self {
        let mut index = Self::default();
        for (at, known) in machines.iter().enumerate() {
            index.add(at, known);
        }
        index
    }

    /// Adds a machine, or what is new of one that is there already. Of two that
    /// have the same, the first has it; a UUID that two have, neither.
    pub fn add(&mut self, at: usize, known: &Known) {
        let spec = &known.spec;
        self.by_name.insert_mut(known.name.clone(), at);
        for mac in spec.macs.iter().filter(|mac| mac.is_usable()) {
            insert_first(&mut self.by_mac, *mac, at);
        }
        if let Some(uuid) = spec.uuid.as_deref().and_then(uuid::usable) {
            self.add_uuid(uuid, at);
        }
        if let (Some(chassis), Some(slot)) = (&spec.chassis, &spec.slot) {
            insert_first(&mut self.by_place, (chassis.clone(), slot.clone()), at);
        }
        if let Some(address) = spec.address {
            insert_first(&mut self.by_address, address, at);
        }
        if let Some(id) = &spec.client_id {
            let id = identifier_bytes(id);
            // Type 0 marks an identifier that is no hardware address
            // (RFC 2132 §9.14); some clients leave the type out.
            insert_first(&mut self.by_client_id, [&[0], &id[..]].concat(), at);
            insert_first(&mut self.by_client_id, id, at);
        }
        if let Some(port) = spec.relay_port.as_ref().and_then(port_id) {
            insert_first(&mut self.by_port, port, at);
        }
    }

    fn add_uuid(&mut self, uuid: String, at: usize) {
        if self.shared_uuids.contains(&uuid) {
            return;
        }
        match self.by_uuid.get(&uuid) {
            Some(other) if *other != at => {
                self.by_uuid.remove_mut(&uuid);
                self.shared_uuids.insert_mut(uuid);
            }
            _ => self.by_uuid.insert_mut(uuid, at),
        }
    }

    /// Whether nothing of what was found is another machine's than that at `at`.
    pub fn is_free(&self, found: &Found, at: Option<usize>) -> bool {
        let is_free = |owner: Option<&usize>| owner.is_none_or(|owner| Some(*owner) == at);
        let uuid = found.uuid.as_deref().and_then(uuid::usable);
        let place = found.chassis.clone().zip(found.slot.clone());
        found.macs.iter().all(|mac| is_free(self.by_mac.get(mac)))
            && uuid.is_none_or(|uuid| {
                is_free(self.by_uuid.get(&uuid)) && !self.shared_uuids.contains(&uuid)
            })
            && place.is_none_or(|place| is_free(self.by_place.get(&place)))
    }
}

fn insert_first<K: Eq + Hash>(map: &mut HashTrieMapSync<K, usize>, key: K, at: usize) {
    if !map.contains_key(&key) {
        map.insert_mut(key, at);
    }
}
