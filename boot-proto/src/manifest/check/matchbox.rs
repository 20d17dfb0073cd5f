//! Matchbox's groups and profiles: names that lead nowhere, selectors that can
//! match nothing, texts that no boot script may hold.

use super::{Notes, Read, World};
use crate::manifest::node::{Step, path};
use crate::matchbox::normal_mac;
use crate::resources::{Kind, MAX_TEMPLATE_BYTES, MatchboxProfileSpec};

pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    let known = world.names(Kind::MatchboxProfile);
    for group in world.matchbox_groups() {
        let profile = group.spec().profile.as_str();
        if !known.contains(profile) {
            let path = path!["spec", "profile"];
            notes.unknown(group, &path, Kind::MatchboxProfile, profile, known);
        }
        for (key, value) in &group.spec().selector {
            if key.eq_ignore_ascii_case("mac") && normal_mac(value).is_none() {
                notes.add(
                    group,
                    &path!["spec", "selector", key],
                    format!("{value:?} is no MAC"),
                    "write six octets, such as 52:54:00:a1:9c:ae",
                );
            }
        }
    }
    for profile in world.matchbox_profiles() {
        check_boot(notes, profile);
        check_templates(notes, profile);
    }
}

fn check_boot(notes: &mut Notes, profile: Read<'_, MatchboxProfileSpec>) {
    let boot = &profile.spec().boot;
    let mut check = |path: &[Step<'_>], text: &str| {
        if text.chars().any(char::is_control) {
            notes.add(
                profile,
                path,
                "it holds a line end or another control character, which would end the line of \
                 the boot script",
                "write it in one line",
            );
        }
    };
    check(&path!["spec", "boot", "kernel"], &boot.kernel);
    for (at, text) in boot.initrd.iter().enumerate() {
        check(&path!["spec", "boot", "initrd", at], text);
    }
    for (at, text) in boot.args.iter().enumerate() {
        check(&path!["spec", "boot", "args", at], text);
    }
}

fn check_templates(notes: &mut Notes, profile: Read<'_, MatchboxProfileSpec>) {
    let spec = profile.spec();
    let templates = [
        ("ignition", &spec.ignition),
        ("cloud", &spec.cloud),
        ("generic", &spec.generic),
    ];
    for (field, template) in templates {
        let size = template.as_ref().map_or(0, |template| template.text.len());
        if size > MAX_TEMPLATE_BYTES {
            notes.add(
                profile,
                &path!["spec", field, "text"],
                format!("the template has {size} bytes, and {MAX_TEMPLATE_BYTES} is the most"),
                "let the config fetch large files from /assets",
            );
        }
    }
}
