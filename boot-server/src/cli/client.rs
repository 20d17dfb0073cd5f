//! Talking to a running server's management API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use boot_proto::api::ApiError;
use serde::de::DeserializeOwned;

use super::ServerArgs;
use crate::http::BearerToken;
use crate::serve::TOKEN;

/// A client of the management API.
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    authorization: String,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let path = args
            .token_file
            .clone()
            .unwrap_or_else(|| args.state.join(TOKEN));
        let token = BearerToken::read(&path).with_context(|| {
            format!(
                "reading the management token {}; name the server's state folder with --state, or \
                 the token with --token-file",
                path.display()
            )
        })?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(30))
            // The token is for this server alone.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(path) = &args.ca_file {
            http = http.tls_certs_only(certificates(path)?);
        }
        let http = http.build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let server = args.server.trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            server,
            authorization: token.header(),
            runtime,
        })
    }

    /// Fetches `path`, such as `/api/v1/machines`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            let request = self.http.get(format!("{}{path}", self.server));
            let response = request
                .header("authorization", &self.authorization)
                .send()
                .await
                .map_err(|error| self.unreached(error))?;
            let status = response.status();
            let body = response
                .bytes()
                .await
                .context("reading boot-server's answer")?;
            if !status.is_success() {
                match serde_json::from_slice::<ApiError>(&body) {
                    Ok(error) => bail!("{}", error.error),
                    Err(_) => bail!("{} answers {status}", self.server),
                }
            }
            serde_json::from_slice(&body).with_context(|| {
                format!(
                    "{} gives an answer this version does not understand",
                    self.server
                )
            })
        })
    }

    /// Why nothing came back, with what to do about it.
    fn unreached(&self, error: reqwest::Error) -> anyhow::Error {
        let reason = crate::images::chain(&error);
        let server = &self.server;
        let advice = if reason.contains("certificate") {
            format!(
                "boot-server at {server} shows a certificate that is not trusted here; name its CA, or the certificate itself, with --ca-file"
            )
        } else if error.is_connect() || error.is_timeout() {
            format!("asking boot-server at {server}; does it run?")
        } else {
            format!(
                "asking boot-server at {server}; is it http where https is meant, or the other way round?"
            )
        };
        anyhow::Error::new(error.without_url()).context(advice)
    }
}

/// Certificates of a PEM file, of which there must be one.
fn certificates(path: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let wrong = || format!("reading the certificates in {} (--ca-file)", path.display());
    let pem = std::fs::read(path).with_context(wrong)?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).with_context(wrong)?;
    if certificates.is_empty() {
        bail!(
            "there is no certificate in {} (--ca-file); it must be in PEM, between BEGIN CERTIFICATE and END CERTIFICATE",
            path.display()
        );
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    /// A server with a certificate of its own, which is left in `folder`; it
    /// answers `count` connections.
    fn server(folder: &Path, count: usize) -> String {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(count) {
                let tls = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
                let mut tls = rustls::StreamOwned::new(tls, stream.unwrap());
                let mut request = [0; 2048];
                // A client that does not trust the certificate sends none.
                if tls.read(&mut request).is_ok_and(|bytes| bytes > 0) {
                    let _ = tls.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]",
                    );
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        format!("https://{address}")
    }

    fn ask(folder: &Path, server: &str, ca_file: Option<PathBuf>) -> Result<Vec<u8>, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = folder.join("token");
        std::fs::write(&token, "a-token-of-sufficient-length-0123456789\n").unwrap();
        let args = ServerArgs {
            server: server.to_owned(),
            token_file: Some(token),
            ca_file,
            state: folder.to_owned(),
        };
        let client = Client::new(&args).map_err(|error| format!("{error:#}"))?;
        client
            .get("/api/v1/machines")
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_certificate_is_trusted_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let server = server(folder, 2);
        let own = ask(folder, &server, Some(folder.join("ca.pem")));
        assert_eq!(own, Ok(Vec::new()));
        let foreign = ask(folder, &server, None).unwrap_err();
        assert!(
            foreign.contains("not trusted") && foreign.contains("--ca-file"),
            "{foreign}"
        );
    }

    #[test]
    fn a_file_without_certificates_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join("empty.pem"), "nothing\n").unwrap();
        for name in ["empty.pem", "missing.pem"] {
            let said = ask(folder, "https://127.0.0.1:1", Some(folder.join(name))).unwrap_err();
            assert!(said.contains(name) && said.contains("--ca-file"), "{said}");
        }
        let said = ask(folder, "http://127.0.0.1:1", None).unwrap_err();
        assert!(said.contains("does it run?"), "{said}");
    }
}
