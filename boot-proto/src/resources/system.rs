//! Parts of a Profile that are about the running system: users, scripts, what
//! happens after a failed boot.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user of the booted system. One that the image has (`root`) is changed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number; the next free one from 1000 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Number of the own group; the user's number when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Further groups, by name; one that the image has not is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Login shell; `/bin/bash` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Home; `/home/NAME` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Hash of the password in the form of crypt(5), such as `mkpasswd` prints
    /// it. Without one no password is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Public keys that may log in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
}

impl fmt::Debug for User {
    /// A hash can be guessed at: it is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("uid", &self.uid)
            .field("has_password", &self.password_hash.is_some())
            .finish_non_exhaustive()
    }
}

/// A script that runs at a named moment, with what is known of the boot in its
/// environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Script {
    /// Name; scripts of one moment run in the order of their names.
    pub name: String,
    /// When.
    pub when: ScriptMoment,
    /// Its text; begins with `#!`.
    pub content: String,
    /// Seconds it may take; 60 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// What its failure means.
    #[serde(default)]
    pub on_failure: ScriptFailure,
}

/// When a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ScriptMoment {
    /// In the initramfs, with the network up, before the image is fetched. The
    /// initramfs has to carry a shell for it.
    BeforeRoot,
    /// Inside of the configured new root, before its systemd starts.
    InRoot,
    /// In the booted system, when its network is online; before the join.
    AfterNetwork,
}

/// What becomes of a boot whose script failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ScriptFailure {
    /// A warning.
    #[default]
    Warn,
    /// The boot fails.
    Fail,
}

/// Where the SSH host keys of a machine come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum SshHostKeys {
    /// Boot-server gives the machine the same ones at every boot. The default.
    Stable,
    /// The image has them, or makes new ones at every boot.
    Image,
}

/// What happens when a boot fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RecoverySpec {
    /// Restart or wait for a person; restart when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Longest pause in seconds before a restart; pauses grow from 10 s with
    /// each failure in a row. 600 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_pause_seconds: Option<u32>,
    /// Time-out in seconds of the hardware watchdog, where there is one; 0 leaves
    /// it alone. 120 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_seconds: Option<u32>,
}

/// What a machine does whose boot failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// It restarts after a pause.
    Restart,
    /// It stays as it is, with the reason on its console.
    Wait,
}

impl RecoverySpec {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lays `later` over it.
    pub fn merge(&mut self, later: &Self) {
        self.on_failure = later.on_failure.or(self.on_failure);
        self.longest_pause_seconds = later.longest_pause_seconds.or(self.longest_pause_seconds);
        self.watchdog_seconds = later.watchdog_seconds.or(self.watchdog_seconds);
    }
}
