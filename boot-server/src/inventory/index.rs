//! Joining declared with learned, and the indexes over the result.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use boot_proto::dhcp::identifier_bytes;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{MachineSpec, RelayPort};
use boot_proto::slot::Slot;
use boot_proto::uuid;

use super::{Found, Known, LearnedMachine};
use crate::manifests::Declared;

/// Positions in the list of machines by what identifies one.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub by_name: HashMap<String, usize>,
    pub by_mac: HashMap<MacAddr, usize>,
    pub by_uuid: HashMap<String, usize>,
    pub by_place: HashMap<(String, Slot), usize>,
    pub by_address: HashMap<Ipv4Addr, usize>,
    pub by_client_id: HashMap<Vec<u8>, usize>,
    /// By circuit id and remote id, of which one may be left open.
    pub by_port: HashMap<PortId, usize>,
}

/// Circuit id and remote id of a relay port.
pub(super) type PortId = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A declared relay port in bytes; `None` where it says nothing.
pub(super) fn port_id(port: &RelayPort) -> Option<PortId> {
    let bytes = |text: &Option<String>| text.as_deref().map(identifier_bytes);
    let id = (bytes(&port.circuit_id), bytes(&port.remote_id));
    (id != (None, None)).then_some(id)
}

/// Every machine once, sorted by name.
pub(super) fn join(declared: &Declared, learned: &[LearnedMachine]) -> Vec<Known> {
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
fn fill_in(spec: &mut MachineSpec, found: &Found) {
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
    pub fn new(machines: &[Known]) -> Self {
        let mut index = Self::default();
        let mut shared_uuids = HashSet::new();
        for (at, known) in machines.iter().enumerate() {
            index.by_name.insert(known.name.clone(), at);
            for mac in known.spec.macs.iter().filter(|mac| mac.is_usable()) {
                index.by_mac.entry(*mac).or_insert(at);
            }
            if let Some(uuid) = known.spec.uuid.as_deref().and_then(uuid::usable)
                && index.by_uuid.insert(uuid.clone(), at).is_some()
            {
                shared_uuids.insert(uuid);
            }
            if let (Some(chassis), Some(slot)) = (&known.spec.chassis, &known.spec.slot) {
                index
                    .by_place
                    .entry((chassis.clone(), slot.clone()))
                    .or_insert(at);
            }
            if let Some(address) = known.spec.address {
                index.by_address.entry(address).or_insert(at);
            }
            if let Some(id) = &known.spec.client_id {
                let id = identifier_bytes(id);
                // Type 0 marks an identifier that is no hardware address
                // (RFC 2132 §9.14); some clients leave the type out.
                let typed = [&[0], &id[..]].concat();
                index.by_client_id.entry(typed).or_insert(at);
                index.by_client_id.entry(id).or_insert(at);
            }
            if let Some(port) = known.spec.relay_port.as_ref().and_then(port_id) {
                index.by_port.entry(port).or_insert(at);
            }
        }
        // A UUID that two machines have is a placeholder that our list lacks.
        index.by_uuid.retain(|uuid, _| !shared_uuids.contains(uuid));
        index
    }
}
