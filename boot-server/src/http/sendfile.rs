//! From the page cache into the socket, without a copy through this program.

use std::io;
use std::time::Duration;

use nix::sys::sendfile::sendfile64;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::blobs::Content;
use super::listener::Limits;
use crate::clock;

/// Most that one call is asked for.
const CHUNK: u64 = 2 << 20;
/// A client that takes all at once lets others have their turn after this much.
const TURN: u64 = 4 << 20;
/// Over what time a client's rate is looked at.
const RATE_PERIOD: Duration = Duration::from_secs(30);

/// Holds back segments that are not full, until told otherwise (`TCP_CORK`, tcp(7)): a
/// head shares packets with what follows, and the pieces of a file meet without short
/// segments between them, which would cost a fast receiver half of its rate. A socket
/// that cannot hold back sends as it did.
pub(super) fn cork(stream: &TcpStream, is_corked: bool) {
    let _ = SockRef::from(stream).set_tcp_cork(is_corked);
}

/// Sends a part of a file. One who takes nothing, or next to nothing, for too
/// long is given up: its place is another's.
pub(super) async fn send(
    stream: &TcpStream,
    content: &mut Content,
    limits: &Limits,
) -> io::Result<()> {
    let (mut period, mut in_period) = (clock::monotonic(), 0_u64);
    let mut turn = 0_u64;
    while content.meter.sent < content.length {
        let sent = send_some(stream, content)?;
        content.meter.sent = content.meter.sent.saturating_add(sent);
        in_period = in_period.saturating_add(sent);
        turn = turn.saturating_add(sent);
        if sent > 0 {
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
            continue;
        }
        turn = 0;
        tokio::time::timeout(limits.stall, stream.writable()).await??;
        let lasted = clock::monotonic().since(period);
        if lasted >= RATE_PERIOD {
            if in_period / lasted.as_secs().max(1) < limits.bytes_per_second {
                return Err(io::ErrorKind::TimedOut.into());
            }
            (period, in_period) = (clock::monotonic(), 0);
        }
    }
    Ok(())
}

/// Sends what the socket has room for; zero where it has none.
fn send_some(stream: &TcpStream, content: &Content) -> io::Result<u64> {
    let left = content.length.saturating_sub(content.meter.sent);
    let count = usize::try_from(left.min(CHUNK)).unwrap_or(0);
    let at = content.first.saturating_add(content.meter.sent);
    let mut offset = i64::try_from(at).map_err(io::Error::other)?;
    let mut sent = 0;
    let result = stream.try_io(Interest::WRITABLE, || {
        sent = sendfile64(stream, &content.opened.file, Some(&mut offset), count)?;
        match sent {
            // The file became shorter while it was sent.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            // The socket is full: that need not be asked again.
            short if short < count => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    });
    match result {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(sent as u64),
    }
}
