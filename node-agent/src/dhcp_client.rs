//! A DHCP client as a state machine (RFC 2131 §4.4): bytes and time come in,
//! datagrams and deadlines go out. `net/dhcp_socket.rs` does the talking.
//!
//! It asks without option 61, so that the server sees the same client, by its
//! hardware address, as in the firmware's own request a minute ago.

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::cmdline::prefix_of;
use boot_proto::dhcp::AGENT_CLASS;
use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;
use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

/// First wait for an answer. RFC 2131 §4.1 proposes 4 s for 10 Mbit/s Ethernet;
/// a boot that lost one packet should not stand still for so long.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Requests for one offer before asking all servers again.
const REQUESTS_PER_OFFER: u32 = 4;
/// Pause after a refused request (§3.1 step 4 wants no tight loop of them).
const PAUSE_AFTER_NAK: Duration = Duration::from_secs(1);

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Own address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Default gateway, from option 121 or 3.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers, option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Server identifier, option 54.
    pub server: Ipv4Addr,
    /// MTU, option 26.
    pub mtu: Option<u16>,
    /// Lease time in seconds, option 51.
    pub lease_secs: u32,
}

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
    Requesting { offer: Message, server: Ipv4Addr },
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
            (None, State::Requesting { offer, server }) => {
                format!("{server} offered {} but did not confirm it", offer.yiaddr())
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
        let Ok(reply) = Message::decode(&mut Decoder::new(datagram)) else {
            return;
        };
        // The length is what the sender says: dhcproto's `chaddr` would panic at
        // one beyond the field's 16 octets, and with it PID 1.
        let is_ours = reply.opcode() == Opcode::BootReply
            && reply.xid() == self.xid
            && usize::from(reply.hlen()) == self.mac.octets().len()
            && reply.chaddr() == self.mac.octets();
        let Some(server) = server_of(&reply) else {
            return;
        };
        if !is_ours {
            return;
        }
        match (reply.opts().msg_type(), &self.state) {
            (Some(MessageType::Offer), State::Selecting) if !reply.yiaddr().is_unspecified() => {
                self.state = State::Requesting {
                    offer: reply,
                    server,
                };
                self.attempt = 0;
                self.send_at = now;
            }
            (Some(MessageType::Ack), State::Requesting { server: chosen, .. })
                if server == *chosen && !reply.yiaddr().is_unspecified() =>
            {
                self.state = State::Bound(lease_of(&reply, server));
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
        let reason = match reply.opts().get(OptionCode::Message) {
            Some(DhcpOption::Message(text)) => format!(": {text}"),
            _ => String::new(),
        };
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
        let mut message = Message::default();
        let secs = now.since(self.started).as_secs();
        message
            .set_opcode(Opcode::BootRequest)
            .set_htype(HType::Eth)
            .set_chaddr(&self.mac.octets())
            .set_xid(self.xid)
            .set_secs(u16::try_from(secs).unwrap_or(u16::MAX))
            // The socket cannot receive unicast to an address it has not got.
            .set_flags(Flags::default().set_broadcast());
        let options = message.opts_mut();
        match &self.state {
            State::Requesting { offer, server } => {
                options.insert(DhcpOption::MessageType(MessageType::Request));
                options.insert(DhcpOption::RequestedIpAddress(offer.yiaddr()));
                options.insert(DhcpOption::ServerIdentifier(*server));
            }
            State::Selecting | State::Bound(_) => {
                options.insert(DhcpOption::MessageType(MessageType::Discover));
            }
        }
        options.insert(DhcpOption::ClassIdentifier(AGENT_CLASS.to_vec()));
        options.insert(DhcpOption::MaxMessageSize(1472));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::Hostname,
            OptionCode::DomainName,
            OptionCode::InterfaceMtu,
            OptionCode::BroadcastAddr,
            OptionCode::ClasslessStaticRoute,
        ]));
        let mut bytes = Vec::with_capacity(300);
        // Writing into memory does not fail for a message of a few options.
        let _ = message.encode(&mut Encoder::new(&mut bytes));
        // Some servers and relays drop what is shorter than BOOTP's 300 octets
        // (RFC 1542 §2.1).
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }
}

fn server_of(reply: &Message) -> Option<Ipv4Addr> {
    match reply.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

fn lease_of(ack: &Message, server: Ipv4Addr) -> Lease {
    let options = ack.opts();
    let address = ack.yiaddr();
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_of(*mask),
        _ => None,
    };
    let dns = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => servers.clone(),
        _ => Vec::new(),
    };
    let mtu = match options.get(OptionCode::InterfaceMtu) {
        // RFC 2132 §5.1: 68 is the smallest legal value; no boot works with so
        // little, and IPv4 wants 576.
        Some(DhcpOption::InterfaceMtu(mtu)) if *mtu >= 576 => Some(*mtu),
        _ => None,
    };
    let lease_secs = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(secs)) => *secs,
        _ => u32::MAX,
    };
    let prefix = prefix.unwrap_or_else(|| prefix_by_class(address));
    Lease {
        address,
        prefix,
        gateway: gateway_of(ack),
        dns,
        server,
        mtu,
        lease_secs,
    }
}

/// Option 121 wins over 3 where both are present (RFC 3442).
fn gateway_of(ack: &Message) -> Option<Ipv4Addr> {
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) =
        ack.opts().get(OptionCode::ClasslessStaticRoute)
    {
        return routes
            .iter()
            .find(|(to, _)| to.prefix_len() == 0)
            .map(|(_, gateway)| *gateway)
            .filter(|gateway| !gateway.is_unspecified());
    }
    match ack.opts().get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers
            .iter()
            .copied()
            .find(|router| !router.is_unspecified()),
        _ => None,
    }
}

/// The prefix of a server that sends no mask (RFC 2131 §4.4.1 leaves it to the
/// host, which has the classes of RFC 791 to go by).
fn prefix_by_class(address: Ipv4Addr) -> u8 {
    let [first, ..] = address.octets();
    match first {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

#[cfg(test)]
mod tests;
