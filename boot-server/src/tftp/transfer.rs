//! One TFTP transfer as a state machine: datagrams and time in, datagrams and
//! deadlines out.
//!
//! A block is sent again only when its time is up, or once when an ACK says
//! that a window arrived in part; an ACK seen twice is passed over. So no
//! packet is ever doubled by another one (RFC 1123 §4.2.3.1, the sorcerer's
//! apprentice).

use std::time::Duration;

use boot_proto::tftp::{self, DEFAULT_BLOCK_BYTES, ErrorCode, FromClient, Request};
use boot_proto::time::Monotonic;

/// Headers of IP, UDP and TFTP before the block of a DATA packet.
const HEADER_BYTES: usize = 20 + 8 + 4;
/// Smallest block that RFC 2348 allows.
const SMALLEST_BLOCK_BYTES: usize = 8;
/// Largest window that is agreed to; more at once overruns small switches.
const LARGEST_WINDOW: u64 = 64;
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(8);
const MAX_TRIES: u32 = 6;
/// Many ROMs start the loader without acknowledging its last block.
const LAST_BLOCK_TRIES: u32 = 3;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send [`Transfer::options`] to the client.
    SendOptions,
    /// Send these blocks to the client, in one go.
    SendBlocks {
        /// The first of them, counted from 1.
        first: u64,
        /// How many there are, at least one.
        count: u64,
    },
    /// Nothing until a datagram comes, or this time is there.
    WaitUntil(Monotonic),
    /// The transfer is over.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that the client acknowledged.
    pub bytes: u64,
    /// Why the file did not arrive whole.
    pub error: Option<Failure>,
}

/// Why a file did not arrive whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client did not answer any more.
    #[error("the client stopped answering after {bytes} of {size} bytes")]
    Timeout {
        /// Bytes acknowledged.
        bytes: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// The client gave up. Firmware does so on purpose, when it wants to know
    /// the size of a file only.
    #[error("the client gave up: {message} (TFTP error {code})")]
    Aborted {
        /// Error code.
        code: u16,
        /// What it said.
        message: String,
    },
}

/// A file on its way to one client.
#[derive(Debug)]
pub struct Transfer {
    size: u64,
    block_bytes: usize,
    window: u64,
    timeout: Duration,
    /// The OACK, until the client has acknowledged it.
    options: Option<Vec<u8>>,
    /// Whether `options` waits to be sent, for the first time or again.
    options_due: bool,
    /// Blocks, counted from 1: all up to this one have arrived.
    acked: u64,
    /// All up to this one were sent.
    sent: u64,
    /// The ACK that made us go back last; the same does not do it again.
    went_back_at: Option<u64>,
    tries: u32,
    deadline: Option<Monotonic>,
    outcome: Option<Outcome>,
}

impl Transfer {
    /// A transfer of a file of `size` bytes as the client asks for it; options
    /// that we do not know, or whose values RFCs do not allow, are left out of
    /// the answer. A block is at most what one packet of `mtu` bytes holds:
    /// firmware's IP stacks put fragments together badly or not at all.
    #[must_use]
    pub fn new(size: u64, request: &Request, mtu: usize) -> Self {
        let mut transfer = Self {
            size,
            block_bytes: DEFAULT_BLOCK_BYTES,
            window: 1,
            timeout: FIRST_TIMEOUT,
            options: None,
            options_due: false,
            acked: 0,
            sent: 0,
            went_back_at: None,
            tries: 0,
            deadline: None,
            outcome: None,
        };
        let mut agreed: Vec<(&str, String)> = Vec::new();
        for (name, value) in &request.options {
            // RFC 2347 allows each once; one that came before is agreed to.
            let is_new = agreed.iter().all(|(known, _)| *known != name.as_str());
            let asked = value.parse().ok().filter(|_| is_new);
            if let Some(value) = asked.and_then(|asked| transfer.agree(name, asked, mtu)) {
                agreed.push((name, value));
            }
        }
        if !agreed.is_empty() {
            transfer.options = Some(tftp::option_ack(&agreed));
            transfer.options_due = true;
        }
        transfer
    }

    /// The value that an option gets, or `None` to leave it out.
    fn agree(&mut self, name: &str, asked: u64, mtu: usize) -> Option<String> {
        match (name, asked) {
            ("blksize", 8..=65_464) => {
                let largest = mtu.saturating_sub(HEADER_BYTES).max(SMALLEST_BLOCK_BYTES);
                self.block_bytes = usize::try_from(asked).ok()?.min(largest);
                Some(self.block_bytes.to_string())
            }
            ("windowsize", 1..=65_535) => {
                self.window = asked.min(LARGEST_WINDOW);
                Some(self.window.to_string())
            }
            ("timeout", 1..=255) => {
                self.timeout = Duration::from_secs(asked);
                Some(asked.to_string())
            }
            ("tsize", _) => Some(self.size.to_string()),
            _ => None,
        }
    }

    /// Whether the client has answered yet.
    #[must_use]
    pub fn is_underway(&self) -> bool {
        self.acked > 0
    }

    /// Takes a datagram from the client.
    pub fn handle(&mut self, datagram: &[u8]) {
        match FromClient::parse(datagram) {
            Ok(FromClient::Ack(block)) => self.acknowledge(block),
            Ok(FromClient::Error(code, message)) => {
                self.end(Some(Failure::Aborted {
                    code: code.number(),
                    message,
                }));
            }
            // A request belongs to the other port, and a reader sends no DATA.
            Ok(_) | Err(_) => {}
        }
    }

    fn acknowledge(&mut self, block: u16) {
        if self.options.is_some() {
            if block == 0 {
                self.options = None;
                self.progress();
            }
            return;
        }
        // Numbers on the wire have 16 bits and roll over to 0; at most a
        // window lies between the last one acknowledged and the last one sent.
        let ahead = u64::from(block.wrapping_sub(wire_number(self.acked)));
        if ahead > self.sent - self.acked {
            return;
        }
        if ahead > 0 {
            self.acked += ahead;
            self.progress();
        } else if self.window == 1 || self.went_back_at == Some(self.acked) {
            return;
        }
        // A window that arrived in part goes on after the part (RFC 7440 §4).
        if self.acked < self.sent {
            self.went_back_at = Some(self.acked);
            self.sent = self.acked;
        }
        if self.acked == self.blocks() {
            self.end(None);
        }
    }

    fn progress(&mut self) {
        self.tries = 0;
        self.deadline = None;
    }

    /// What to do next. Call it until it names a deadline.
    pub fn poll(&mut self, now: Monotonic) -> Output {
        if let Some(outcome) = &self.outcome {
            return Output::Done(outcome.clone());
        }
        if let Some(deadline) = self.deadline
            && now >= deadline
        {
            self.time_out();
            return self.poll(now);
        }
        if self.options.is_some() {
            if self.options_due {
                self.options_due = false;
                self.wait(now);
                return Output::SendOptions;
            }
        } else {
            let last = self.blocks().min(self.acked + self.window);
            if self.sent < last {
                let (first, count) = (self.sent + 1, last - self.sent);
                self.sent = last;
                self.wait(now);
                return Output::SendBlocks { first, count };
            }
        }
        Output::WaitUntil(*self.deadline.get_or_insert(now.after(self.timeout)))
    }

    fn wait(&mut self, now: Monotonic) {
        let factor = 1 << self.tries.min(8);
        let longest = LONGEST_TIMEOUT.max(self.timeout);
        self.deadline = Some(now.after((self.timeout * factor).min(longest)));
    }

    fn time_out(&mut self) {
        self.tries += 1;
        self.deadline = None;
        let is_all_sent = self.options.is_none() && self.sent == self.blocks();
        let is_last = is_all_sent && self.blocks() - self.acked <= 1;
        if is_last && self.tries > LAST_BLOCK_TRIES {
            self.acked = self.blocks();
            self.end(None);
        } else if self.tries >= MAX_TRIES {
            self.end(Some(Failure::Timeout {
                bytes: self.bytes(),
                size: self.size,
            }));
        } else {
            self.sent = self.acked;
            self.options_due = self.options.is_some();
        }
    }

    fn end(&mut self, error: Option<Failure>) {
        self.outcome = Some(Outcome {
            bytes: self.bytes(),
            error,
        });
    }

    fn bytes(&self) -> u64 {
        (self.acked * self.block_bytes as u64).min(self.size)
    }

    /// Number of blocks. The last one is shorter than the others, and empty
    /// where the file ends with a full block.
    fn blocks(&self) -> u64 {
        self.size / self.block_bytes as u64 + 1
    }

    /// The OACK packet, where options were agreed to and not acknowledged yet.
    #[must_use]
    pub fn options(&self) -> Option<&[u8]> {
        self.options.as_deref()
    }

    /// Where the block of that number lies in the file: its first byte and how
    /// many bytes it has.
    #[must_use]
    pub fn block(&self, number: u64) -> (u64, usize) {
        let block_bytes = self.block_bytes as u64;
        let start = (number.saturating_sub(1) * block_bytes).min(self.size);
        let left = usize::try_from(self.size - start).unwrap_or(usize::MAX);
        (start, self.block_bytes.min(left))
    }

    /// Bytes of every DATA packet but the last.
    #[must_use]
    pub const fn packet_bytes(&self) -> usize {
        self.block_bytes + 4
    }
}

/// A block's number on the wire.
pub(super) fn wire_number(block: u64) -> u16 {
    u16::try_from(block % 65_536).unwrap_or_default()
}

/// The answer to a request that is refused.
#[must_use]
pub fn refusal(code: ErrorCode, message: &str) -> Vec<u8> {
    tftp::error(code, message)
}

#[cfg(test)]
mod tests;
