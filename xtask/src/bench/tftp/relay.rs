//! A slower wire: takes each packet, holds it back for a while, passes it on.
//! Not every kernel has netem.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long a relay waits for more before it ends.
const QUIET: Duration = Duration::from_secs(6);

/// Starts a relay for one transfer from `server`; where to ask instead of it.
///
/// # Errors
/// When there is no port.
pub fn start(server: SocketAddr, delay: Duration) -> io::Result<SocketAddr> {
    let client_side = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
    let server_side = Arc::new(UdpSocket::bind("0.0.0.0:0")?);
    let address = client_side.local_addr()?;
    // The ports of the two ends, which the first packets tell.
    let client_port = Arc::new(AtomicU16::new(0));
    let server_port = Arc::new(AtomicU16::new(server.port()));
    for (from, to, own, other, ip) in [
        (
            &client_side,
            &server_side,
            &client_port,
            &server_port,
            server.ip(),
        ),
        (
            &server_side,
            &client_side,
            &server_port,
            &client_port,
            address.ip(),
        ),
    ] {
        from.set_read_timeout(Some(QUIET))?;
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        let (own, other) = (Arc::clone(own), Arc::clone(other));
        let (sender, receiver) = channel();
        std::thread::spawn(move || take(&from, &own, delay, &sender));
        std::thread::spawn(move || {
            pass(&receiver, |packet| {
                let to_port = SocketAddr::new(ip, other.load(Ordering::Acquire));
                // One that is lost is lost.
                let _ = to.send_to(packet, to_port);
            });
        });
    }
    Ok(address)
}

fn take(from: &UdpSocket, port: &AtomicU16, delay: Duration, to: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 2048];
    while let Ok((bytes, sender)) = from.recv_from(&mut buffer) {
        port.store(sender.port(), Ordering::Release);
        let packet = (Instant::now() + delay, buffer[..bytes].to_vec());
        if to.send(packet).is_err() {
            return;
        }
    }
}

fn pass(from: &Receiver<(Instant, Vec<u8>)>, send: impl Fn(&[u8])) {
    while let Ok((due, packet)) = from.recv() {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        send(&packet);
    }
}
