//! Where a chassis is and how to log in: what an operator wrote -> what the
//! drivers can trust.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use boot_proto::resources::{ChassisSpec, Credentials, Object};

use crate::drivers::redfish::endpoint::EndpointError;

/// What an operator wrote does not say enough, or cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address is none.
    #[error("{0:?} is not an address: write HOST, HOST:PORT or [IPV6]:PORT")]
    Address(String),
    /// An address of another kind of device.
    #[error(
        "{0:?} is the address of a web service; here HOST or HOST:PORT of a command line over SSH \
         is wanted"
    )]
    Url(String),
    /// A file with a secret cannot be read.
    #[error("reading {what} from {}", path.display())]
    File {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file has nothing in it.
    #[error("{what} is empty: the first line of {} has nothing in it", path.display())]
    Empty {
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// The private key cannot be used.
    #[error("{} is no usable private key: {reason}; it must be an OpenSSH or PEM key without a passphrase", path.display())]
    PrivateKey {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no login.
    #[error("{0}")]
    Login(&'static str),
    /// The address or the certificate of a web service is wrong.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// Port of SSH, RFC 4253 §4.1.
const SSH_PORT: u16 = 22;

/// Host and port of a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = ConfigError;

    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port`, a bare IPv6 address, and
    /// the same with `ssh://` in front.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Address(text.chars().take(120).collect());
        let trimmed = text.trim();
        if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
            return Err(ConfigError::Url(trimmed.chars().take(120).collect()));
        }
        let bare = trimmed
            .strip_prefix("ssh://")
            .unwrap_or(trimmed)
            .trim_end_matches('/');
        let (host, port) = if bare.parse::<Ipv6Addr>().is_ok() {
            (bare, None)
        } else if let Some(rest) = bare.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(wrong()),
            }
        } else {
            bare.split_once(':')
                .map_or((bare, None), |(host, port)| (host, Some(port)))
        };
        let port = match port {
            None => SSH_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?,
        };
        // A user name belongs into --user; silently taking it as host is worse.
        let is_host = |c: char| !c.is_whitespace() && !c.is_control() && !"/@[]".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who logs in, and with what.
#[derive(Clone, Debug)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password, if there is one.
    pub password: Option<Secret>,
    /// Private key, if there is one; tried before the password.
    pub private_key: Option<std::sync::Arc<russh::keys::PrivateKey>>,
}

/// How the device's host key is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Any key will do.
    Any,
    /// This fingerprint, `SHA256:…`.
    Pinned(String),
    /// The key seen first, recorded in this file.
    FirstContact(PathBuf),
}

/// Everything a driver needs to talk to one device.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// Hardware profile, or `auto`.
    pub profile: String,
    /// Login.
    pub login: Login,
    /// Host key.
    pub host_key: HostKeyPolicy,
    /// Whether to offer algorithms that are no longer safe.
    pub legacy_algorithms: bool,
}

/// Where the files of a login are; `None` for what there is not.
#[derive(Clone, Copy, Debug)]
pub struct LoginFiles<'a> {
    /// User name.
    pub user: Option<&'a str>,
    /// File whose first line is the password.
    pub password: Option<&'a Path>,
    /// File with a private key.
    pub private_key: Option<&'a Path>,
}

impl LoginFiles<'_> {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read or is empty, or when there is no login at all.
    pub fn read(self) -> Result<Login, ConfigError> {
        let user = self
            .user
            .filter(|user| !user.is_empty())
            .ok_or(ConfigError::Login(
                "the login has no user name: give --user, or credentials.username of the Chassis",
            ))?;
        if self.password.is_none() && self.private_key.is_none() {
            return Err(ConfigError::Login(
                "the login has neither password nor key: give --password-file or \
                 --private-key-file, or passwordFile or privateKeyFile in the Chassis' credentials",
            ));
        }
        let password = self
            .password
            .map(|path| read_secret("the password", path))
            .transpose()?;
        let private_key = self.private_key.map(read_private_key).transpose()?;
        Ok(Login {
            user: user.to_owned(),
            password,
            private_key,
        })
    }
}

/// The first line of a file.
///
/// # Errors
/// When the file cannot be read or its first line is empty.
pub fn read_secret(what: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let text = read_small(what, path)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(ConfigError::Empty {
            what,
            path: path.to_owned(),
        });
    }
    Ok(Secret::new(line.to_owned()))
}

fn read_private_key(path: &Path) -> Result<std::sync::Arc<russh::keys::PrivateKey>, ConfigError> {
    let text = read_small("the private key", path)?;
    russh::keys::decode_secret_key(&text, None)
        .map(std::sync::Arc::new)
        .map_err(|error| ConfigError::PrivateKey {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// Reads a file that must be small: a wrong path may name a disk.
fn read_small(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    const MOST: u64 = 64 * 1024;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(|source| ConfigError::File {
            what,
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

/// The login that a Chassis names, with its files read.
///
/// # Errors
/// When a file cannot be read, or there is no login.
pub fn login_of(credentials: &Credentials, folder: &Path) -> Result<Login, ConfigError> {
    if credentials.secret.is_some()
        && credentials.password_file.is_none()
        && credentials.private_key_file.is_none()
    {
        return Err(ConfigError::Login(
            "credentials.secret names a Kubernetes Secret, which is not readable from a folder of \
             manifests; give passwordFile or privateKeyFile",
        ));
    }
    let password = credentials
        .password_file
        .as_deref()
        .map(|path| folder.join(path));
    let private_key = credentials
        .private_key_file
        .as_deref()
        .map(|path| folder.join(path));
    LoginFiles {
        user: credentials.username.as_deref(),
        password: password.as_deref(),
        private_key: private_key.as_deref(),
    }
    .read()
}

/// What a Chassis manifest says, with the files it names read.
///
/// Relative paths start at `folder`, the manifests' folder; `known_hosts`
/// records host keys of chassis without a pinned one.
///
/// # Errors
/// When the address is wrong or the login cannot be read.
pub fn target_of(
    chassis: &Object<ChassisSpec>,
    folder: &Path,
    known_hosts: &Path,
) -> Result<Target, ConfigError> {
    let spec = &chassis.spec;
    let login = login_of(&spec.credentials, folder)?;
    let host_key = host_key_of(spec, known_hosts);
    Ok(Target {
        address: spec.address.parse()?,
        profile: spec.profile.clone(),
        login,
        host_key,
        legacy_algorithms: spec.legacy_algorithms,
    })
}

/// How a Chassis wants its host key checked.
#[must_use]
pub fn host_key_of(spec: &ChassisSpec, known_hosts: &Path) -> HostKeyPolicy {
    match (spec.insecure, &spec.host_key) {
        (true, _) => HostKeyPolicy::Any,
        (false, Some(fingerprint)) => HostKeyPolicy::Pinned(fingerprint.clone()),
        (false, None) => HostKeyPolicy::FirstContact(known_hosts.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, printed) in [
            ("moonshot1", "moonshot1:22"),
            ("10.0.0.1:2222", "10.0.0.1:2222"),
            ("ssh://10.0.0.1", "10.0.0.1:22"),
            ("fe80::1", "[fe80::1]:22"),
            ("[fe80::1]:23", "[fe80::1]:23"),
            (" [fe80::1] ", "[fe80::1]:22"),
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap().to_string(),
                printed,
                "{text}"
            );
        }
        for text in [
            "",
            ":22",
            "a:b",
            "a:0",
            "a:70000",
            "a b",
            "[x]:1",
            "[::1]x",
            "root@a",
            "https://a",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_the_first_line_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p w\r\nrest\n").unwrap();
        let secret = read_secret("the password", &path).unwrap();
        assert_eq!(secret.reveal(), "p w");
        assert_eq!(format!("{secret:?}"), "(secret)");
        std::fs::write(&path, "\n").unwrap();
        assert!(
            read_secret("the password", &path)
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
    }

    #[test]
    fn a_login_needs_a_user_and_a_secret() {
        let nothing = LoginFiles {
            user: Some("a"),
            password: None,
            private_key: None,
        };
        assert!(
            nothing
                .read()
                .unwrap_err()
                .to_string()
                .contains("--password-file")
        );
        let nobody = LoginFiles {
            user: None,
            password: Some(Path::new("/x")),
            private_key: None,
        };
        assert!(nobody.read().unwrap_err().to_string().contains("--user"));
    }
}
