//! An admission webhook that refuses, as the pod of a policy engine would.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use moonfarm_tests::wait::until;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// How long a client may take from one byte to the next.
const PATIENCE: Duration = Duration::from_secs(20);

/// A webhook that answers at a socket.
pub struct Webhook {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// Its certificate, which is its own CA.
    pub pem: String,
}

impl Webhook {
    /// One that shows a certificate of this name.
    pub fn new(listener: TcpListener, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            config: Arc::new(config),
            pem: made.cert.pem(),
        }
    }

    /// Refuses the first that asks, with these words; whether anybody asked in time.
    pub fn refuse_one(&self, words: &str, limit: Duration) -> bool {
        until(limit, || {
            let (stream, _) = self.listener.accept().ok()?;
            self.answer(stream, words).ok()
        })
        .is_some()
    }

    fn answer(&self, stream: TcpStream, words: &str) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let connection = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        let review = request(&mut stream)?;
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": review["request"]["uid"],
                "allowed": false,
                "status": { "code": 403, "message": words },
            },
        });
        let body = answer.to_string();
        let stream = stream.get_mut();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        stream.conn.send_close_notify();
        stream.flush()
    }
}

/// The body of one request that says its length.
fn request(stream: &mut BufReader<impl Read>) -> io::Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}
