//! From what an operator wrote to a device that can be opened: a command line
//! over SSH, a web service, or a host that may have either.

use std::path::Path;
use std::sync::Arc;

use boot_proto::resources::{ChassisSpec, Object};

use crate::config::{Address, ConfigError, Login, Target, target_of};
use crate::drivers::redfish::endpoint::{Endpoint, Fingerprint, TlsPolicy, parse_base};

/// Where a device is and how to log in.
#[derive(Clone, Debug)]
pub enum Device {
    /// Its address says SSH, or there is no password for anything else.
    Cli(Arc<Target>),
    /// Its address is a URL.
    Web {
        /// The service.
        endpoint: Box<Endpoint>,
        /// Hardware profile, or `auto`.
        profile: String,
        /// The command line of the same host, where a chassis manager has one
        /// beside its web interface.
        cli: Option<Arc<Target>>,
    },
    /// Its address is a host; the profile tells what is there.
    Either {
        /// As a command line over SSH.
        cli: Arc<Target>,
        /// As a web service.
        endpoint: Box<Endpoint>,
    },
}

/// Whether an address is that of a web service.
#[must_use]
pub fn is_url(address: &str) -> bool {
    let address = address.trim().to_ascii_lowercase();
    address.starts_with("http://") || address.starts_with("https://")
}

/// A web service as an operator describes it.
///
/// # Errors
/// When the address is wrong or the login has no password.
pub fn endpoint(address: &str, login: &Login, tls: TlsPolicy) -> Result<Endpoint, ConfigError> {
    let password = login.password.clone().ok_or(ConfigError::Login(
        "the login to a web service needs a password: give --password-file, or passwordFile in the \
         Chassis' credentials",
    ))?;
    Ok(Endpoint {
        base: parse_base(address)?,
        user: login.user.clone(),
        password,
        tls,
    })
}

/// A host that may have a command line or a web service.
#[must_use]
pub fn host(cli: Target, address: &str, tls: TlsPolicy) -> Device {
    let is_ssh = address.trim().starts_with("ssh://");
    match endpoint(address, &cli.login, tls) {
        Ok(endpoint) if !is_ssh => Device::Either {
            cli: Arc::new(cli),
            endpoint: Box::new(endpoint),
        },
        _ => Device::Cli(Arc::new(cli)),
    }
}

/// Where the command line of a web service's host is, if it has one.
///
/// # Errors
/// When the host is none that can be connected to.
pub fn command_line_of(endpoint: &Endpoint) -> Result<Address, ConfigError> {
    endpoint.base.host_str().unwrap_or_default().parse()
}

/// What a Chassis manifest says, with the files it names read.
///
/// Relative paths start at `folder`, the manifests' folder; `known_hosts`
/// records host keys of chassis without a pinned one.
///
/// # Errors
/// When the address is wrong or the login cannot be read.
pub fn device_of(
    chassis: &Object<ChassisSpec>,
    folder: &Path,
    known_hosts: &Path,
) -> Result<Device, ConfigError> {
    let spec = &chassis.spec;
    let tls = match (spec.insecure, &spec.certificate) {
        (true, _) => TlsPolicy::Any,
        (false, Some(fingerprint)) => TlsPolicy::Pinned(Fingerprint::parse(fingerprint)?),
        (false, None) => TlsPolicy::System,
    };
    if !is_url(&spec.address) {
        let target = target_of(chassis, folder, known_hosts)?;
        return Ok(host(target, &spec.address, tls));
    }
    let login = crate::config::login_of(&spec.credentials, folder)?;
    let endpoint = endpoint(&spec.address, &login, tls)?;
    let cli = Target {
        address: command_line_of(&endpoint)?,
        profile: spec.profile.clone(),
        login,
        host_key: crate::config::host_key_of(spec, known_hosts),
        legacy_algorithms: spec.legacy_algorithms,
    };
    Ok(Device::Web {
        endpoint: Box::new(endpoint),
        profile: spec.profile.clone(),
        cli: Some(Arc::new(cli)),
    })
}
