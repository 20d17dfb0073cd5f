//! Images that come from elsewhere: a web server or an OCI registry. Every byte
//! is checked against the digest that the `Image` pins, what has arrived is kept
//! over a broken connection and a restart, and nothing has a name in the store
//! before it is whole.

mod credentials;
mod download;
mod oci;
mod puller;
#[cfg(test)]
mod tests;

use std::io;

use boot_proto::ids::Digest;
use boot_proto::resources::ImageOrigin;

use super::ImageError;
pub use oci::ReferenceError;
pub use puller::run;

/// Why an image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// `source` names none or several places, or no usable URL.
    #[error("source must be one of http with a URL of http(s), and oci with a reference")]
    Source,
    /// The reference is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The login cannot be read.
    #[error("reading the login in {path} (credentialsFile)")]
    Credentials {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server was not reached, or broke off.
    #[error("asking {url}")]
    Http {
        /// What was asked for.
        url: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// The server has another answer than the file.
    #[error("{url} answers {status}; {advice}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What to do.
        advice: &'static str,
    },
    /// What came is not what was promised.
    #[error("{url} is not what is wanted: {reason}")]
    Wrong {
        /// What was asked for.
        url: String,
        /// What differs.
        reason: String,
    },
    /// It stopped before its end, again and again.
    #[error("{url}: {received} of {size} bytes came, and then nothing more")]
    Incomplete {
        /// What was asked for.
        url: String,
        /// Bytes that came.
        received: u64,
        /// Bytes there are.
        size: u64,
    },
    /// It could not be stored.
    #[error("storing what came")]
    Store(#[source] io::Error),
    /// The store refused it.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// A place that has an image's files, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// URL of the manifest; the files are beside it.
    Folder(reqwest::Url),
    /// A repository of a registry.
    Registry(oci::Reference),
}

impl Place {
    fn of(origin: &ImageOrigin) -> Result<Self, OriginError> {
        match (&origin.http, &origin.oci) {
            (Some(http), None) => {
                let text = if http.url.ends_with(".json") {
                    http.url.clone()
                } else {
                    format!("{}/manifest.json", http.url.trim_end_matches('/'))
                };
                let url: reqwest::Url = text.parse().map_err(|_| OriginError::Source)?;
                if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                    return Err(OriginError::Source);
                }
                Ok(Self::Folder(url))
            }
            (None, Some(oci)) => Ok(Self::Registry(oci::Reference::parse(
                &oci.reference,
                oci.plain_http,
            )?)),
            _ => Err(OriginError::Source),
        }
    }

    /// Whether what is sent there can be read on the way.
    fn is_plain(&self) -> bool {
        match self {
            Self::Folder(url) => url.scheme() == "http",
            Self::Registry(reference) => reference.is_plain(),
        }
    }

    /// Where the image's manifest is.
    fn manifest(&self, digest: &Digest) -> String {
        match self {
            Self::Folder(url) => url.to_string(),
            Self::Registry(reference) => reference.blob(digest),
        }
    }

    /// Where a file of the image is.
    fn file(&self, name: &str, digest: &Digest) -> Result<String, OriginError> {
        match self {
            Self::Folder(url) => {
                let mut url = url.clone();
                // The manifest's reader lets plain names pass only.
                url.path_segments_mut()
                    .map_err(|()| OriginError::Source)?
                    .pop()
                    .push(name);
                Ok(url.to_string())
            }
            Self::Registry(reference) => Ok(reference.blob(digest)),
        }
    }
}
