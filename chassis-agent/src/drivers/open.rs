//! From a device to the driver that speaks with it.

use std::sync::Arc;

use boot_proto::hardware_profile::{DriverName, HardwareProfile};

use super::moonshot::Moonshot;
use super::moonshot::rest::MoonshotRest;
use super::redfish::Redfish;
use super::redfish::endpoint::Endpoint;
use super::{ChassisDriver, DriverError};
use crate::config::Target;
use crate::device::Device;
use crate::profiles::{AUTO, Profiles};

/// The driver for a device. Connects only when the profile is `auto`, which
/// takes the profile whose recognition fits the device's answers.
///
/// # Errors
/// When there is no such profile, or with `auto` when the device cannot be
/// reached or none fits.
pub async fn open_device(
    device: &Device,
    profiles: &Profiles,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    match device {
        Device::Cli(target) => open(target, profiles).await,
        Device::Web {
            endpoint,
            profile,
            cli,
        } if profile == AUTO => recognise_web(endpoint, cli.as_ref(), profiles).await,
        Device::Web {
            endpoint,
            profile,
            cli,
        } => open_web(endpoint, cli.as_ref(), named(profiles, profile)?),
        Device::Either { cli, endpoint } if cli.profile == AUTO => {
            recognise_host(cli, endpoint, profiles).await
        }
        Device::Either { cli, endpoint } => {
            let profile = named(profiles, &cli.profile)?;
            match profile.driver {
                DriverName::MoonshotCli => open(cli, profiles).await,
                DriverName::Redfish => open_service(endpoint, profile),
            }
        }
    }
}

/// The driver for a command line over SSH.
///
/// # Errors
/// As [`open_device`].
pub async fn open(
    target: &Arc<Target>,
    profiles: &Profiles,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    if target.profile != AUTO {
        let profile = named(profiles, &target.profile)?;
        return match profile.driver {
            DriverName::MoonshotCli => Ok(Box::new(Moonshot::new(Arc::clone(target), profile)?)),
            DriverName::Redfish => Err(DriverError::Profile(format!(
                "{} is for Redfish services, which need a password and no ssh:// in the address",
                profile.name
            ))),
        };
    }
    let candidates = profiles_for(profiles, DriverName::MoonshotCli);
    if let Some(first) = candidates.first() {
        let driver = Moonshot::new(Arc::clone(target), Arc::clone(first))?;
        if let Some(driver) = driver.recognise(&candidates).await? {
            return Ok(Box::new(driver));
        }
    }
    Err(none_fits(&target.address.to_string(), profiles))
}

fn open_web(
    endpoint: &Endpoint,
    cli: Option<&Arc<Target>>,
    profile: Arc<HardwareProfile>,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    if profile.rest.is_none() {
        return open_service(endpoint, profile);
    }
    Ok(Box::new(MoonshotRest::new(endpoint.clone(), cli, profile)?))
}

/// A Redfish service, else the web interface of a chassis manager from before
/// Redfish. A login that was refused is not tried again.
async fn recognise_web(
    endpoint: &Endpoint,
    cli: Option<&Arc<Target>>,
    profiles: &Profiles,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    let no_redfish = match recognise_service(endpoint, profiles, Redfish::strict).await {
        Ok(driver) => return Ok(driver),
        Err(error @ DriverError::LoginRefused { .. }) => return Err(error),
        Err(error) => error,
    };
    let candidates = profiles_for(profiles, DriverName::MoonshotCli);
    if let Some(driver) = MoonshotRest::recognise(endpoint, cli, &candidates).await? {
        return Ok(Box::new(driver));
    }
    if matches!(
        no_redfish,
        DriverError::Unreachable { .. } | DriverError::TimedOut { .. }
    ) {
        return Err(no_redfish);
    }
    // An iLO 4 with firmware from before Redfish.
    recognise_service(endpoint, profiles, |driver| driver)
        .await
        .map_err(|_| no_redfish)
}

fn open_service(
    endpoint: &Endpoint,
    profile: Arc<HardwareProfile>,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    match profile.driver {
        DriverName::Redfish => Ok(Box::new(Redfish::new(endpoint.clone(), profile)?)),
        DriverName::MoonshotCli => Err(DriverError::Profile(format!(
            "{} is for a command line over SSH; write the address as HOST or HOST:PORT",
            profile.name
        ))),
    }
}

async fn recognise_service(
    endpoint: &Endpoint,
    profiles: &Profiles,
    narrow: fn(Redfish) -> Redfish,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    let candidates = profiles_for(profiles, DriverName::Redfish);
    if let Some(first) = candidates.first() {
        let driver = narrow(Redfish::new(endpoint.clone(), Arc::clone(first))?);
        if let Some(driver) = driver.recognise(&candidates).await? {
            return Ok(Box::new(driver));
        }
    }
    Err(none_fits(&endpoint.address(), profiles))
}

/// A host without a scheme: a command line over SSH, else a Redfish service. A
/// login that was refused is not tried elsewhere, for fear of locking it.
async fn recognise_host(
    target: &Arc<Target>,
    endpoint: &Endpoint,
    profiles: &Profiles,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    let by_ssh = match open(target, profiles).await {
        Ok(driver) => return Ok(driver),
        Err(error @ (DriverError::LoginRefused { .. } | DriverError::HostKeyChanged { .. })) => {
            return Err(error);
        }
        Err(error) => error,
    };
    tracing::debug!(address = endpoint.address(), error = %by_ssh, "no command line, trying Redfish");
    recognise_service(endpoint, profiles, |driver| driver)
        .await
        .map_err(|by_web| neither(&endpoint.address(), by_ssh, by_web))
}

/// What to say of a host that is neither. A way on which nobody answers tells
/// less than one on which somebody does.
fn neither(address: &str, by_ssh: DriverError, by_web: DriverError) -> DriverError {
    let is_away = |error: &DriverError| {
        matches!(
            error,
            DriverError::Unreachable { .. } | DriverError::TimedOut { .. }
        )
    };
    match (is_away(&by_ssh), is_away(&by_web)) {
        (true, true) => DriverError::Unreachable {
            address: address.to_owned(),
            doing: "looking for a command line over SSH and a Redfish service".into(),
            reason: format!("{by_ssh}; {by_web}"),
        },
        (true, false) => by_web,
        (false, true) => by_ssh,
        (false, false) => DriverError::Profile(format!(
            "neither a command line over SSH ({by_ssh}) nor a Redfish service ({by_web})"
        )),
    }
}

fn named(profiles: &Profiles, name: &str) -> Result<Arc<HardwareProfile>, DriverError> {
    profiles
        .named(name)
        .map_err(|error| DriverError::Profile(error.to_string()))
}

fn profiles_for(profiles: &Profiles, driver: DriverName) -> Vec<Arc<HardwareProfile>> {
    profiles
        .all()
        .filter(|profile| profile.driver == driver)
        .map(Arc::clone)
        .collect()
}

fn none_fits(address: &str, profiles: &Profiles) -> DriverError {
    DriverError::Profile(format!(
        "no hardware profile fits the device at {address}; name one with --profile (or profile: \
         in the Chassis): {}",
        profiles.names()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_on_which_nobody_answers_is_away() {
        let away = || DriverError::Unreachable {
            address: "m1:22".into(),
            doing: "connecting".into(),
            reason: "no route".into(),
        };
        let slow = || DriverError::TimedOut {
            address: "m1:443".into(),
            doing: "connecting".into(),
            after: std::time::Duration::from_secs(15),
        };
        let odd = || DriverError::Garbled {
            command: "x".into(),
            problem: "y".into(),
            excerpt: String::new(),
        };
        for (by_ssh, by_web, kind) in [
            (away(), away(), "unreachable"),
            (slow(), away(), "unreachable"),
            (away(), odd(), "garbled"),
            (odd(), slow(), "garbled"),
            (odd(), odd(), "profile"),
        ] {
            let error = neither("m1", by_ssh, by_web);
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
