//! TFTP clients, one a thread, as firmware is: RFC 1350, 2347, 2348 and 7440.
//! They run in a process of their own, on their side of the wire.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::relay;

/// Clients fetch one file again and again
#[derive(Args)]
pub struct ClientOptions {
    /// The server
    server: SocketAddr,
    /// The file
    file: String,
    /// Its size in bytes
    size: u64,
    /// Clients at once
    #[arg(long, default_value_t = 1)]
    clients: u32,
    /// Blocks between two acknowledgements
    #[arg(long, default_value_t = 1)]
    window: u64,
    /// Bytes of a block
    #[arg(long, default_value_t = 1468)]
    block: usize,
    /// How long
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// What every packet is delayed by, each way
    #[arg(long, default_value_t = 0)]
    delay_micros: u64,
    /// The client's own address
    #[arg(long, default_value_t = Ipv4Addr::UNSPECIFIED)]
    from: Ipv4Addr,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Bytes of file content received in order.
    pub bytes: u64,
    /// Seconds it took.
    pub secs: f64,
    /// Whole files.
    pub files: u64,
    /// How often nothing came in time.
    pub timeouts: u64,
    /// The window that was agreed to.
    pub window: u64,
}

/// Fetches, and prints the outcome as JSON.
///
/// # Errors
/// When a transfer fails.
pub fn run(options: &ClientOptions) -> Result<()> {
    let delay = Duration::from_micros(options.delay_micros);
    let begun = Instant::now();
    let until = begun + Duration::from_secs(options.seconds);
    let outcomes: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.clients)
            .map(|_| scope.spawn(|| fetch_until(options, delay, until)))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|result| result.unwrap_or_else(|_| bail!("a client panicked")))
            .collect()
    });
    let mut sum = Outcome::default();
    for outcome in outcomes {
        let outcome = outcome?;
        sum.bytes += outcome.bytes;
        sum.files += outcome.files;
        sum.timeouts += outcome.timeouts;
        sum.window = outcome.window;
    }
    sum.secs = begun.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&sum)?);
    Ok(())
}

/// Fetches a file once, block by block, as firmware does.
///
/// # Errors
/// When it does not come whole.
pub fn fetch_from(
    from: Ipv4Addr,
    server: &str,
    file: &str,
    size: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let options = ClientOptions {
        server: format!("{server}:69").parse()?,
        file: file.to_owned(),
        size,
        clients: 1,
        window: 1,
        block: 1468,
        seconds: 0,
        delay_micros: 0,
        from,
    };
    let until = Instant::now() + Duration::from_secs(3600);
    fetch(&options, options.server, until, outcome)
}

fn fetch_until(options: &ClientOptions, delay: Duration, until: Instant) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while Instant::now() < until {
        let server = if delay.is_zero() {
            options.server
        } else {
            relay::start(options.server, delay)?
        };
        fetch(options, server, until, &mut outcome)
            .with_context(|| format!("after {} files", outcome.files))?;
    }
    Ok(outcome)
}

/// Fetches the file once, or as much as there is time for.
fn fetch(
    options: &ClientOptions,
    server: SocketAddr,
    until: Instant,
    outcome: &mut Outcome,
) -> Result<()> {
    let socket = UdpSocket::bind((options.from, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let request = request(options);
    socket.send_to(&request, server)?;
    let mut buffer = vec![0; options.block + 100];
    let (mut peer, mut blocks, mut in_window, mut window) = (None, 0_u64, 0_u64, 1_u64);
    let mut received = 0_u64;
    loop {
        let (bytes, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                outcome.timeouts += 1;
                if outcome.timeouts > 100 {
                    bail!("the server is silent");
                }
                match peer {
                    Some(peer) => send_ack(&socket, peer, blocks)?,
                    None => drop(socket.send_to(&request, server)?),
                }
                in_window = 0;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match buffer[..bytes] {
            [0, 6, ref agreed @ ..] => {
                peer = Some(from);
                window = window_of(agreed);
                send_ack(&socket, from, 0)?;
            }
            [0, 3, high, low, ref content @ ..] => {
                let number = u16::from_be_bytes([high, low]);
                if number != (blocks + 1) as u16 {
                    // Something is missing: once a window, say what is here.
                    if in_window > 0 {
                        in_window = 0;
                        send_ack(&socket, from, blocks)?;
                    }
                    continue;
                }
                (peer, blocks, in_window) = (Some(from), blocks + 1, in_window + 1);
                received += content.len() as u64;
                let is_last = content.len() < options.block;
                if is_last || in_window >= window {
                    in_window = 0;
                    send_ack(&socket, from, blocks)?;
                }
                if is_last {
                    if received != options.size {
                        bail!("{received} bytes came, not {}", options.size);
                    }
                    outcome.files += 1;
                    break;
                }
                if blocks.is_multiple_of(64) && Instant::now() >= until {
                    socket.send_to(b"\x00\x05\x00\x00enough\0", from)?;
                    break;
                }
            }
            [0, 5, ref message @ ..] => bail!("{}", String::from_utf8_lossy(message)),
            _ => bail!("no TFTP packet came"),
        }
    }
    outcome.bytes += received;
    outcome.window = window;
    Ok(())
}

fn request(options: &ClientOptions) -> Vec<u8> {
    let mut request = vec![0, 1];
    let (block, window) = (options.block.to_string(), options.window.to_string());
    let mut texts = vec![&*options.file, "octet", "blksize", &block];
    if options.window > 1 {
        texts.extend(["windowsize", &*window]);
    }
    for text in texts {
        request.extend_from_slice(text.as_bytes());
        request.push(0);
    }
    request
}

/// The window of an OACK; one without it sends block by block.
fn window_of(agreed: &[u8]) -> u64 {
    let texts: Vec<&[u8]> = agreed.split(|byte| *byte == 0).collect();
    texts
        .chunks(2)
        .find(|pair| pair[0].eq_ignore_ascii_case(b"windowsize"))
        .and_then(|pair| std::str::from_utf8(pair.get(1)?).ok()?.parse().ok())
        .unwrap_or(1)
}

fn send_ack(socket: &UdpSocket, peer: SocketAddr, block: u64) -> io::Result<()> {
    let [high, low] = (block as u16).to_be_bytes();
    socket.send_to(&[0, 4, high, low], peer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_to() {
        assert_eq!(window_of(b"blksize\x001468\0windowsize\x0016\0"), 16);
        assert_eq!(window_of(b"blksize\x001468\0"), 1);
        assert_eq!(window_of(b""), 1);
    }
}
