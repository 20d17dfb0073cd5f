//! TLS to boot-server, trusting the CA that the initramfs carries and no other.
//!
//! A machine whose clock battery is empty comes up in 1970 or 2000. A clock that
//! lags is forgiven: a certificate that is not valid *yet* is judged at the time
//! its own validity begins. One that has expired by the machine's clock is
//! refused. What remains is that a lagging clock takes an expired certificate
//! for a good one, which only its owner can make use of.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

/// Why a CA cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// There is no certificate in the file.
    #[error("it holds no certificate in PEM")]
    Empty,
    /// One of them is none.
    #[error("a certificate in it cannot be read: {0}")]
    Pem(String),
    /// It cannot be used as a CA.
    #[error("a certificate in it cannot be used as a CA")]
    Unusable(#[source] rustls::Error),
    /// TLS cannot be set up.
    #[error("setting up TLS: {0}")]
    Setup(String),
}

/// What is needed to speak TLS to a server with a certificate of one's own CA.
#[derive(Clone)]
pub struct PinnedCa(Arc<ClientConfig>);

impl fmt::Debug for PinnedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedCa")
    }
}

impl PinnedCa {
    /// The CA certificates in a PEM file; any of them may have signed the
    /// server's certificate, so that a CA can be replaced without a gap.
    ///
    /// # Errors
    /// See [`CaError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| CaError::Pem(error.to_string()))?;
            roots.add(certificate).map_err(CaError::Unusable)?;
        }
        if roots.is_empty() {
            return Err(CaError::Empty);
        }
        let provider = Arc::new(ring::default_provider());
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| CaError::Setup(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CaError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ForgivesLateClocks(inner)))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Why a server's certificate was refused, in words for whoever runs the server;
/// `None` where something else went wrong.
pub(crate) fn refusal(error: &ureq::Error) -> Option<String> {
    let ureq::Error::Io(error) = error else {
        return None;
    };
    let error = error.get_ref()?.downcast_ref()?;
    let rustls::Error::InvalidCertificate(why) = error else {
        return None;
    };
    Some(match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not of the CA that this initramfs pins: it is another server, or one that was \
             given another --tls-cert, or the initramfs was built with another --boot-server-ca"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("has expired by this machine's clock ({why})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for this address: make one with it as an IP address among its \
             subjectAltNames"
                .to_owned()
        }
        _ => format!("cannot be trusted: {why}"),
    })
}

/// The ordinary verifier, but for a clock that lags.
#[derive(Debug)]
struct ForgivesLateClocks(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ForgivesLateClocks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |at| {
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        };
        let mut at = now;
        // Each certificate of the chain has a beginning of its own.
        for _ in 0..=intermediates.len() {
            match verify(at) {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > at => at = not_before,
                verdict => return verdict,
            }
        }
        verify(at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Wraps connections of `https` URLs. ureq's own TLS takes no verifier of ours.
#[derive(Debug)]
pub(crate) struct TlsConnector(pub PinnedCa);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ureq::Error::Tls("the URL has no name that TLS could check"))?;
        let failed = |error| ureq::Error::Io(std::io::Error::other(error));
        let mut conn = ClientConnection::new(Arc::clone(&self.0.0), name)
            .map_err(|error: rustls::Error| failed(error))?;
        let mut sock = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        sock.set_timeout(details.timeout);
        conn.complete_io(&mut sock)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let stream = StreamOwned { conn, sock };
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A TLS connection.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output();
        let output = output.get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
pub(crate) mod tests;
