//! The server's certificate, read again when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at. It follows links, so that the swap of a
/// Secret's volume is seen.
const INTERVAL: Duration = Duration::from_secs(2);
/// Largest file that is read.
const LIMIT: u64 = 1 << 20;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain in PEM, the server's own first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it is no PEM of the right kind.
    #[error("{path} holds no {what} in PEM: {reason}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key cannot be used, or is another certificate's.
    #[error("the key in {key} is not the one of the certificate in {cert}, or cannot be used")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("setting up TLS")]
    Setup(#[source] rustls::Error),
}

/// What the files hold, as bytes; only a change of these is looked into.
#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate that is in force.
pub struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
    seen: RwLock<Pair>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let pair = read(&files)?;
        let current = parse(&files, &pair)?;
        Ok(Arc::new(Self {
            files,
            current: RwLock::new(Arc::new(current)),
            seen: RwLock::new(pair),
        }))
    }

    /// What takes TLS connections with whatever certificate is in force.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(self))));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Looks at the files again; whether another certificate is in force now.
    /// One that cannot be used is an error once, and the old one stays.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let pair = read(&self.files)?;
        if *self.seen.read().unwrap_or_else(PoisonError::into_inner) == pair {
            return Ok(false);
        }
        let parsed = parse(&self.files, &pair);
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = pair;
        let fresh = Arc::new(parsed?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// Looks at the files until cancelled. Two files are not replaced at once,
    /// so a pair that does not fit is looked at once more before it is reported.
    pub async fn watch(self: Arc<Self>) {
        let (mut failed, mut reported) = (None, None);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let own = Arc::clone(&self);
            let Ok(refreshed) = tokio::task::spawn_blocking(move || own.refresh()).await else {
                return;
            };
            let now_failed = match refreshed {
                Ok(true) => {
                    (failed, reported) = (None, None);
                    tracing::info!(cert = %self.files.cert.display(), "a new certificate is in force");
                    continue;
                }
                // The same files as the last time: still as wrong as they were.
                Ok(false) => failed.clone(),
                Err(error) => Some(crate::images::chain(&error)),
            };
            if now_failed.is_some() && now_failed == failed && reported != failed {
                tracing::error!(
                    error = failed,
                    "the new certificate is refused, the old one stays in force"
                );
                reported.clone_from(&failed);
            }
            failed = now_failed;
        }
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.current.read();
        Some(current.unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(files: &TlsFiles) -> Result<Pair, TlsError> {
    Ok(Pair {
        cert: read_bounded(&files.cert)?,
        key: read_bounded(&files.key)?,
    })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn parse(files: &TlsFiles, pair: &Pair) -> Result<CertifiedKey, TlsError> {
    let pem = |path: &Path, what, reason: String| TlsError::Pem {
        path: path.to_owned(),
        what,
        reason,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pair.cert)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(&files.cert, "certificate", format!("{error:?}")))?;
    if chain.is_empty() {
        let reason = "there is none".to_owned();
        return Err(pem(&files.cert, "certificate", reason));
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|error| pem(&files.key, "private key", format!("{error:?}")))?;
    let unfit = |source| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    };
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &TlsFiles, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn a_wrong_pair_is_refused_and_the_old_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        assert!(matches!(
            Certificate::open(files.clone()),
            Err(TlsError::Read { .. })
        ));
        let first = write(&files, "one");
        let certificate = Certificate::open(files.clone()).unwrap();
        let in_force = || {
            let current = certificate.current.read().unwrap();
            current.cert.first().unwrap().to_vec()
        };
        assert!(!certificate.refresh().unwrap());
        let second = write(&files, "two");
        assert!(certificate.refresh().unwrap());
        assert_eq!(in_force(), second);
        assert_ne!(first, second);
        let key = std::fs::read(&files.key).unwrap();
        write(&files, "three");
        std::fs::write(&files.key, key).unwrap();
        assert!(matches!(certificate.refresh(), Err(TlsError::Pair { .. })));
        assert_eq!(in_force(), second);
        std::fs::write(&files.cert, "no certificate").unwrap();
        assert!(matches!(certificate.refresh(), Err(TlsError::Pem { .. })));
        let fourth = write(&files, "four");
        assert!(certificate.refresh().unwrap());
        assert_eq!(in_force(), fourth);
    }
}
