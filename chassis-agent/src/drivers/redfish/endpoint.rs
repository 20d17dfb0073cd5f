//! Where a Redfish service is, who logs in, and how its certificate is checked:
//! text an operator wrote -> values the transport can trust.

use std::fmt;
use std::path::Path;

use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Secret;

/// An endpoint that cannot be right.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address is none.
    #[error(
        "{address:?} is not the address of a Redfish service ({problem}): write https://HOST, \
         https://HOST:PORT or HOST"
    )]
    Address {
        /// What was written.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The fingerprint is none.
    #[error(
        "{0:?} is not the fingerprint of a certificate: write the 64 hex digits of its SHA-256, \
         with or without colons, as `openssl x509 -fingerprint -sha256` prints them"
    )]
    Fingerprint(String),
    /// The file with CA certificates cannot be used.
    #[error("{path} holds no usable certificate ({reason}): it must be PEM")]
    Ca {
        /// Which file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(certificate.as_ref()).into())
    }

    /// Reads 64 hex digits, with or without colons and `SHA256:` in front.
    ///
    /// # Errors
    /// When the text is no fingerprint.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Fingerprint(text.chars().take(120).collect());
        let bare = text.trim().to_ascii_lowercase();
        let bare = bare.strip_prefix("sha256:").unwrap_or(&bare);
        let digits: String = bare.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the certificate of a service is checked.
#[derive(Clone, Debug)]
pub enum TlsPolicy {
    /// By the CA certificates of this system.
    System,
    /// By these CA certificates as well.
    Ca(Vec<CertificateDer<'static>>),
    /// It must be exactly this one.
    Pinned(Fingerprint),
    /// Any will do.
    Any,
}

impl TlsPolicy {
    /// The CA certificates of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn from_ca_file(path: &Path) -> Result<Self, EndpointError> {
        let failed = |reason: String| EndpointError::Ca {
            path: path.display().to_string(),
            reason,
        };
        let read = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
        let certificates: Vec<_> = read
            .collect::<Result<_, _>>()
            .map_err(|e| failed(e.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("there is none in it".into()));
        }
        Ok(Self::Ca(certificates))
    }
}

/// A Redfish service and the login for it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Scheme, host and port; the path is `/`.
    pub base: Url,
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Certificate.
    pub tls: TlsPolicy,
}

impl Endpoint {
    /// Host and port, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{}://{host}:{port}", self.base.scheme()),
            None => format!("{}://{host}", self.base.scheme()),
        }
    }
}

/// Reads `https://host[:port]`, `http://…` where TLS is not wanted, and a bare
/// `host[:port]`, which means https. A path is left out: a Redfish service
/// begins at `/redfish/v1`.
///
/// # Errors
/// When the text is no such address, or holds a user name or password.
pub fn parse_base(text: &str) -> Result<Url, EndpointError> {
    let text = text.trim();
    let wrong = |problem| EndpointError::Address {
        // What stands before an @ may be a password.
        address: text
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .chars()
            .take(120)
            .collect(),
        problem,
    };
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("https://[{text}]")
    } else {
        format!("https://{text}")
    };
    let mut url = Url::parse(&with_scheme).map_err(|_| wrong("it cannot be read"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https are possible"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user name does not belong into it"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, read) in [
            ("https://bmc1", "https://bmc1/"),
            (" https://bmc1/redfish/v1/ ", "https://bmc1/"),
            ("http://10.0.0.1:8000", "http://10.0.0.1:8000/"),
            ("bmc1", "https://bmc1/"),
            ("bmc1:8443", "https://bmc1:8443/"),
            ("fe80::1", "https://[fe80::1]/"),
            ("https://[fe80::1]:444", "https://[fe80::1]:444/"),
        ] {
            assert_eq!(parse_base(text).unwrap().as_str(), read, "{text}");
        }
        for text in ["", "https://", "ftp://a", "https://root:secret@bmc", "a b"] {
            let message = parse_base(text).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn fingerprints() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for text in [
            digits.clone(),
            colons.clone(),
            format!("SHA256:{colons}"),
            format!(" {digits}"),
        ] {
            assert_eq!(Fingerprint::parse(&text).unwrap().to_string(), digits);
        }
        for text in ["", "ab", "SHA256:x", &"zz".repeat(32)] {
            assert!(Fingerprint::parse(text).is_err(), "{text}");
        }
    }
}
