//! Checks the certificate of a service as its endpoint asks for, and says the
//! fingerprint of one that is refused, so that an operator can pin it.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::endpoint::{Fingerprint, TlsPolicy};

/// TLS for one service.
///
/// # Errors
/// When the CA certificates cannot be used.
pub fn config(policy: &TlsPolicy) -> Result<ClientConfig, Error> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let check = match policy {
        TlsPolicy::System => Check::Ca(system(&provider)?),
        TlsPolicy::Ca(certificates) => Check::Ca(Arc::new(Verifier::new_with_extra_roots(
            certificates.iter().cloned(),
            Arc::clone(&provider),
        )?)),
        TlsPolicy::Pinned(fingerprint) => Check::Pinned(*fingerprint),
        TlsPolicy::Any => Check::Any,
    };
    let verifier = DeviceVerifier {
        check,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // One device each: the usual room for many servers costs more memory than
    // all the rest that is kept of a device.
    config.resumption = Resumption::in_memory_sessions(1);
    Ok(config)
}

/// The CA certificates of this system are read once for all devices.
fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    static SYSTEM: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(verifier) = SYSTEM.get() {
        return Ok(Arc::clone(verifier));
    }
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier::new(Arc::clone(provider))?);
    Ok(Arc::clone(SYSTEM.get_or_init(|| verifier)))
}

#[derive(Debug)]
enum Check {
    Ca(Arc<dyn ServerCertVerifier>),
    Pinned(Fingerprint),
    Any,
}

#[derive(Debug)]
struct DeviceVerifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for DeviceVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Fingerprint::of(end_entity);
        match &self.check {
            Check::Any => Ok(ServerCertVerified::assertion()),
            Check::Pinned(expected) if *expected == found => Ok(ServerCertVerified::assertion()),
            Check::Pinned(expected) => Err(Error::General(format!(
                "its certificate has the fingerprint {found}, but {expected} is expected; if the \
                 certificate was renewed or the device replaced, pin the new fingerprint, \
                 otherwise somebody may be listening in"
            ))),
            Check::Ca(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| {
                    Error::General(format!(
                        "its certificate is not trusted ({error}); compare its SHA-256 \
                         fingerprint {found} with the device's own and pin it, or give the CA \
                         that signed it"
                    ))
                }),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match &self.check {
            // Certificates of old BMCs are X.509 version 1, which the signature
            // check cannot read; who takes any certificate takes these.
            Check::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls12_signature(message, cert, dss, algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match &self.check {
            Check::Any => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
