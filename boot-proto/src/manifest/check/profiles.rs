//! Profiles: what they write into a node must have the form that Linux, systemd
//! and the kubelet take. And labels and taints of machines, which are alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::kubernetes::{check_labels, check_taints};
use super::{Notes, Read, World, forms};
use crate::manifest::node::{Step, path};
use crate::resources::ProfileSpec;

/// What systemd calls a unit's type (systemd.unit(5)).
const UNIT_SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// Kubelet arguments that Moonfarm gives itself, and where to say it instead.
const OWN_ARGUMENTS: [(&str, &str); 5] = [
    ("node-labels", "use labels of the profile, pool or machine"),
    (
        "register-with-taints",
        "use taints of the profile, pool or machine",
    ),
    ("hostname-override", "use hostname of the machine or pool"),
    ("kubeconfig", "kubeadm writes it"),
    ("bootstrap-kubeconfig", "kubeadm writes it"),
];

/// All profiles, and machines' labels and taints.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    for machine in world.machines() {
        check_labels(
            notes,
            machine,
            &path!["spec", "labels"],
            &machine.spec().labels,
        );
        check_taints(
            notes,
            machine,
            &path!["spec", "taints"],
            &machine.spec().taints,
        );
        // Selectors can only match what is a label.
        check_labels(
            notes,
            machine,
            &path!["metadata", "labels"],
            &machine.object.metadata.labels,
        );
    }
    for profile in world.profiles() {
        check_labels(
            notes,
            profile,
            &path!["spec", "labels"],
            &profile.spec().labels,
        );
        check_taints(
            notes,
            profile,
            &path!["spec", "taints"],
            &profile.spec().taints,
        );
        check_kernel(notes, profile);
        check_tmpfs(notes, profile);
        check_image_servers(notes, profile);
        check_files(notes, profile);
        check_units(notes, profile);
        check_system(notes, profile);
        check_kubelet(notes, profile);
        super::accounts::check(notes, profile);
        super::storage::check(notes, profile);
        super::network::check_profile(notes, profile);
        forms::check_dhcp_options(notes, profile, &profile.spec().dhcp_options);
    }
    for image in world.images() {
        check_arguments(notes, image, &image.spec().kernel_arguments);
    }
}

fn check_arguments<S>(notes: &mut Notes, read: Read<'_, S>, arguments: &[String]) {
    for (at, argument) in arguments.iter().enumerate() {
        let path = path!["spec", "kernelArguments", at];
        // In quotes a blank is part of the argument (kernel: lib/cmdline.c).
        let mut is_quoted = false;
        let has_blank = argument.chars().any(|c| {
            is_quoted ^= c == '"';
            c.is_control() || (c.is_whitespace() && !is_quoted)
        });
        if argument.is_empty() || has_blank || is_quoted {
            let hint = "write one argument a list item, such as console=ttyS0,115200; a value with blanks stands in double quotes";
            notes.add(
                read,
                &path,
                format!("{argument:?} is not one kernel argument"),
                hint,
            );
        }
    }
}

fn check_kernel(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let spec = profile.spec();
    check_arguments(notes, profile, &spec.kernel_arguments);
    for (at, module) in spec.modules.iter().enumerate() {
        let name = module.split(' ').next().unwrap_or_default();
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !is_name || module.chars().any(char::is_control) {
            notes.add(
                profile,
                &path!["spec", "modules", at],
                format!("{module:?} is no kernel module"),
                "write the module's name and, after a blank, its options",
            );
        }
    }
    check_module_options(notes, profile);
    for (key, value) in &spec.sysctls {
        let path = path!["spec", "sysctls", key];
        let parts_are_plain = key.split(['.', '/']).all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'@'))
        });
        if !parts_are_plain || !key.contains(['.', '/']) {
            notes.add_key(
                profile,
                &path,
                format!("{key:?} is no sysctl"),
                "write a name such as net.ipv4.ip_forward",
            );
        }
        if value.chars().any(char::is_control)
            && !value
                .trim_end()
                .chars()
                .all(|c| c == '\t' || !c.is_control())
        {
            notes.add(
                profile,
                &path,
                format!("the value of {key} has more than one line"),
                "write one value",
            );
        }
    }
    if let Some(mtu) = spec.mtu.filter(|mtu| !(576..=65_535).contains(mtu)) {
        notes.add(
            profile,
            &path!["spec", "mtu"],
            format!("an MTU of {mtu} bytes is out of reach"),
            "write 576 to 65535, such as 9000",
        );
    }
}

fn check_module_options(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    for (module, options) in &profile.spec().module_options {
        let path = path!["spec", "moduleOptions", module];
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if module.is_empty() || !module.bytes().all(is_plain) {
            notes.add_key(
                profile,
                &path,
                format!("{module:?} is no kernel module"),
                "write the module's name, such as mlx4_core",
            );
        }
        if options.trim().is_empty() || options.chars().any(char::is_control) {
            notes.add(
                profile,
                &path,
                format!("{options:?} are no options"),
                "write them in one line, such as num_vfs=8 probe_vf=0",
            );
        }
    }
}

/// The node agent resolves no names, and adds the path itself.
fn check_image_servers(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    for (at, server) in profile.spec().image_servers.iter().enumerate() {
        let rest = server
            .strip_prefix("http://")
            .or_else(|| server.strip_prefix("https://"));
        let authority = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let is_address = authority.is_some_and(|authority| {
            let bare = authority.trim_start_matches('[').trim_end_matches(']');
            authority.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
        });
        if !is_address {
            notes.add(
                profile,
                &path!["spec", "imageServers", at],
                format!("{server:?} is no server that a node could ask"),
                "write scheme, IP address and port, such as http://10.0.0.2:8080",
            );
        }
    }
}

fn check_tmpfs(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let spec = profile.spec();
    if spec.overlay_size.is_some_and(|size| size.0 == 0) {
        notes.add(
            profile,
            &path!["spec", "overlaySize"],
            "a size of 0 leaves no room to write",
            "write a size such as 512Mi",
        );
    }
    let mut seen = Seen::default();
    for (at, mount) in spec.tmpfs.iter().enumerate() {
        let within = |field: &'static str| path!["spec", "tmpfs", at, field];
        check_path(notes, profile, &within("path"), &mount.path);
        seen.check(notes, profile, &within("path"), &mount.path);
        if mount.size.0 == 0 {
            notes.add(
                profile,
                &within("size"),
                "a tmpfs of size 0 has no limit",
                "write a size such as 512Mi",
            );
        }
        check_mode(
            notes,
            profile,
            &within("mode"),
            mount.mode.as_deref(),
            "\"0755\"",
        );
    }
}

fn check_files(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let mut seen = Seen::default();
    for (at, file) in profile.spec().files.iter().enumerate() {
        let within = |field: &'static str| path!["spec", "files", at, field];
        check_path(notes, profile, &within("path"), &file.path);
        seen.check(notes, profile, &within("path"), &file.path);
        check_mode(
            notes,
            profile,
            &within("mode"),
            file.mode.as_deref(),
            "\"0644\"",
        );
        let is_id = |id: &str| {
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) && id.parse::<u32>().is_ok()
        };
        let is_owner = |owner: &str| {
            owner
                .split_once(':')
                .is_some_and(|(user, group)| is_id(user) && is_id(group))
        };
        if let Some(owner) = file.owner.as_deref().filter(|owner| !is_owner(owner)) {
            notes.add(
                profile,
                &within("owner"),
                format!("{owner:?} is no owner"),
                "write user and group by number, such as \"0:0\"",
            );
        }
    }
}

fn check_units(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let mut seen = Seen::default();
    for (at, unit) in profile.spec().units.iter().enumerate() {
        let path = path!["spec", "units", at, "name"];
        let is_name = unit.name.rsplit_once('.').is_some_and(|(stem, suffix)| {
            let is_plain = |b: u8| {
                b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
            };
            !stem.is_empty() && stem.bytes().all(is_plain) && UNIT_SUFFIXES.contains(&suffix)
        });
        if !is_name || unit.name.len() > 255 {
            notes.add(
                profile,
                &path,
                format!("{:?} is no unit name", unit.name),
                "write the name with its suffix, such as chrony.service",
            );
        }
        seen.check(notes, profile, &path, &unit.name);
        if unit.masked && (unit.enabled == Some(true) || unit.content.is_some()) {
            let message = format!(
                "{} is masked, so it cannot be enabled or written",
                unit.name
            );
            notes.add(
                profile,
                &path!["spec", "units", at, "masked"],
                message,
                "take masked out, or enabled and content",
            );
        }
    }
}

fn check_system(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let spec = profile.spec();
    if let Some(zone) = &spec.time_zone {
        let is_plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
        };
        if !zone.split('/').all(is_plain) {
            notes.add(
                profile,
                &path!["spec", "timeZone"],
                format!("{zone:?} is no time zone"),
                "write an IANA name such as Europe/Prague or UTC",
            );
        }
    }
    for (at, key) in spec.ssh_authorized_keys.iter().enumerate() {
        check_key(notes, profile, &path!["spec", "sshAuthorizedKeys", at], key);
    }
}

/// A public key that may log in.
pub(super) fn check_key(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    path: &[Step<'_>],
    key: &str,
) {
    if key.contains("PRIVATE KEY") {
        notes.add(
            profile,
            path,
            "this is a private key",
            "write the public one, the text of the file that ends in .pub; and make a new pair",
        );
    } else if !is_public_key(key) {
        notes.add(
            profile,
            path,
            "this is no SSH public key",
            "write the text of the file that ends in .pub in one line: ssh-ed25519 AAAA… name",
        );
    }
}

/// A line of `authorized_keys` (sshd(8)): options may stand before the key's type.
fn is_public_key(line: &str) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_type = |word: &str| {
        word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
    };
    let has_key = words
        .windows(2)
        .any(|pair| is_type(pair[0]) && pair[1].starts_with("AAAA") && forms::is_base64(pair[1]));
    has_key && !line.trim_end().contains(['\n', '\r'])
}

fn check_kubelet(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    for (key, value) in &profile.spec().kubelet_arguments {
        let path = path!["spec", "kubeletArguments", key];
        let is_name = key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && key.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if key.starts_with('-') {
            notes.add_key(
                profile,
                &path,
                format!("{key:?} begins with a dash"),
                format!("write {}", key.trim_start_matches('-')),
            );
        } else if !is_name {
            notes.add_key(
                profile,
                &path,
                format!("{key:?} is no kubelet argument"),
                "write its name without dashes in front, such as max-pods",
            );
        }
        if let Some((_, hint)) = OWN_ARGUMENTS.iter().find(|(own, _)| own == key) {
            notes.add_key(
                profile,
                &path,
                format!("Moonfarm gives the kubelet {key} itself"),
                *hint,
            );
        }
        if value.chars().any(char::is_control) {
            notes.add(
                profile,
                &path,
                format!("the value of {key} has more than one line"),
                "write one value",
            );
        }
    }
}

pub(super) fn check_path(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    path: &[Step<'_>],
    text: &str,
) {
    if !forms::is_absolute_path(text) {
        notes.add(
            profile,
            path,
            format!("{text:?} is no absolute path"),
            "begin with '/', and write it without '..', '.' and double or closing slashes",
        );
    }
}

fn check_mode(
    notes: &mut Notes,
    profile: Read<'_, ProfileSpec>,
    path: &[Step<'_>],
    mode: Option<&str>,
    example: &str,
) {
    if let Some(mode) = mode.filter(|mode| !forms::is_mode(mode)) {
        notes.add(
            profile,
            path,
            format!("{mode:?} is no octal mode"),
            format!("write three or four digits from 0 to 7 in quotes, such as {example}"),
        );
    }
}

/// Things that one profile may name once: the second would silently win.
#[derive(Default)]
struct Seen<'a>(BTreeMap<&'a str, String>);

impl<'a> Seen<'a> {
    fn check(
        &mut self,
        notes: &mut Notes,
        profile: Read<'a, ProfileSpec>,
        path: &[Step<'_>],
        name: &'a str,
    ) {
        if !profile.is_sound(path) {
            return;
        }
        match self.0.get(name) {
            Some(line) => notes.add(
                profile,
                path,
                format!("{name:?} is given twice, first at {line}"),
                "keep one of the two",
            ),
            None => drop(self.0.insert(name, profile.line(path))),
        }
    }
}
