//! The Redfish driver against virtual BMCs made of captures.

mod agent;
mod captures;
mod cli;
mod devices;
mod faults;
mod fragments;
mod login;
mod new_model;
mod orders;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use boot_proto::hardware_profile::HardwareProfile;
use boot_proto::quantity::Span;
use boot_proto::redfish_rules::RedfishRules;
use chassis_agent::config::Secret;
use chassis_agent::drivers::redfish::Redfish;
use chassis_agent::drivers::redfish::endpoint::{Endpoint, TlsPolicy, parse_base};
use chassis_agent::profiles::Profiles;
use moonfarm_tests::needs::is_met;
use moonfarm_tests::redfish::VirtualBmc;

/// The folder with the captures of one device; prints the reason where it is
/// not there.
fn capture(name: &str) -> Option<PathBuf> {
    let folder = hardware().join("redfish").join(name);
    let missing = (!folder.is_dir()).then(|| {
        format!(
            "{} is not there: set MOONFARM_HARDWARE to the captures",
            folder.display()
        )
    });
    is_met(missing).then_some(folder)
}

/// `$MOONFARM_HARDWARE`, by default `shared/hardware` beside the checkout.
fn hardware() -> PathBuf {
    std::env::var_os("MOONFARM_HARDWARE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hardware"),
        PathBuf::from,
    )
}

fn profiles() -> Profiles {
    Profiles::built_in().unwrap()
}

/// A built-in profile that does not wait between two attempts.
fn hasty(name: &str, change: impl FnOnce(&mut RedfishRules)) -> Arc<HardwareProfile> {
    let mut profile = HardwareProfile::clone(&profiles().named(name).unwrap());
    let rules = Arc::make_mut(profile.redfish.as_mut().unwrap());
    rules.http.pause = Span(0);
    rules.power.pause = Span(0);
    rules.boot.pause = Span(0);
    change(rules);
    Arc::new(profile)
}

fn endpoint(bmc: &VirtualBmc) -> Endpoint {
    Endpoint {
        base: parse_base(&bmc.url()).unwrap(),
        user: "admin".into(),
        password: Secret::new("secret".into()),
        tls: TlsPolicy::System,
    }
}

fn driver(bmc: &VirtualBmc, profile: &str) -> Redfish {
    Redfish::new(endpoint(bmc), hasty(profile, |_| {})).unwrap()
}
