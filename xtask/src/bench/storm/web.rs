//! The nodes' HTTP: one request a connection, from the node's own address.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::site::octet_at;

/// How long iPXE and node-agent wait for a server that says nothing.
const PATIENCE_SECS: i64 = 60;
/// Longest answer that is kept rather than only looked at.
const KEPT_BYTES: usize = 64 << 10;

/// An answer.
pub struct Answer {
    pub status: u16,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    pub length: u64,
    /// The beginning of the body.
    pub text: String,
}

/// Sends a request and reads the answer to its end. The body of a file has to
/// be what is served.
///
/// # Errors
/// When the connection fails or the answer is not whole.
pub fn ask(from: Ipv4Addr, method: &str, url: &str, body: &str, is_file: bool) -> Result<Answer> {
    let rest = url.strip_prefix("http://").context("no http URL")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let server: SocketAddrV4 = host.parse().with_context(|| format!("reading {url}"))?;
    let mut stream = open(from, server).with_context(|| format!("connecting for {url}"))?;
    let path = if path.is_empty() { "/" } else { path };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    read(&mut stream, is_file).with_context(|| format!("reading {url}"))
}

fn open(from: Ipv4Addr, server: SocketAddrV4) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let own = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    let patience = TimeVal::seconds(PATIENCE_SECS);
    setsockopt(&own, sockopt::SendTimeout, &patience)?;
    // The whole crowd's receive buffers shall not be what fills this machine.
    setsockopt(&own, sockopt::RcvBuf, &(256 << 10))?;
    bind(
        own.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(from, 0)),
    )?;
    connect(own.as_raw_fd(), &SockaddrIn::from(server))?;
    let stream = TcpStream::from(own);
    let patience = Duration::from_secs(PATIENCE_SECS.unsigned_abs());
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

fn read(stream: &mut TcpStream, is_file: bool) -> Result<Answer> {
    let mut buffer = vec![0; KEPT_BYTES];
    let mut filled = 0;
    let (head, body_at) = loop {
        let bytes = stream.read(&mut buffer[filled..])?;
        filled += bytes;
        let end = buffer[..filled]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break (
                String::from_utf8_lossy(&buffer[..end]).into_owned(),
                end + 4,
            );
        }
        if bytes == 0 || filled == buffer.len() {
            bail!("no head in {filled} bytes");
        }
    };
    let mut answer = parse(&head)?;
    buffer.copy_within(body_at..filled, 0);
    let mut kept = filled - body_at;
    let is_checked = is_file && answer.status == 200;
    let mut received = 0_u64;
    loop {
        if is_checked && kept > 0 && !is_right(&buffer[..kept], received) {
            bail!("other content than what is served at {received}");
        }
        received += kept as u64;
        if answer.text.is_empty() && !is_checked {
            answer.text = String::from_utf8_lossy(&buffer[..kept]).into_owned();
        }
        if received >= answer.length {
            break;
        }
        kept = stream.read(&mut buffer)?;
        if kept == 0 {
            bail!("{received} of {} bytes", answer.length);
        }
    }
    Ok(answer)
}

/// Whether both ends of a piece are what the file has there.
fn is_right(piece: &[u8], offset: u64) -> bool {
    let last = piece.len() - 1;
    piece[0] == octet_at(offset) && piece[last] == octet_at(offset + last as u64)
}

fn parse(head: &str) -> Result<Answer> {
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let length = header("content-length").and_then(|text| text.parse().ok());
    Ok(Answer {
        status: status.with_context(|| format!("no status in {head:?}"))?,
        retry_after: header("retry-after").and_then(|text| text.parse().ok()),
        // An answer without one has no body: reports are answered so.
        length: length.unwrap_or(0),
        text: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_puts_off() {
        let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 12";
        let answer = parse(head).unwrap();
        assert_eq!(
            (answer.status, answer.retry_after, answer.length),
            (503, Some(7), 12)
        );
        assert!(parse("nonsense").is_err());
    }
}
