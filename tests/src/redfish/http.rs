//! HTTP/1.1 by hand: what is needed to answer a client, and to spoil answers in
//! ways that no HTTP library would.

use std::io;
use std::sync::Mutex;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use super::faults::Fault;
use super::service::Service;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// How it is spoiled on the way.
    pub fault: Option<Fault>,
}

impl Reply {
    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![(
                "Content-Type".into(),
                "application/json; charset=utf-8".into(),
            )],
            body: body.to_string().into_bytes(),
            fault: None,
        }
    }

    /// An answer whose body is JSON already.
    #[must_use]
    pub fn text(status: u16, body: String) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.into_bytes(),
            fault: None,
        }
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Something that answers requests.
pub(crate) trait Answers: Send + Sync {
    /// The reply, or `None` to end the connection.
    fn answer(&self, request: &Request) -> Option<Reply>;
}

impl Answers for Mutex<Service> {
    fn answer(&self, request: &Request) -> Option<Reply> {
        Some(self.lock().ok()?.handle(request))
    }
}

/// Answers the requests of one connection until either side has enough.
pub(crate) async fn serve_connection<S, A>(mut stream: S, service: &A) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Answers,
{
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let Some(reply) = service.answer(&request) else {
            return Ok(());
        };
        let is_last = request
            .header("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if !write_reply(&mut stream, &reply, is_last).await? || is_last {
            break;
        }
    }
    stream.shutdown().await
}

async fn read_request<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Request>>
where
    S: AsyncRead + Unpin,
{
    const LONGEST: usize = 1 << 20;
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > LONGEST || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut request = Request {
        method: first.next().unwrap_or_default().to_owned(),
        path: first.next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    request.headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if length > LONGEST {
        return Ok(None);
    }
    let body_start = head_end + 4;
    while buffer.len() < body_start + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer[body_start..body_start + length].to_vec();
    buffer.drain(..body_start + length);
    Ok(Some(request))
}

/// Whether the connection is still good afterwards.
async fn write_reply<S>(stream: &mut S, reply: &Reply, is_last: bool) -> io::Result<bool>
where
    S: AsyncWrite + Unpin,
{
    let version = if reply.fault == Some(Fault::Http10) {
        "1.0"
    } else {
        "1.1"
    };
    let mut head = format!("HTTP/{version} {} x\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if is_last {
        head.push_str("Connection: close\r\n");
    }
    let with_length = format!("{head}Content-Length: {}\r\n\r\n", reply.body.len());
    match &reply.fault {
        Some(Fault::Reset) => return Ok(false),
        Some(Fault::Truncated) => {
            stream.write_all(with_length.as_bytes()).await?;
            stream
                .write_all(&reply.body[..reply.body.len() / 2])
                .await?;
            return Ok(false);
        }
        Some(Fault::Endless) => {
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            let blanks = vec![b' '; 64 << 10];
            // Until the client has had enough.
            while stream.write_all(&blanks).await.is_ok() {}
            return Ok(false);
        }
        Some(Fault::Drip(pause)) => {
            stream.write_all(with_length.as_bytes()).await?;
            for byte in &reply.body {
                sleep(*pause).await;
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
            }
        }
        Some(Fault::Chunked) => {
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            for piece in reply.body.chunks(7) {
                let size = format!("{:x}\r\n", piece.len());
                stream.write_all(size.as_bytes()).await?;
                stream.write_all(piece).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Some(Fault::Http10) => {
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            stream.write_all(&reply.body).await?;
            stream.flush().await?;
            return Ok(false);
        }
        fault => {
            if let Some(Fault::Delay(delay)) = fault {
                sleep(*delay).await;
            }
            let mut whole = with_length.into_bytes();
            whole.extend_from_slice(&reply.body);
            stream.write_all(&whole).await?;
        }
    }
    stream.flush().await?;
    Ok(reply.fault != Some(Fault::ClosesQuietly))
}

/// Base64 with padding (RFC 4648 §4), for basic authentication.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                let letter = (group >> (18 - 6 * place)) & 63;
                text.push(char::from(LETTERS[letter as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
