//! A lease that a boot outlives is asked for again (RFC 2131 §4.4.5): a machine
//! that waits for its image's turn for an hour must not lose its address to another.

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::dhcp::MessageType;
use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;

use super::lease::Times;
use super::{LONGEST_MESSAGE, Lease, answer_to, question, words};

/// The least pause between two requests (RFC 2131 §4.4.5).
const LEAST_PAUSE: Duration = Duration::from_secs(60);
/// The least time before the first, whatever a server says.
const LEAST_T1: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Send this from the address to port 67 of a server, or of all.
    Send {
        /// The server, or 255.255.255.255.
        to: Ipv4Addr,
        /// The message.
        datagram: Vec<u8>,
    },
    /// Wait for a datagram until then, then poll again.
    WaitUntil(Monotonic),
    /// The address is ours no more; the reason.
    Lost(String),
}

/// The upkeep of one lease.
#[derive(Clone, Debug)]
pub struct Renewal {
    mac: MacAddr,
    xid: u32,
    lease: Lease,
    times: Times,
    since: Monotonic,
    /// When it was asked for again.
    asked: Option<Monotonic>,
    send_at: Monotonic,
    refusal: Option<String>,
}

impl Renewal {
    /// Of a lease that was asked for at `since`; `None` for one without end.
    #[must_use]
    pub fn new(mac: MacAddr, seed: u32, lease: Lease, since: Monotonic) -> Option<Self> {
        let times = lease.times?;
        Some(Self {
            mac,
            xid: seed,
            lease,
            times,
            since,
            asked: None,
            send_at: since.after(times.renew.max(LEAST_T1)),
            refusal: None,
        })
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Monotonic) -> Upkeep {
        let (rebind, end) = (
            self.since.after(self.times.rebind),
            self.since.after(self.times.end),
        );
        if let Some(refusal) = &self.refusal {
            return Upkeep::Lost(refusal.clone());
        }
        if now >= end {
            let secs = self.times.end.as_secs();
            return Upkeep::Lost(format!("no server renewed it within its {secs} s"));
        }
        if now < self.send_at {
            return Upkeep::WaitUntil(self.send_at);
        }
        let (to, until) = if now < rebind {
            (self.lease.server, rebind)
        } else {
            (Ipv4Addr::BROADCAST, end)
        };
        self.asked = Some(now);
        self.send_at = now
            .after((until.since(now) / 2).max(LEAST_PAUSE))
            .min(until);
        let mut message = question(self.mac, self.xid, MessageType::Request);
        message.ciaddr = self.lease.address;
        Upkeep::Send {
            to,
            datagram: message.encode(usize::from(LONGEST_MESSAGE)),
        }
    }

    /// Takes a datagram that came to port 68; whether the lease was renewed by it.
    pub fn handle(&mut self, datagram: &[u8]) -> bool {
        let Some((reply, server)) = answer_to(self.mac, self.xid, datagram) else {
            return false;
        };
        let Some(asked) = self.asked else {
            return false;
        };
        match reply.message_type() {
            Some(MessageType::Nak) => {
                let text = format!("{server} wants it back{}", words(&reply));
                self.refusal = Some(text);
                false
            }
            Some(MessageType::Ack) if reply.yiaddr == self.lease.address => {
                self.renewed(Lease::of(&reply, server), asked);
                true
            }
            _ => false,
        }
    }

    /// From the request on, not from its answer.
    fn renewed(&mut self, lease: Lease, asked: Monotonic) {
        // One without end from now on is looked after as before.
        self.times = lease.times.unwrap_or(self.times);
        self.since = asked;
        self.asked = None;
        self.send_at = asked.after(self.times.renew.max(LEAST_T1));
        self.xid = self.xid.wrapping_add(1);
        self.lease = lease;
    }
}
