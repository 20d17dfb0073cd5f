use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::http::Client;

/// A CA of a test's own.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn pin(&self) -> PinnedCa {
        PinnedCa::from_pem(self.pem.as_bytes()).unwrap()
    }

    /// A certificate for 127.0.0.1, valid from the beginning of one year to that
    /// of another.
    fn server(&self, from: i32, to: i32) -> ServerConfig {
        self.server_at([127, 0, 0, 1], from, to)
    }

    fn server_at(&self, address: [u8; 4], from: i32, to: i32) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(address.into())];
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// Answers one request over TLS; returns the URL.
fn serve(config: ServerConfig) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let conn = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(conn, stream);
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        let _ = stream.flush();
    });
    url
}

fn get(ca: &PinnedCa, url: &str) -> Result<String, String> {
    let limit = Duration::from_secs(5);
    let client = Client::new(limit, limit, Some(ca));
    client.get(url).map_err(|error| crate::log::chain(&error))
}

#[test]
fn a_server_of_the_pinned_ca_is_trusted_and_no_other() {
    let (own, other) = (Authority::new(), Authority::new());
    let url = serve(own.server(2000, 4000));
    assert_eq!(get(&own.pin(), &url).unwrap(), "hello");
    let url = serve(own.server(2000, 4000));
    let error = get(&other.pin(), &url).unwrap_err();
    assert!(
        error.contains("is not of the CA that this initramfs pins"),
        "{error}"
    );
    let url = serve(own.server_at([127, 0, 0, 2], 2000, 4000));
    let error = get(&own.pin(), &url).unwrap_err();
    assert!(error.contains("is not for this address"), "{error}");
    // Both CAs pinned, as while one is replaced.
    let both = PinnedCa::from_pem(format!("{}{}", other.pem, own.pem).as_bytes()).unwrap();
    let url = serve(own.server(2000, 4000));
    assert_eq!(get(&both, &url).unwrap(), "hello");
}

#[test]
fn a_clock_that_lags_is_forgiven_and_an_expired_certificate_is_not() {
    let ca = Authority::new();
    // To a certificate of the far future, today is 1970.
    assert_eq!(
        get(&ca.pin(), &serve(ca.server(3000, 3001))).unwrap(),
        "hello"
    );
    let error = get(&ca.pin(), &serve(ca.server(2000, 2001))).unwrap_err();
    assert!(
        error.contains("has expired by this machine's clock"),
        "{error}"
    );
}

#[test]
fn what_is_no_certificate_is_no_ca() {
    for text in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        PinnedCa::from_pem(text.as_bytes()).unwrap_err();
    }
}
