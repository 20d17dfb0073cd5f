//! What a machine said on its cable, out of a file of pcap.

use std::fs;
use std::path::Path;

/// Bytes of the file's header, and of that of a frame.
const FILE_HEAD: usize = 24;
const FRAME_HEAD: usize = 16;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// What a TLS client says first: a handshake record of TLS 1.x.
const HELLO: [u8; 2] = [0x16, 3];

/// What was asked over TCP.
#[derive(Debug, Default)]
pub struct Wire {
    /// First lines of requests in the clear.
    pub requests: Vec<String>,
    /// Handshakes of TLS that were begun, by destination port.
    pub hellos: Vec<u16>,
}

impl Wire {
    pub fn read(path: &Path) -> Self {
        let file = fs::read(path).expect("what the machine said");
        let mut wire = Self::default();
        let mut rest = file.get(FILE_HEAD..).expect("a file of pcap");
        while let Some((head, frames)) = rest.split_at_checked(FRAME_HEAD) {
            let kept = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
            let Some((frame, next)) = frames.split_at_checked(kept) else {
                break;
            };
            if let Some((port, payload)) = tcp(frame) {
                wire.note(port, payload);
            }
            rest = next;
        }
        wire
    }

    fn note(&mut self, port: u16, payload: &[u8]) {
        let is_request = ["GET /", "HEAD /", "POST /"]
            .iter()
            .any(|verb| payload.starts_with(verb.as_bytes()));
        if is_request {
            let text = String::from_utf8_lossy(payload);
            let line = text.lines().next().unwrap_or_default();
            self.requests.push(line.to_owned());
        } else if payload.starts_with(&HELLO) && payload.get(5) == Some(&1) {
            self.hellos.push(port);
        }
    }

    pub fn has_asked(&self, for_what: &str) -> bool {
        self.requests.iter().any(|line| line.contains(for_what))
    }
}

/// Destination port and payload of a frame that is TCP over IPv4.
fn tcp(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let is_tcp = ethernet.ends_with(&[8, 0]) && packet.get(9) == Some(&6);
    let segment = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    let port = u16::from_be_bytes([*segment.get(2)?, *segment.get(3)?]);
    let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    is_tcp.then_some((port, payload))
}
