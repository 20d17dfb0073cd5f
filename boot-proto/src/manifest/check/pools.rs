//! Pools: what they select, that nothing is selected twice, and what they give.

use super::identity::Claims;
use super::kubernetes::{check_labels, check_taints, key_mistake, value_mistake};
use super::{Notes, Read, World, forms};
use crate::manifest::node::{Step, path};
use crate::manifest::words;
use crate::resources::{Kind, NodePoolSpec, ProfileSpec, Taint};
use crate::slot::Slot;

/// All pools.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    for pool in world.pools() {
        check_slots(world, notes, pool);
        check_image(world, notes, pool);
        check_match_labels(notes, pool);
        check_labels(notes, pool, &path!["spec", "labels"], &pool.spec().labels);
        check_taints(notes, pool, &path!["spec", "taints"], &pool.spec().taints);
        check_merged_taints(world, notes, pool);
        super::network::check_merged(world, notes, pool);
        check_loaders(notes, pool);
    }
    check_catch_all(world, notes);
    check_twice(world, notes);
    check_given(world, notes);
}

/// `CHASSIS/SLOT` or `CHASSIS/*`, with a chassis that is there.
fn check_slots(world: &World<'_>, notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    let known = world.names(Kind::Chassis);
    for (at, text) in pool.spec().machines.slots.iter().enumerate() {
        let path = path!["spec", "machines", "slots", at];
        let parts = text.split_once('/');
        match parts.filter(|(_, slot)| *slot == "*" || slot.parse::<Slot>().is_ok()) {
            None => notes.add(
                pool,
                &path,
                format!("{text:?} is no slot"),
                "write CHASSIS/SLOT, such as m1/c11n1, or CHASSIS/* for all of it",
            ),
            Some((chassis, _)) if !known.contains(chassis) => {
                notes.unknown(pool, &path, Kind::Chassis, chassis, known)
            }
            Some(_) => {}
        }
    }
}

/// A digest, an Image's name, or the name of an image in the store, which is not
/// known here: only a near miss of an Image's name is certain to be a mistake.
fn check_image(world: &World<'_>, notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    let image = &pool.spec().image;
    let path = path!["spec", "image"];
    if image.contains(':') {
        if !forms::is_digest(image) {
            notes.add(pool, &path, format!("{image:?} is no digest"), "write sha256: and the 64 hex digits that `boot-server image list` prints, or a name");
        }
        return;
    }
    let is_name = !image.is_empty()
        && image.len() <= 253
        && !image
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '/');
    if !is_name {
        return notes.add(
            pool,
            &path,
            format!("{image:?} is no name of an image"),
            "write the name of an Image, of an image in the store, or a digest",
        );
    }
    let known = world.names(Kind::Image);
    let near = words::nearest(image, known.iter().copied());
    if let Some(near) =
        near.filter(|_| !known.contains(image.as_str()) && world.images().count() == known.len())
    {
        // An image of the store may well have a version after its name.
        let differs_by_letters = image
            .bytes()
            .filter(u8::is_ascii_digit)
            .eq(near.bytes().filter(u8::is_ascii_digit));
        if differs_by_letters {
            notes.add(
                pool,
                &path,
                format!("there is no Image {image:?}"),
                format!("did you mean {near}?"),
            );
        }
    }
}

fn check_match_labels(notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    for (key, value) in &pool.spec().machines.match_labels {
        let path = path!["spec", "machines", "matchLabels", key];
        if let Some(why) = key_mistake(key) {
            notes.add_key(
                pool,
                &path,
                format!("label {key:?}: {why}"),
                "no Machine can have such a label",
            );
        }
        if let Some(why) = value_mistake(value) {
            notes.add(
                pool,
                &path,
                format!("label {key}: {value:?}: {why}"),
                "no Machine can have such a label",
            );
        }
    }
}

/// A client architecture (option 93 has 16 bits) and what it is to load.
fn check_loaders(notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    for (code, loader) in &pool.spec().loaders {
        let path = path!["spec", "loaders", code];
        if code.parse::<u16>().is_err() {
            notes.add_key(
                pool,
                &path,
                format!("{code:?} is no client architecture"),
                "write the code of option 93, such as 0 for BIOS, 7 for x86-64 UEFI, 16 for its HTTP Boot",
            );
        }
        // The boot file field holds 127 characters.
        let is_plain = loader.len() <= 127 && loader.bytes().all(|byte| byte.is_ascii_graphic());
        let leaves = loader.split('/').any(|part| part == "..");
        if loader.is_empty() || !is_plain || leaves {
            notes.add(
                pool,
                &path,
                format!("{loader:?} is no loader"),
                "write the name of a file in the loaders' folder, or a URL, of at most 127 characters",
            );
        }
    }
}

/// The same key and effect with another value, from profile and pool together.
fn check_merged_taints(world: &World<'_>, notes: &mut Notes, pool: Read<'_, NodePoolSpec>) {
    let mut merged = ProfileSpec::default();
    for name in &pool.spec().profiles {
        if let Some(profile) = world.profiles().find(|profile| profile.name() == name) {
            merged.merge(profile.spec());
        }
    }
    let from_profiles = merged.taints;
    let clash = |taint: &Taint, other: &Taint| {
        other.key == taint.key && other.effect == taint.effect && other.value != taint.value
    };
    for (at, taint) in pool.spec().taints.iter().enumerate() {
        if from_profiles.iter().any(|other| clash(taint, other)) {
            let message = format!(
                "a profile of this pool gives taint {} with effect {:?} another value",
                taint.key, taint.effect
            );
            notes.add(
                pool,
                &path!["spec", "taints", at, "key"],
                message,
                "Kubernetes takes a key once for each effect; take one of the two out",
            );
        }
    }
    let first_clash = from_profiles.iter().enumerate().find(|(at, taint)| {
        from_profiles
            .iter()
            .take(*at)
            .any(|other| clash(taint, other))
    });
    if let Some((_, taint)) = first_clash {
        let message = format!(
            "two profiles of this pool give taint {} with effect {:?} different values",
            taint.key, taint.effect
        );
        notes.add(
            pool,
            &path!["spec", "profiles"],
            message,
            "Kubernetes takes a key once for each effect; take one of the two out",
        );
    }
}

fn check_catch_all(world: &World<'_>, notes: &mut Notes) {
    let mut first: Option<Read<'_, NodePoolSpec>> = None;
    for pool in world.pools().filter(|pool| pool.spec().catch_all) {
        match first {
            None => first = Some(pool),
            Some(other) => {
                let path = path!["spec", "catchAll"];
                let message = format!(
                    "NodePool {:?} takes all machines already, at {}",
                    other.name(),
                    other.line(&path)
                );
                notes.add(pool, &path, message, "one pool may say catchAll: true");
            }
        }
    }
}

/// Names, MACs and slots that two pools select.
fn check_twice(world: &World<'_>, notes: &mut Notes) {
    let hint = "a machine belongs to one pool; take it out of the other";
    let mut names = Claims::new("machine", hint);
    let mut macs = Claims::new("MAC", hint);
    let mut slots = Claims::new("slot", hint);
    for pool in world.pools() {
        let selector = &pool.spec().machines;
        let within = |field: &'static str, at: usize| path!["spec", "machines", field, at];
        for (at, name) in selector.names.iter().enumerate() {
            names.claim(notes, pool, &within("names", at), name.clone());
        }
        for (at, mac) in selector.macs.iter().enumerate() {
            let path = within("macs", at);
            if mac.is_usable() {
                macs.claim(notes, pool, &path, *mac);
            } else {
                notes.add(
                    pool,
                    &path,
                    format!("{mac} is no address of one NIC"),
                    "write the address on the NIC's label, or leave the entry out",
                );
            }
        }
        for (at, slot) in selector.slots.iter().enumerate() {
            slots.claim(notes, pool, &within("slots", at), slot.to_lowercase());
        }
    }
}

/// A MAC or slot that a pool selects, of a machine that names another pool.
fn check_given(world: &World<'_>, notes: &mut Notes) {
    for machine in world.machines() {
        let spec = machine.spec();
        let Some(wanted) = &spec.pool else { continue };
        let slot = spec
            .chassis
            .as_ref()
            .zip(spec.slot.as_ref())
            .map(|(chassis, slot)| format!("{chassis}/{slot}").to_lowercase());
        for pool in world.pools().filter(|pool| pool.name() != wanted) {
            let selector = &pool.spec().machines;
            let named = selector
                .names
                .iter()
                .position(|name| name == machine.name())
                .map(|at| ("names", at));
            let by_mac = || {
                selector
                    .macs
                    .iter()
                    .position(|mac| spec.macs.contains(mac))
                    .map(|at| ("macs", at))
            };
            let by_slot = || {
                selector
                    .slots
                    .iter()
                    .position(|text| Some(text.to_lowercase()) == slot)
                    .map(|at| ("slots", at))
            };
            if let Some((field, at)) = named.or_else(by_mac).or_else(by_slot) {
                let path: [Step<'_>; 4] = path!["spec", "machines", field, at];
                let message = format!(
                    "this is Machine {:?}, which names pool {wanted:?} itself, at {}",
                    machine.name(),
                    machine.line(&path!["spec", "pool"])
                );
                notes.add(
                    pool,
                    &path,
                    message,
                    "a machine belongs to one pool; take it out here, or take pool: out there",
                );
            }
        }
    }
}
