//! `Chassis`: a chassis manager or BMC.

use serde::{Deserialize, Serialize};

use super::machine::Condition;
use crate::quantity::Span;
use crate::time::WallClock;

/// A chassis manager or BMC and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Chassis",
        plural = "chassis",
        shortname = "ch",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ChassisStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChassisSpec {
    /// `host`, `host:port`, or an `https://` URL.
    pub address: String,
    /// Hardware profile, such as `hpe-moonshot-1500`, or `auto`.
    #[serde(default = "auto")]
    pub profile: String,
    /// Where user name and password or key are. Never inline.
    pub credentials: Credentials,
    /// SSH host key fingerprint, `SHA256:…`. Without it the key seen first is
    /// recorded, and a change refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// SHA-256 fingerprint of the TLS certificate, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Take any host key or certificate. For laboratories only.
    #[serde(default)]
    pub insecure: bool,
    /// Offer SSH algorithms that are no longer safe, for old firmware.
    #[serde(default)]
    pub legacy_algorithms: bool,
    /// How often the inventory is read.
    #[serde(default = "scan_interval")]
    pub scan_interval: Span,
    /// How often the power state is read.
    #[serde(default = "power_interval")]
    pub power_interval: Span,
    /// The pool of machines found in it that no pool names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

fn auto() -> String {
    "auto".into()
}

const fn scan_interval() -> Span {
    Span(300)
}

const fn power_interval() -> Span {
    Span(30)
}

/// Where the login of a chassis manager or BMC is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Credentials {
    /// User name; may be left out where a Secret has it under `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File whose first line is the password. A relative path starts at the
    /// manifest folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// File with an OpenSSH private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<String>,
    /// Name of a Kubernetes Secret with `username`, `password` or `ssh-privatekey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What is known of a chassis manager or BMC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChassisStatus {
    /// When it was last read without an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<WallClock>,
    /// Machines in it at the last scan.
    pub machines: u32,
    /// Hardware profile in use, where it was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is wrong, in words, and since when.
    pub conditions: Vec<Condition>,
}
