//! A transfer with the file it sends: does what `transfer` says is to do, over
//! whatever way there is to the client.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use boot_proto::tftp::{ErrorCode, Request};
use boot_proto::time::Monotonic;

use super::clients::{Clients, Seat};
use super::datagram::Way;
use super::files::{Content, FileCache, Piece};
use super::transfer::{Failure, Outcome, Output, Transfer, refusal, wire_number};
use crate::events::{BootEvent, EventSink};
use crate::metrics::TftpMetrics;

/// An answer that comes within this is waited for awake: to sleep and to be
/// woken takes longer.
pub(super) const QUICK: Duration = Duration::from_micros(100);

/// What all threads have in common.
pub(super) struct Shared {
    pub files: FileCache,
    pub events: Arc<dyn EventSink>,
    pub metrics: TftpMetrics,
    pub clients: Arc<Clients>,
    pub single_port: bool,
    pub processors: usize,
}

impl Shared {
    /// Whether a thread may wait awake: for so few transfers that half of the
    /// processors are left to others.
    pub(super) fn may_stay_awake(&self) -> bool {
        self.clients.all().saturating_mul(2) <= self.processors
    }

    /// Counts, logs and records the end of a transfer.
    pub(super) fn ended(&self, active: &Active, ending: Ending) {
        let Ending::Told { bytes, error } = ending else {
            return self.metrics.ended("probe");
        };
        let ip = *active.peer.ip();
        tracing::info!(%ip, file = active.request.file, bytes, error, "TFTP transfer ended");
        let how = if error.is_none() { "whole" } else { "failed" };
        self.metrics.ended(how);
        self.record(ip, &active.request, bytes, error);
    }

    /// Tells the boot log what a client got.
    pub(super) fn record(
        &self,
        address: Ipv4Addr,
        request: &Request,
        bytes: u64,
        error: Option<String>,
    ) {
        self.events.record(BootEvent::File {
            address,
            path: request.file.clone(),
            bytes,
            error,
        });
    }
}

/// Datagrams being put together by one thread.
pub(super) struct Packets {
    window: Vec<u8>,
    can_split: bool,
}

impl Packets {
    pub(super) const fn new() -> Self {
        Self {
            window: Vec::new(),
            can_split: true,
        }
    }

    /// Puts the DATA packets of some blocks one behind the other.
    fn encode(&mut self, active: &mut Active, first: u64, count: u64) -> io::Result<()> {
        self.window.clear();
        for number in first..first.saturating_add(count) {
            let (start, length) = active.transfer.block(number);
            let [high, low] = wire_number(number).to_be_bytes();
            self.window.extend_from_slice(&[0, 3, high, low]);
            let (content, window) = (&active.content, &mut self.window);
            match &mut active.ahead {
                Some(ahead) => ahead.append(content, start, length, window)?,
                None => content.append(start, length, window)?,
            }
        }
        Ok(())
    }
}

/// A transfer under way.
pub(super) struct Active {
    pub transfer: Transfer,
    pub content: Content,
    /// What is read ahead of a file on disk, where there is memory for it.
    pub ahead: Option<Piece>,
    pub request: Request,
    pub peer: SocketAddrV4,
    /// The address of ours that was asked.
    pub local: Ipv4Addr,
    pub _seat: Seat,
}

/// What a transfer has come to.
pub(super) enum Step {
    /// It waits for the client, until then.
    Wait(Monotonic),
    /// It is over.
    Over(Ending),
}

/// How a transfer ended.
pub(super) enum Ending {
    /// It was a question for the size, and nobody else's business.
    Probe,
    /// With that many bytes acknowledged, and why not with all.
    Told { bytes: u64, error: Option<String> },
}

impl Active {
    /// Does what is to do until the transfer waits or is over.
    pub(super) fn go_on(
        &mut self,
        way: Way<'_>,
        now: Monotonic,
        packets: &mut Packets,
        metrics: &TftpMetrics,
    ) -> Step {
        loop {
            let sent = match self.transfer.poll(now) {
                Output::SendOptions => way.send(self.transfer.options().unwrap_or_default()),
                Output::SendBlocks { first, count } => {
                    if let Err(error) = packets.encode(self, first, count) {
                        let message = format!("reading the file: {error}");
                        let _ = way.send(&refusal(ErrorCode::Undefined, &message));
                        let error = Some(message);
                        return Step::Over(Ending::Told { bytes: 0, error });
                    }
                    metrics.sent(packets.window.len());
                    let segment = self.transfer.packet_bytes();
                    way.send_all(&packets.window, segment, &mut packets.can_split)
                }
                Output::WaitUntil(deadline) => return Step::Wait(deadline),
                Output::Done(outcome) => return Step::Over(outcome.into()),
            };
            // What could not be sent is lost, as on the wire: it is sent again
            // when its time is up.
            if let Err(error) = sent {
                tracing::debug!(ip = %self.peer.ip(), %error, "a TFTP packet is not sent");
            }
        }
    }
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        let is_probe = outcome.bytes == 0 && matches!(outcome.error, Some(Failure::Aborted { .. }));
        if is_probe {
            return Self::Probe;
        }
        Self::Told {
            bytes: outcome.bytes,
            error: outcome.error.map(|error| error.to_string()),
        }
    }
}
