//! Users, scripts, hosts and recovery of profiles.

use std::collections::BTreeSet;

use super::profiles::{check_key, check_path};
use super::{Notes, Read};
use crate::manifest::node::path;
use crate::resources::{ProfileSpec, Script, User};

pub(super) fn check(notes: &mut Notes, profile: Read<'_, ProfileSpec>) {
    let mut names = BTreeSet::new();
    for (at, user) in profile.spec().users.iter().enumerate() {
        if !names.insert(user.name.as_str()) {
            notes.add(
                profile,
                &path!["spec", "users", at, "name"],
                format!("user {:?} is given twice", user.name),
                "keep one of the two",
            );
        }
        check_user(notes, profile, at, user);
    }
    let mut names = BTreeSet::new();
    for (at, script) in profile.spec().scripts.iter().enumerate() {
        if !names.insert(script.name.as_str()) {
            notes.add(
                profile,
                &path!["spec", "scripts", at, "name"],
                format!("script {:?} is given twice", script.name),
                "keep one of the two",
            );
        }
        check_script(notes, profile, at, script);
    }
    for (address, hosts) in &profile.spec().hosts {
        let key = address.to_string();
        for (at, host) in hosts.iter().enumerate() {
            if crate::ids::name_mistake(&host.to_ascii_lowercase()).is_some() {
                notes.add(
                    profile,
                    &path!["spec", "hosts", &key, at],
                    format!("{host:?} is no host name"),
                    "write letters, digits, dots and dashes",
                );
            }
        }
    }
    if let Some(secs) = profile.spec().recovery.watchdog_seconds {
        // Below that, one slow step of a boot would be taken for a hang.
        if secs != 0 && !(30..=3600).contains(&secs) {
            notes.add(
                profile,
                &path!["spec", "recovery", "watchdogSeconds"],
                format!("a watchdog of {secs} s is out of reach"),
                "write 30 to 3600, or 0 to leave it alone",
            );
        }
    }
}

/// A login name as useradd(8) takes it.
fn is_login(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let begins_well = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    begins_well && name.len() <= 32 && name.bytes().all(is_plain)
}

fn check_user(notes: &mut Notes, profile: Read<'_, ProfileSpec>, at: usize, user: &User) {
    let within = |field: &'static str| path!["spec", "users", at, field];
    if !is_login(&user.name) {
        notes.add(
            profile,
            &within("name"),
            format!("{:?} is no login name", user.name),
            "begin with a lower-case letter; then letters, digits, dashes, 32 at most",
        );
    }
    if user.name == "root" && user.uid.is_some_and(|uid| uid != 0) {
        notes.add(profile, &within("uid"), "root has number 0", "take uid out");
    }
    if user.name != "root" && user.uid == Some(0) {
        notes.add(
            profile,
            &within("uid"),
            "number 0 is root's",
            "write another number",
        );
    }
    for (number, group) in user.groups.iter().enumerate() {
        if !is_login(group) {
            notes.add(
                profile,
                &path!["spec", "users", at, "groups", number],
                format!("{group:?} is no name of a group"),
                "",
            );
        }
    }
    for (field, text) in [("shell", &user.shell), ("home", &user.home)] {
        if let Some(text) = text {
            check_path(notes, profile, &within(field), text);
            if text.contains(':') {
                notes.add(
                    profile,
                    &within(field),
                    "a colon cannot stand in passwd(5)",
                    "",
                );
            }
        }
    }
    if let Some(hash) = &user.password_hash {
        // The text itself is not shown: it is a secret, or worse, a password.
        if !is_password_hash(hash) {
            notes.add(
                profile,
                &within("passwordHash"),
                "this is no password hash",
                "write what mkpasswd prints, such as $y$…; never the password itself",
            );
        }
    }
    for (number, key) in user.ssh_authorized_keys.iter().enumerate() {
        check_key(
            notes,
            profile,
            &path!["spec", "users", at, "sshAuthorizedKeys", number],
            key,
        );
    }
}

/// The form of crypt(5), or `!` and `*` for no password at all.
fn is_password_hash(hash: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b':' | b'!' | b'*' | b';' | b'\\');
    let has_method = hash.starts_with('$') && hash.matches('$').count() >= 2;
    matches!(hash, "!" | "*") || has_method && hash.len() <= 384 && hash.bytes().all(is_plain)
}

fn check_script(notes: &mut Notes, profile: Read<'_, ProfileSpec>, at: usize, script: &Script) {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = script.name.as_str();
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) || name.starts_with('.') {
        notes.add(
            profile,
            &path!["spec", "scripts", at, "name"],
            format!("{name:?} is no name of a script"),
            "write letters, digits, dots, dashes and underscores, such as 10-raid",
        );
    }
    if !script.content.starts_with("#!/") {
        notes.add(
            profile,
            &path!["spec", "scripts", at, "content"],
            "the script does not say what runs it",
            "begin with a line such as #!/bin/sh",
        );
    }
    if script
        .timeout_seconds
        .is_some_and(|secs| !(1..=3600).contains(&secs))
    {
        notes.add(
            profile,
            &path!["spec", "scripts", at, "timeoutSeconds"],
            "a time-out is 1 to 3600 s",
            "",
        );
    }
}
