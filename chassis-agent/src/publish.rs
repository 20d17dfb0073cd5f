//! boot-server's management API: tells it what was seen, and hears what is
//! wanted.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use boot_proto::api::{ApiError, ChassisInventory, PowerOrders};
use reqwest::{Certificate, Client, redirect};

use crate::config::{ConfigError, read_secret};
use crate::drivers::excerpt;

/// Why boot-server could not be told.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The API server failed.
    #[error(transparent)]
    Kubernetes(kube_access::AccessError),
    /// The token cannot be read.
    #[error("the token for boot-server")]
    Token(#[source] ConfigError),
    /// The address is no URL.
    #[error("{0:?} is no URL of boot-server: write http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// The certificate cannot be used.
    #[error("the certificate in {} cannot be used: {reason}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The HTTP client cannot be made, or the request failed.
    #[error("asking boot-server at {url}")]
    Http {
        /// Its address.
        url: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error(
        "boot-server at {url} shows a certificate that is not trusted here; name its CA, or the certificate itself, with --ca-file"
    )]
    Untrusted {
        /// Its address.
        url: String,
        /// What the certificate's check says.
        #[source]
        source: reqwest::Error,
    },
    /// boot-server refused.
    #[error("boot-server at {url} answered {status}: {reason}")]
    Refused {
        /// Its address.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The answer is none of boot-server's.
    #[error("boot-server at {url} answered what is not understood: {reason}")]
    Garbled {
        /// Its address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What comes back from a report, in a while.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<PowerOrders, PublishError>> + Send + 'a>>;

/// Where what is seen goes, and where what is wanted comes from.
pub trait Publish: Send + Sync {
    /// Reports what a chassis shows; the answer is what is wanted of it.
    fn report<'a>(&'a self, chassis: &'a str, inventory: &'a ChassisInventory) -> Answer<'a>;
}

impl Publish for BootServer {
    fn report<'a>(&'a self, chassis: &'a str, inventory: &'a ChassisInventory) -> Answer<'a> {
        Box::pin(self.tell(chassis, inventory))
    }
}

/// Largest answer that is read.
const LARGEST_ANSWER: usize = 8 << 20;

/// boot-server, as chassis-agent knows it.
#[derive(Clone, Debug)]
pub struct BootServer {
    client: Client,
    url: String,
    token_file: PathBuf,
}

impl BootServer {
    /// Sets the client up; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL or the certificate is wrong.
    pub fn new(
        url: &str,
        token_file: PathBuf,
        ca_file: Option<&PathBuf>,
    ) -> Result<Self, PublishError> {
        let url = url.trim().trim_end_matches('/').to_owned();
        let is_url = reqwest::Url::parse(&url)
            .is_ok_and(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host());
        if !is_url {
            return Err(PublishError::Url(excerpt(&url)));
        }
        // An error means that a provider is installed already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            // The token is for this server alone.
            .redirect(redirect::Policy::none())
            .no_proxy();
        if let Some(path) = ca_file {
            let wrong = |reason: String| PublishError::Certificate {
                path: path.clone(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|source| PublishError::Http {
            url: url.clone(),
            source,
        })?;
        Ok(Self {
            client,
            url,
            token_file,
        })
    }

    /// Reports what a chassis shows; the answer is what is wanted of it. The
    /// token is read anew each time, so that it can be changed while this runs.
    ///
    /// # Errors
    /// When boot-server cannot be reached, refuses, or answers nonsense.
    pub async fn tell(
        &self,
        chassis: &str,
        inventory: &ChassisInventory,
    ) -> Result<PowerOrders, PublishError> {
        let token = read_secret("the token", &self.token_file).map_err(PublishError::Token)?;
        let url = format!("{}/api/v1/chassis/{chassis}/inventory", self.url);
        let request = self
            .client
            .put(url)
            .bearer_auth(token.reveal())
            .json(inventory);
        let mut response = request.send().await.map_err(|source| self.failed(source))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|source| self.failed(source))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err(self.garbled(format!("longer than {LARGEST_ANSWER} bytes")));
            }
        }
        if !status.is_success() {
            let said = serde_json::from_slice::<ApiError>(&body).map_or_else(
                |_| String::from_utf8_lossy(&body).into_owned(),
                |said| said.error,
            );
            return Err(PublishError::Refused {
                url: self.url.clone(),
                status: status.as_u16(),
                reason: excerpt(&said),
            });
        }
        serde_json::from_slice(&body).map_err(|error| self.garbled(error.to_string()))
    }

    fn failed(&self, source: reqwest::Error) -> PublishError {
        let url = self.url.clone();
        let source = source.without_url();
        if causes(&source).any(|cause| cause.to_string().contains("certificate")) {
            PublishError::Untrusted { url, source }
        } else {
            PublishError::Http { url, source }
        }
    }

    fn garbled(&self, reason: String) -> PublishError {
        PublishError::Garbled {
            url: self.url.clone(),
            reason,
        }
    }
}

/// An error and what lies behind it.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_boot_server() {
        for (url, is_good) in [
            ("http://127.0.0.1:8443", true),
            ("https://boot.example/", true),
            ("127.0.0.1:8443", false),
            ("ftp://a", false),
            ("", false),
        ] {
            assert_eq!(
                BootServer::new(url, "token".into(), None).is_ok(),
                is_good,
                "{url}"
            );
        }
    }
}
