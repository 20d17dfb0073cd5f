//! A DHCP client as a state machine (RFC 2131 §4.4): bytes and time come in,
//! datagrams and deadlines go out. `net/dhcp_socket.rs` does the talking.
//!
//! It asks without option 61, so that the server sees the same client, by its
//! hardware address, as in the firmware's own request a minute ago.

mod lease;
mod renewal;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::dhcp::{AGENT_CLASS, Message, MessageType, Op, code};
use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;

pub use lease::Lease;
pub use renewal::{Renewal, Upkeep};

/// First wait for an answer. RFC 2131 §4.1 proposes 4 s for 10 Mbit/s Ethernet;
/// a boot that lost one packet should not stand still for so long.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Requests for one offer before asking all servers again.
const REQUESTS_PER_OFFER: u32 = 4;
/// Pause after a refused request (§3.1 step 4 wants no tight loop of them).
const PAUSE_AFTER_NAK: Duration = Duration::from_secs(1);
/// Octets of a datagram that is sent: an Ethernet frame without IP and UDP headers.
const LONGEST_MESSAGE: u16 = 1472;
/// Characters of a server's own words that are worth telling.
const REASON_CHARS: usize = 200;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Broadcast this from port 68 to port 67.
    Send(Vec<u8>),
    /// Wait for a datagram until then, then poll again.
    WaitUntil(Monotonic),
    /// The address may be used.
    Bound(Lease),
}

#[derive(Clone, Debug)]
enum State {
    Selecting,
    Requesting { offered: Ipv4Addr, server: Ipv4Addr },
    Bound(Lease),
}

/// The client of one link.
#[derive(Clone, Debug)]
pub struct DhcpClient {
    mac: MacAddr,
    xid: u32,
    random: u32,
    started: Monotonic,
    state: State,
    attempt: u32,
    send_at: Monotonic,
    /// What servers said that was no help, for the message of a failure.
    refusal: Option<String>,
}

impl DhcpClient {
    /// A client that begins at `now`. `seed` chooses the transaction number and
    /// the jitter.
    #[must_use]
    pub fn new(mac: MacAddr, seed: u32, now: Monotonic) -> Self {
        // xorshift stands still at zero.
        let random = seed.max(1);
        Self {
            mac,
            xid: random,
            random,
            started: now,
            state: State::Selecting,
            attempt: 0,
            send_at: now,
            refusal: None,
        }
    }

    /// Why there is no lease, in words.
    #[must_use]
    pub fn complaint(&self) -> String {
        match (&self.refusal, &self.state) {
            (Some(refusal), _) => refusal.clone(),
            (None, State::Requesting { offered, server }) => {
                format!("{server} offered {offered} but did not confirm it")
            }
            (None, _) => "no DHCP server answered".to_owned(),
        }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Monotonic) -> Output {
        if let State::Bound(lease) = &self.state {
            return Output::Bound(lease.clone());
        }
        if now < self.send_at {
            return Output::WaitUntil(self.send_at);
        }
        if matches!(self.state, State::Requesting { .. }) && self.attempt >= REQUESTS_PER_OFFER {
            self.state = State::Selecting;
            self.attempt = 0;
        }
        self.send_at = now.after(self.wait());
        self.attempt += 1;
        Output::Send(self.message(now))
    }

    /// Takes a datagram that came to port 68. What is not for us is ignored.
    pub fn handle(&mut self, now: Monotonic, datagram: &[u8]) {
        let Some((reply, server)) = answer_to(self.mac, self.xid, datagram) else {
            return;
        };
        match (reply.message_type(), &self.state) {
            (Some(MessageType::Offer), State::Selecting) if !reply.yiaddr.is_unspecified() => {
                self.state = State::Requesting {
                    offered: reply.yiaddr,
                    server,
                };
                self.attempt = 0;
                self.send_at = now;
            }
            (Some(MessageType::Ack), State::Requesting { server: chosen, .. })
                if server == *chosen && !reply.yiaddr.is_unspecified() =>
            {
                self.state = State::Bound(Lease::of(&reply, server));
            }
            (Some(MessageType::Nak), State::Requesting { server: chosen, .. })
                if server == *chosen =>
            {
                self.refuse(now, &reply, server);
            }
            _ => {}
        }
    }

    fn refuse(&mut self, now: Monotonic, reply: &Message, server: Ipv4Addr) {
        let reason = words(reply);
        self.refusal = Some(format!(
            "{server} refused the address it had offered{reason}"
        ));
        self.state = State::Selecting;
        self.attempt = 0;
        self.xid = self.next_random();
        self.send_at = now.after(PAUSE_AFTER_NAK);
    }

    /// Doubles with each attempt, with a jitter of up to a quarter either way:
    /// a rack that is powered on at once must not ask in step.
    fn wait(&mut self) -> Duration {
        let whole = FIRST_WAIT
            .saturating_mul(1 << self.attempt.min(8))
            .min(LONGEST_WAIT);
        let quarter = whole / 4;
        let span = u32::try_from(quarter.as_millis() * 2)
            .unwrap_or(u32::MAX)
            .max(1);
        whole - quarter + Duration::from_millis(u64::from(self.next_random() % span))
    }

    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn message(&self, now: Monotonic) -> Vec<u8> {
        let secs = now.since(self.started).as_secs();
        let kind = match &self.state {
            State::Requesting { .. } => MessageType::Request,
            State::Selecting | State::Bound(_) => MessageType::Discover,
        };
        let mut message = question(self.mac, self.xid, kind);
        message.secs = u16::try_from(secs).unwrap_or(u16::MAX);
        // The socket cannot receive unicast to an address it has not got.
        message.set_broadcast();
        if let State::Requesting { offered, server } = self.state {
            let options = &mut message.options;
            options.put_addresses(code::REQUESTED_ADDRESS, &[offered]);
            options.put_addresses(code::SERVER_ID, &[server]);
        }
        message.encode(usize::from(LONGEST_MESSAGE))
    }
}

/// A message with what each of ours says.
fn question(mac: MacAddr, xid: u32, kind: MessageType) -> Message {
    let mut message = Message::request(mac, xid, kind);
    let options = &mut message.options;
    options.put(code::VENDOR_CLASS, AGENT_CLASS.to_vec());
    options.put(
        code::MAX_MESSAGE_SIZE,
        LONGEST_MESSAGE.to_be_bytes().to_vec(),
    );
    let wanted = [
        code::SUBNET_MASK,
        code::ROUTER,
        code::DNS,
        code::HOSTNAME,
        code::DOMAIN,
        code::MTU,
        code::BROADCAST,
        code::CLASSLESS_ROUTES,
    ];
    options.put(code::PARAMETER_LIST, wanted.to_vec());
    message
}

/// A server's reply to our transaction, and that server.
fn answer_to(mac: MacAddr, xid: u32, datagram: &[u8]) -> Option<(Message, Ipv4Addr)> {
    let reply = Message::parse(datagram).ok()?;
    let octets = mac.octets();
    let is_ours = reply.op == Op::Reply
        && reply.xid == xid
        && usize::from(reply.hlen) == octets.len()
        && reply.chaddr.starts_with(&octets);
    let server = reply.options.address(code::SERVER_ID)?;
    is_ours.then_some((reply, server))
}

/// What a server says of its refusal (option 56), fit for a console.
fn words(reply: &Message) -> String {
    let text = reply.options.get(code::MESSAGE).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(REASON_CHARS)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}
