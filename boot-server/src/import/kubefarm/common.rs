//! `ltsp.config`: what every node gets.

use boot_proto::resources::{FileEntry, ProfileSpec, Unit, User};
use serde_json::Value;

use super::netplan;
use super::values::{at, entries, items, text, text_at};
use crate::import::Findings;

/// Timers of apt that kubefarm masks unless told otherwise.
const APT_TIMERS: [&str; 2] = ["apt-daily.timer", "apt-daily-upgrade.timer"];

/// All of `ltsp.config` but its options, which are variables.
pub(super) fn read(values: &Value, findings: &mut Findings) -> ProfileSpec {
    let config = at(values, &["ltsp", "config"]);
    let texts = |key| -> Vec<String> {
        let items = items(at(config, &[key])).iter();
        items
            .filter_map(text)
            .map(|it| it.trim().to_owned())
            .collect()
    };
    let mut profile = ProfileSpec {
        time_zone: text_at(config, &["timezone"]),
        ssh_authorized_keys: texts("sshAuthorizedKeys"),
        modules: texts("modules"),
        sysctls: entries(at(config, &["sysctls"]))
            .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
            .collect(),
        ..ProfileSpec::default()
    };
    if at(config, &["disableAutoupdate"]) == &Value::Bool(true) {
        profile.units.extend(APT_TIMERS.map(|name| Unit {
            name: name.into(),
            content: None,
            enabled: None,
            masked: true,
        }));
    }
    if let Some(hash) = text_at(config, &["rootPasswd"]) {
        findings.changed(
            "ltsp.config.rootPasswd",
            "root has the password; whether sshd takes it is the image's to say",
        );
        profile.users.push(root_with(hash));
    }
    for (name, content) in entries(at(config, &["extraFiles"])) {
        file(
            name,
            text(content).unwrap_or_default(),
            &mut profile,
            findings,
        );
    }
    profile
}

fn root_with(hash: String) -> User {
    User {
        name: "root".into(),
        uid: None,
        gid: None,
        groups: Vec::new(),
        shell: None,
        home: None,
        password_hash: Some(hash),
        ssh_authorized_keys: Vec::new(),
    }
}

/// A file in /etc/ltsp. Units are installed and enabled as well, so these are
/// units only.
fn file(name: &str, content: String, profile: &mut ProfileSpec, findings: &mut Findings) {
    if name.ends_with(".service") {
        return profile.units.push(Unit {
            name: name.into(),
            content: Some(content),
            enabled: Some(true),
            masked: false,
        });
    }
    if let Some(network) = netplan::read(&content) {
        findings.changed(
            format!("ltsp.config.extraFiles.{name}"),
            "what it writes for netplan is the Profile's network; the script itself is not needed",
        );
        return profile.network.merge(&network);
    }
    if name.ends_with(".sh") {
        findings.changed(
            format!("ltsp.config.extraFiles.{name}"),
            "the file is written, and nothing runs it: what it does belongs into a Profile",
        );
    }
    profile.files.push(FileEntry {
        path: format!("/etc/ltsp/{name}"),
        content,
        mode: None,
        owner: None,
    });
}
