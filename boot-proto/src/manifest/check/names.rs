//! Names: their form, that each is given once, that each one used is there, and
//! that no two machines become the same node.

use std::collections::{BTreeMap, HashMap};

use super::{Notes, Read, World};
use crate::ids::name_mistake;
use crate::manifest::node::{Step, path};
use crate::resources::{Kind, MachineSpec, NodePoolSpec};
use crate::slot::Slot;

/// Names of resources and of hosts.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    let mut first: HashMap<(Kind, &str), String> = HashMap::new();
    for (file, document) in world.documents {
        let (Some(kind), Some(name)) = (document.kind, document.name.as_deref()) else {
            continue;
        };
        let at = document.root.place(&path!["metadata", "name"]);
        if let Some(why) = name_mistake(name) {
            notes.push(
                file,
                document,
                at,
                &path!["metadata", "name"],
                format!("{name:?}: {why}"),
                String::new(),
            );
        }
        let here = format!("{file}:{}", at.map_or(0, |at| at.line));
        if let Some(other) = first.insert((kind, name), here.clone()) {
            let message = format!("there is a {kind} {name:?} already, at {other}");
            let hint = "give one of the two another name, or delete it".to_owned();
            notes.push(
                file,
                document,
                at,
                &path!["metadata", "name"],
                message,
                hint,
            );
            first.insert((kind, name), other);
        }
    }
}

/// Names that lead nowhere.
pub(super) fn check_references(world: &World<'_>, notes: &mut Notes) {
    let profiles = world.names(Kind::Profile);
    for machine in world.machines() {
        let spec = machine.spec();
        check_reference(
            world,
            notes,
            machine,
            "pool",
            Kind::NodePool,
            spec.pool.as_deref(),
        );
        check_reference(
            world,
            notes,
            machine,
            "chassis",
            Kind::Chassis,
            spec.chassis.as_deref(),
        );
        check_profiles(notes, machine, &spec.profiles, profiles);
    }
    for pool in world.pools() {
        let spec = pool.spec();
        check_reference(
            world,
            notes,
            pool,
            "cluster",
            Kind::Cluster,
            spec.cluster.as_deref(),
        );
        check_reference(
            world,
            notes,
            pool,
            "subnet",
            Kind::Subnet,
            spec.subnet.as_deref(),
        );
        check_profiles(notes, pool, &spec.profiles, profiles);
        check_selected_names(world, notes, pool);
    }
    for chassis in world.chassis() {
        let pool = chassis.spec().pool.as_deref();
        check_reference(world, notes, chassis, "pool", Kind::NodePool, pool);
    }
}

fn check_reference<S>(
    world: &World<'_>,
    notes: &mut Notes,
    read: Read<'_, S>,
    field: &str,
    kind: Kind,
    name: Option<&str>,
) {
    let Some(name) = name else { return };
    let known = world.names(kind);
    if !known.contains(name) {
        notes.unknown(read, &path!["spec", field], kind, name, known);
    }
}

fn check_selected_names(world: &World<'_>, notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    let machines = world.names(Kind::Machine);
    let chassis = world.names(Kind::Chassis);
    for (at, name) in pool.spec().machines.names.iter().enumerate() {
        // A machine that is only found has a name, too; its form tells it.
        let is_found_name =
            is_dashed_mac(name) || chassis.iter().any(|chassis| is_slot_name(name, chassis));
        if !machines.contains(name.as_str()) && !is_found_name {
            let path = path!["spec", "machines", "names", at];
            notes.unknown(pool, &path, Kind::Machine, name, machines);
        }
    }
}

fn check_profiles<S>(
    notes: &mut Notes,
    read: Read<'_, S>,
    names: &[String],
    known: &std::collections::BTreeSet<&str>,
) {
    for (at, name) in names.iter().enumerate() {
        let path = path!["spec", "profiles", at];
        if !known.contains(name.as_str()) {
            notes.unknown(read, &path, Kind::Profile, name, known);
        } else if names.iter().take(at).any(|other| other == name) {
            notes.add(
                read,
                &path,
                format!("profile {name:?} is listed twice"),
                "keep the one whose place in the order is meant",
            );
        }
    }
}

/// `m1-c11n1`: the name of what was found in chassis `m1`.
pub(super) fn is_slot_name(name: &str, chassis: &str) -> bool {
    name.strip_prefix(chassis)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|slot| !slot.is_empty())
}

/// `94-57-a5-d3-ec-f2`: the name of what was met with that MAC.
pub(super) fn is_dashed_mac(name: &str) -> bool {
    name.len() == 17 && name.contains('-') && name.parse::<crate::ids::MacAddr>().is_ok()
}

/// Host names: their form, and that no two machines have the same.
pub(super) fn check_hostnames(world: &World<'_>, notes: &mut Notes) {
    for pool in world.pools() {
        check_pattern(notes, pool);
    }
    let patterns: HashMap<&str, &str> = world
        .pools()
        .filter_map(|pool| Some((pool.name(), pool.spec().hostname.as_deref()?)))
        .collect();
    let mut first: BTreeMap<String, Read<'_, MachineSpec>> = BTreeMap::new();
    for machine in world.machines() {
        let spec = machine.spec();
        if let Some(hostname) = &spec.hostname
            && let Some(why) = name_mistake(hostname)
        {
            notes.add(
                machine,
                &path!["spec", "hostname"],
                format!("{hostname:?}: {why}"),
                "",
            );
        }
        let pattern = spec
            .pool
            .as_deref()
            .and_then(|pool| patterns.get(pool).copied());
        let hostname = hostname_of(machine, pattern);
        match first.get(&hostname) {
            None => drop(first.insert(hostname, machine)),
            // Said already: the same name twice.
            Some(other) if other.name() == machine.name() => {}
            Some(other) => {
                let message = format!(
                    "host name {hostname:?} is also that of Machine {:?} at {}",
                    other.name(),
                    other.line(&path!["metadata", "name"])
                );
                let hint = "two nodes of one name push each other out of the cluster; give one another hostname";
                let path: &[Step<'_>] = if spec.hostname.is_some() {
                    &path!["spec", "hostname"]
                } else {
                    &path!["metadata", "name"]
                };
                notes.add(machine, path, message, hint);
            }
        }
    }
}

fn hostname_of(machine: Read<'_, MachineSpec>, pattern: Option<&str>) -> String {
    let spec = machine.spec();
    if let Some(hostname) = &spec.hostname {
        return hostname.clone();
    }
    let Some(pattern) = pattern else {
        return machine.name().to_owned();
    };
    let slot = spec.slot.as_ref().map(Slot::name_part);
    let mac = spec.macs.first().map(|mac| mac.dashed());
    let mut name = pattern.to_owned();
    for (part, value) in [
        ("{machine}", Some(machine.name())),
        ("{chassis}", spec.chassis.as_deref()),
        ("{slot}", slot.as_deref()),
        ("{mac}", mac.as_deref()),
    ] {
        if name.contains(part) {
            match value {
                Some(value) => name = name.replace(part, value),
                // It becomes known when the machine is found.
                None => return machine.name().to_owned(),
            }
        }
    }
    name
}

/// A pattern must make a valid name, and another one for every machine.
fn check_pattern(notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    const PARTS: [&str; 4] = ["{machine}", "{chassis}", "{slot}", "{mac}"];
    const HINT: &str = "use {machine}, {chassis}, {slot} or {mac}, such as node-{chassis}-{slot}";
    let Some(pattern) = &pool.spec().hostname else {
        return;
    };
    let path = path!["spec", "hostname"];
    let example = PARTS
        .iter()
        .fold(pattern.clone(), |name, part| name.replace(part, "c1n1"));
    if example.contains(['{', '}']) {
        notes.add(
            pool,
            &path,
            format!("{pattern:?} has a part in braces that is not known"),
            HINT,
        );
    } else if let Some(why) = name_mistake(&example) {
        notes.add(pool, &path, format!("{pattern:?}: {why}"), HINT);
    } else if !["{machine}", "{slot}", "{mac}"]
        .iter()
        .any(|part| pattern.contains(part))
    {
        notes.add(
            pool,
            &path,
            format!("{pattern:?} gives every machine of the pool the same name"),
            HINT,
        );
    }
}
