//! Logins for the places that images come from, out of files that the operator
//! keeps. They are read for each fetch, and shown nowhere.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use boot_proto::resources::ImageOrigin;
use reqwest::RequestBuilder;

use super::OriginError;

/// Longest file of credentials.
const LIMIT: u64 = 64 * 1024;

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// User and password (RFC 7617).
    Basic { user: String, password: String },
    /// A bearer token (RFC 6750).
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

impl Credentials {
    /// Those that an image's source names.
    pub fn of(origin: &ImageOrigin) -> Result<Option<Self>, OriginError> {
        let http = origin.http.as_ref().map(|http| &http.credentials_file);
        let oci = origin.oci.as_ref().map(|oci| &oci.credentials_file);
        let Some(path) = http.or(oci).and_then(Option::as_ref) else {
            return Ok(None);
        };
        let read = read(Path::new(path));
        read.map(Some).map_err(|source| OriginError::Credentials {
            path: path.clone(),
            source,
        })
    }

    /// The request with the login in it.
    pub fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { user, password } => request.basic_auth(user, Some(password)),
            Self::Token(token) => request.bearer_auth(token),
        }
    }
}

fn read(path: &Path) -> io::Result<Credentials> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LIMIT)
        .read_to_string(&mut text)?;
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let line = text.lines().next().unwrap_or_default().trim();
    match line.split_once(':') {
        _ if line.is_empty() => Err(wrong("its first line is empty")),
        Some(("", _)) => Err(wrong("there is no user before the colon")),
        Some((user, password)) => Ok(Credentials::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        None => Ok(Credentials::Token(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_may_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login");
        let basic = |user: &str, password: &str| {
            Some(Credentials::Basic {
                user: user.to_owned(),
                password: password.to_owned(),
            })
        };
        for (text, expected) in [
            ("robot:s3:cret\n", basic("robot", "s3:cret")),
            ("robot:\r\nmore", basic("robot", "")),
            ("ey.J0.x\n", Some(Credentials::Token("ey.J0.x".into()))),
            ("", None),
            ("\nrobot:x", None),
            (":x", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).ok(), expected, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).is_err());
        let shown = format!("{:?}", basic("robot", "s3cret").unwrap());
        assert!(!shown.contains("robot") && !shown.contains("s3cret"));
    }
}
