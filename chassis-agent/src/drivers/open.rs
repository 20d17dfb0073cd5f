//! From a target to the driver that speaks with it.

use std::sync::Arc;

use boot_proto::hardware_profile::{DriverName, HardwareProfile};

use super::moonshot::Moonshot;
use super::{ChassisDriver, DriverError};
use crate::config::Target;
use crate::profiles::{AUTO, Profiles};

/// The driver for a target. Connects only when the profile is `auto`, which
/// takes the first profile whose recognition fits the device's answers.
///
/// # Errors
/// When there is no such profile, or with `auto` when the device cannot be
/// reached or none fits.
pub async fn open(
    target: &Arc<Target>,
    profiles: &Profiles,
) -> Result<Box<dyn ChassisDriver>, DriverError> {
    if target.profile != AUTO {
        let profile = profiles
            .named(&target.profile)
            .map_err(|error| DriverError::Profile(error.to_string()))?;
        return match profile.driver {
            DriverName::MoonshotCli => Ok(Box::new(Moonshot::new(Arc::clone(target), profile)?)),
            DriverName::Redfish => Err(DriverError::Profile(format!(
                "{} is for Redfish services; write the address as https://HOST",
                profile.name
            ))),
        };
    }
    let candidates: Vec<Arc<HardwareProfile>> = profiles
        .all()
        .filter(|profile| matches!(profile.driver, DriverName::MoonshotCli))
        .map(Arc::clone)
        .collect();
    if let Some(first) = candidates.first() {
        let driver = Moonshot::new(Arc::clone(target), Arc::clone(first))?;
        if let Some(driver) = driver.recognise(&candidates).await? {
            return Ok(Box::new(driver));
        }
    }
    Err(DriverError::Profile(format!(
        "no hardware profile fits the device at {}; name one with --profile (or profile: in the \
         Chassis): {}",
        target.address,
        profiles.names()
    )))
}
