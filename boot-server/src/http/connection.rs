//! One connection of the boot face: plain requests are read and answered here,
//! blobs with `sendfile`, and whatever is odd is handed to hyper.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::blobs::{Answer, Opened};
use super::head::{Head, MAX_HEAD_BYTES, Parsed, parse};
use super::listener::{self, Limits};
use super::{App, Peer, sendfile};

/// Answers up to this size leave with their head in one call.
const SMALL: u64 = 64 * 1024;

/// What answers requests that come over plain TCP.
#[derive(Clone)]
pub(super) struct Fast {
    pub app: App,
    pub router: Router,
    /// Where the routes run: the threads of connections may wait for a disk.
    pub routes: Handle,
}

struct Connection<'a> {
    stream: TcpStream,
    peer: Peer,
    fast: &'a Fast,
    limits: Limits,
    /// What was read and not yet taken.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The blob that was sent last, mostly asked for again.
    last: Option<Arc<Opened>>,
}

/// What a head asks for.
enum Next {
    Blob(Answer),
    Route(axum::http::Request<()>),
    /// Hyper is to say what is wrong with it.
    Foreign,
}

/// Serves a connection to its end.
pub(super) async fn run(
    stream: TcpStream,
    peer: Peer,
    fast: &Fast,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut connection = Connection {
        stream,
        peer,
        fast,
        limits,
        input: Vec::with_capacity(2048),
        output: Vec::new(),
        last: None,
    };
    let ended = {
        let stopped = std::pin::pin!(stop.cancelled());
        connection.serve(stopped).await
    };
    match ended {
        Ok(End::Closed) => {}
        Ok(End::Foreign) => {
            let rest = Prefixed {
                prefix: connection.input,
                at: 0,
                stream: connection.stream,
            };
            listener::run(rest, peer, fast.router.clone(), limits, stop).await;
        }
        Err(error) => {
            tracing::debug!(ip = %peer.remote.ip(), %error, "connection ended");
        }
    }
}

enum End {
    Closed,
    Foreign,
}

impl Connection<'_> {
    async fn serve(&mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> io::Result<End> {
        loop {
            let read = tokio::time::timeout(self.limits.head, self.read_head());
            let length = tokio::select! {
                biased;
                read = read => match read {
                    Ok(length) => length?,
                    Err(_elapsed) => return Ok(End::Closed),
                },
                () = stopped.as_mut() => return Ok(End::Closed),
            };
            let Some(length) = length else {
                return Ok(End::Closed);
            };
            if length == 0 {
                return Ok(End::Foreign);
            }
            let Parsed::Plain(head) = parse(&self.input) else {
                return Ok(End::Foreign);
            };
            let (keep_alive, knows_chunks, is_head, body) = (
                head.keep_alive,
                head.knows_chunks,
                head.method == "HEAD",
                head.body,
            );
            let next = next(self.fast, self.peer, &head, &mut self.last);
            match next {
                Next::Foreign => return Ok(End::Foreign),
                Next::Blob(answer) => {
                    self.input.drain(..length);
                    self.send_blob(answer, keep_alive).await?;
                }
                Next::Route(request) => {
                    self.input.drain(..length);
                    let body = self.read_body(body).await?;
                    let response = self.ask(request, body).await?;
                    let how = How {
                        keep_alive,
                        knows_chunks,
                        is_head,
                    };
                    if !self.send(response, how).await? {
                        return Ok(End::Closed);
                    }
                }
            }
            if !keep_alive {
                let _ = self.stream.shutdown().await;
                return Ok(End::Closed);
            }
        }
    }

    /// Reads until there is a head, and tells its length: zero for one that is
    /// not plain, `None` where the client is gone.
    async fn read_head(&mut self) -> io::Result<Option<usize>> {
        loop {
            if !self.input.is_empty() {
                match parse(&self.input) {
                    Parsed::Plain(head) => return Ok(Some(head.length)),
                    Parsed::Foreign => return Ok(Some(0)),
                    Parsed::Incomplete => {}
                }
            }
            if self.input.capacity() - self.input.len() < 1024 {
                self.input.reserve(MAX_HEAD_BYTES);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn read_body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let read = async {
            while self.input.len() < length {
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok::<_, io::Error>(())
        };
        tokio::time::timeout(self.limits.head, read).await??;
        Ok(self.input.drain(..length).collect())
    }

    async fn ask(
        &self,
        request: axum::http::Request<()>,
        body: Vec<u8>,
    ) -> io::Result<Response<Body>> {
        let mut request = request.map(|()| Body::from(body));
        request.extensions_mut().insert(self.peer);
        let answering = self.fast.router.clone().oneshot(request);
        let answered = self.fast.routes.spawn(answering).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn send_blob(&mut self, answer: Answer, keep_alive: bool) -> io::Result<()> {
        let Answer {
            status,
            headers,
            content,
            ..
        } = answer;
        self.output.clear();
        write_head(&mut self.output, status, &headers, keep_alive);
        let Some(mut content) = content else {
            return self.write_output().await;
        };
        if content.length <= SMALL {
            content.append_to(&mut self.output)?;
            self.write_output().await?;
            content.meter.sent = content.length;
            return Ok(());
        }
        // Where this fails, the connection ends, and with it the holding back.
        sendfile::cork(&self.stream, true);
        self.write_output().await?;
        sendfile::send(&self.stream, &mut content, &self.limits).await?;
        sendfile::cork(&self.stream, false);
        Ok(())
    }

    async fn write_output(&mut self) -> io::Result<()> {
        let writing = self.stream.write_all(&self.output);
        tokio::time::timeout(self.limits.stall, writing).await?
    }

    /// Sends what a route has answered; whether the connection can go on.
    async fn send(&mut self, response: Response<Body>, how: How) -> io::Result<bool> {
        let (parts, body) = response.into_parts();
        let mut headers = parts.headers;
        let exact = axum::body::HttpBody::size_hint(&body).exact();
        let has_body = !how.is_head
            && parts.status != StatusCode::NO_CONTENT
            && parts.status != StatusCode::NOT_MODIFIED;
        let tells_length = headers.contains_key(header::CONTENT_LENGTH);
        if let (Some(length), false, true) = (exact, tells_length, has_body || exact > Some(0)) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        super::files::set_date(&mut headers);
        let has_length = headers.contains_key(header::CONTENT_LENGTH);
        let is_chunked = has_body && !has_length && how.knows_chunks;
        let stays = how.keep_alive && (!has_body || has_length || is_chunked);
        if is_chunked {
            let chunked = axum::http::HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        self.output.clear();
        write_head(&mut self.output, parts.status, &headers, stays);
        if has_body {
            self.write_body(body, is_chunked).await?;
        }
        self.write_output().await?;
        Ok(stays)
    }

    /// Adds a body to the output, and sends what is too much to keep.
    async fn write_body(&mut self, body: Body, is_chunked: bool) -> io::Result<()> {
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(io::Error::other)?;
            if piece.is_empty() {
                continue;
            }
            if is_chunked {
                let size = format!("{:x}\r\n", piece.len());
                self.output.extend_from_slice(size.as_bytes());
            }
            self.output.extend_from_slice(&piece);
            if is_chunked {
                self.output.extend_from_slice(b"\r\n");
            }
            if self.output.len() as u64 >= SMALL {
                self.write_output().await?;
                self.output.clear();
            }
        }
        if is_chunked {
            self.output.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }
}

/// How an answer is to be framed.
struct How {
    keep_alive: bool,
    knows_chunks: bool,
    is_head: bool,
}

fn next(fast: &Fast, peer: Peer, head: &Head<'_>, last: &mut Option<Arc<Opened>>) -> Next {
    if let Some(answer) = super::blobs::answer(&fast.app, peer, head, last) {
        return Next::Blob(answer);
    }
    head.to_request().map_or(Next::Foreign, Next::Route)
}

fn write_head(output: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap, keep_alive: bool) {
    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(status.as_str().as_bytes());
    output.push(b' ');
    output.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        output.extend_from_slice(name.as_str().as_bytes());
        output.extend_from_slice(b": ");
        output.extend_from_slice(value.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(if keep_alive {
        b"connection: keep-alive\r\n\r\n"
    } else {
        b"connection: close\r\n\r\n"
    });
}

/// A stream of which the beginning was read already.
struct Prefixed {
    prefix: Vec<u8>,
    at: usize,
    stream: TcpStream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.prefix.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.at = self.at.saturating_add(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
