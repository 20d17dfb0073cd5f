//! The decision: a message, what is declared, what is leased and the time go
//! in; a reply, or the reason to stay silent, comes out. Pure.
//!
//! A client is its MAC. RFC 2131 §4.2 would have the client identifier come
//! first, but one machine that boots sends a different one at each step
//! (firmware, iPXE, initramfs, systemd-networkd), and each must find the
//! address of the step before.

mod address;
mod answer;
mod boot;
mod bootp;
mod link;
mod reason;
mod request;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use boot_proto::dhcp::{ClientFacts, Malformed, Message, MessageType, Op, PXE_PORT, code};
use boot_proto::ids::MacAddr;
use boot_proto::resources::{DhcpMode, Object, SubnetSpec};
use boot_proto::time::{Monotonic, WallClock};
use ipnet::Ipv4Net;

pub use reason::message_word;

use super::leases::{Change, LeaseTable};
use super::limits::Limits;
use crate::arch::NoLoader;
use crate::events::BootEvent;
use crate::inventory::{Assignment, Client, Inventory, MatchedBy, Unassigned};

/// How a datagram came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Interface it came in on.
    pub interface: Arc<str>,
    /// Addresses of that interface with their prefixes.
    pub networks: Arc<[Ipv4Net]>,
    /// All addresses of this host.
    pub own: Arc<[Ipv4Addr]>,
    /// The address of ours that it was sent to; `None` for a broadcast.
    pub local: Option<Ipv4Addr>,
    /// Where it came from.
    pub source: SocketAddrV4,
    /// Port it came to: 67 or 4011.
    pub port: u16,
    /// When it came.
    pub at: Monotonic,
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a relay agent's server port.
    Relay(Ipv4Addr),
    /// To a client that has its address.
    Client(SocketAddrV4),
    /// To a client that does not have its address yet and answers no ARP:
    /// unicast to its hardware address.
    Hardware(MacAddr, Ipv4Addr),
    /// To everybody on the link.
    Broadcast,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub message: Message,
    /// Largest UDP payload that the client takes.
    pub limit: usize,
    /// Where it goes.
    pub to: Destination,
    /// Why a request is refused, where the reply is a NAK.
    pub refusal: Option<Refusal>,
    /// Why a client that boots is named nothing to load.
    pub nothing_to_boot: Option<NoLoader>,
}

/// What a message calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// An answer.
    Reply(Box<Reply>),
    /// None, and why.
    Silent(Why),
}

/// Why a message is left unanswered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is no DHCP message.
    #[error("no DHCP message: {0}")]
    Malformed(#[from] Malformed),
    /// A server's reply, heard by chance.
    #[error("a server's reply, not a client's request")]
    NotARequest,
    /// No Ethernet address of one NIC: nothing to recognise the client by.
    #[error(
        "the hardware address (htype {htype}, {hlen} octets) is no Ethernet address of one NIC"
    )]
    NoMac {
        /// Hardware type.
        htype: u8,
        /// Length.
        hlen: u8,
    },
    /// BOOTP without DHCP's message type, of a machine without a reservation.
    #[error(
        "plain BOOTP: there is no message type (option 53), and such a client is given a reserved address alone: declare the machine with address"
    )]
    Bootp,
    /// A message type that is not a client's.
    #[error("a {0:?} message is not for DHCP servers such as this one")]
    NotForServers(MessageType),
    /// No declared subnet is on this link.
    #[error("no Subnet is declared for interface {0}")]
    UnknownLink(String),
    /// No declared subnet belongs to this relay.
    #[error("no Subnet is declared for relay {0}")]
    UnknownRelay(Ipv4Addr),
    /// No declared subnet has the network that the relay or the client asks for.
    #[error(
        "no Subnet is declared for {0}, which the relay (option 82.5) or the client (option 118) asks for"
    )]
    UnknownSelection(Ipv4Addr),
    /// DHCP is off on this network.
    #[error("Subnet {0} says mode: off")]
    ModeOff(String),
    /// The interface has no address to answer from.
    #[error("interface {0} has no IPv4 address to answer from")]
    NoServerAddress(String),
    /// Nobody declared the client, and no pool takes it.
    #[error(transparent)]
    UnknownClient(#[from] Unassigned),
    /// Its pool's subnet is not on the link it asks through.
    #[error("its pool gives addresses of Subnet {0}, which is not on this link")]
    OnOtherLink(String),
    /// The client took another server's offer.
    #[error("the client chose server {0}")]
    OtherServer(Ipv4Addr),
    /// Not one of the combinations of RFC 2131 §4.3.2.
    #[error("neither a server identifier, nor a requested address, nor ciaddr says what is wanted")]
    Incomplete,
    /// We never gave this client an address here, so that another server may have.
    #[error("no lease of this client is known here; another server may have given it")]
    NoRecord,
    /// No range is declared for machines without a reservation.
    #[error("Subnet {0} has no ranges, and the machine has no address reserved there")]
    NoRange(String),
    /// All addresses are taken.
    #[error("all addresses in the ranges of Subnet {0} are taken")]
    Exhausted(String),
    /// The client gave its address back.
    #[error("{0} was released")]
    Released(Ipv4Addr),
    /// The client found its address in use; it rests.
    #[error("{0} is in use by somebody else, says the client; it rests")]
    Declined(Ipv4Addr),
    /// A RELEASE or DECLINE of a lease that is not the client's.
    #[error("the client holds no lease on {0}")]
    NotItsLease(Ipv4Addr),
    /// The address is not right, and other servers may know better.
    #[error("{0}; Subnet {1} says authoritative: false, so that it is not refused")]
    NotAuthoritative(Refusal, String),
    /// A machine that is bound to a relay port asks through another.
    #[error("machine {0} is bound to another relay port (relayPort) than it asks through")]
    OtherPort(String),
    /// Too many machines that nobody knows.
    #[error(
        "machine is not known, and Subnet {0} or its relay port had too many new ones lately; declare it, or raise strangers in the Subnet"
    )]
    TooManyStrangers(String),
    /// A client that declines whatever it is given.
    #[error("the client declined too many addresses; this one does not rest")]
    TooManyDeclined,
    /// A client that sends without end.
    #[error(
        "the client sends more messages than a client needs to, and is left alone for a minute"
    )]
    Quarantined,
    /// The address that was decided on could not be claimed.
    #[error(
        "{0} could not be claimed for it: another boot-server gave the address meanwhile, or the API server does not answer"
    )]
    NotClaimed(Ipv4Addr),
    /// The lease could not be stored.
    #[error("its lease could not be stored; the log says why")]
    NotStored,
    /// A proxyDHCP service has nothing to say to this client.
    #[error("this network is served as proxyDHCP: only clients that boot are answered")]
    ProxyOnly,
    /// Asks for a boot file, and there is none.
    #[error("there is no boot file for client architecture {0:?}")]
    NoBootFile(Option<u16>),
}

/// Why a request is refused with a NAK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address lies in none of the link's subnets.
    #[error("{0} is not on this network")]
    WrongNetwork(Ipv4Addr),
    /// The machine has a reservation elsewhere.
    #[error("this machine's address is {0}")]
    HasReservation(Ipv4Addr),
    /// Another machine has it reserved.
    #[error("{0} is reserved for another machine")]
    Reserved(Ipv4Addr),
    /// Another client holds it or was offered it.
    #[error("{0} is taken")]
    Taken(Ipv4Addr),
    /// It was found in use by somebody else, and rests.
    #[error("{0} was found in use by somebody else")]
    Resting(Ipv4Addr),
    /// It lies in no range.
    #[error("{0} is in no range")]
    NoRange(Ipv4Addr),
    /// The lease of this client is on another address.
    #[error("{0} is not this client's address")]
    NotYours(Ipv4Addr),
}

/// A decision with all that follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to say.
    pub decision: Decision,
    /// What must be on disk before it is said.
    pub changes: Vec<Change>,
    /// Address that is to be asked for a sign of life before the reply is sent.
    pub probe: Option<Ipv4Addr>,
    /// Machine that is to be known by the client's MAC from now on.
    pub learned: Option<String>,
    /// What to tell the boot log once it is said.
    pub event: Option<BootEvent>,
    /// What the client sent; `None` where it is no DHCP message.
    pub kind: Option<MessageType>,
    /// The client, where it is known.
    pub mac: Option<MacAddr>,
    /// The machine it is, where it is known.
    pub machine: Option<String>,
}

/// Decides what clients are told.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    /// Port of the HTTP boot face, for URLs.
    pub http_port: u16,
}

/// One message with all that is known when it is answered.
pub(super) struct Exchange<'a> {
    responder: Responder,
    inventory: &'a Inventory,
    now: WallClock,
    ingress: &'a Ingress,
    message: &'a Message,
    mac: MacAddr,
    facts: ClientFacts,
    assignment: Assignment,
    /// Subnets of the link that the machine may have an address of.
    subnets: Vec<&'a Object<SubnetSpec>>,
    limits: &'a mut Limits,
    changes: Vec<Change>,
    probe: Option<Ipv4Addr>,
    event: Option<BootEvent>,
}

/// What was decided before, and bounds what is decided now.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Leases and offers.
    pub leases: &'a mut LeaseTable,
    /// Limits of clients.
    pub limits: &'a mut Limits,
}

impl Responder {
    /// Decides about one datagram.
    pub fn handle(
        self,
        inventory: &Inventory,
        memory: Memory<'_>,
        now: WallClock,
        ingress: &Ingress,
        datagram: &[u8],
    ) -> Outcome {
        let mut outcome = Outcome {
            decision: Decision::Silent(Why::NotARequest),
            changes: Vec::new(),
            probe: None,
            learned: None,
            event: None,
            kind: None,
            mac: None,
            machine: None,
        };
        match self.decide(inventory, memory, now, ingress, datagram, &mut outcome) {
            Ok(reply) => outcome.decision = Decision::Reply(Box::new(reply)),
            Err(why) => outcome.decision = Decision::Silent(why),
        }
        outcome
    }

    fn decide(
        self,
        inventory: &Inventory,
        Memory { leases, limits }: Memory<'_>,
        now: WallClock,
        ingress: &Ingress,
        datagram: &[u8],
        outcome: &mut Outcome,
    ) -> Result<Reply, Why> {
        let message = &Message::parse(datagram)?;
        if message.op != Op::Request {
            return Err(Why::NotARequest);
        }
        outcome.kind = message.message_type();
        let no_mac = Why::NoMac {
            htype: message.htype,
            hlen: message.hlen,
        };
        let mac = message.mac().ok_or(no_mac)?;
        outcome.mac = Some(mac);
        let kind = outcome.kind;
        match kind {
            Some(MessageType::Release) => {
                return Err(request::release(
                    leases, now, ingress, message, mac, outcome,
                ));
            }
            Some(MessageType::Decline) if !limits.decline(mac, ingress.at) => {
                return Err(Why::TooManyDeclined);
            }
            Some(MessageType::Decline) => {
                return Err(request::decline(
                    leases, now, ingress, message, mac, outcome,
                ));
            }
            None | Some(MessageType::Discover | MessageType::Request | MessageType::Inform) => {}
            Some(other) => return Err(Why::NotForServers(other)),
        }
        let (mode, subnets) = link::subnets(inventory, ingress, message)?;
        let facts = ClientFacts::of(message);
        let client = Client {
            mac,
            uuid: facts.uuid.clone(),
        };
        let assignment = link::assignment(inventory, message, &client, |machine| {
            let lease = leases.get(message.ciaddr);
            lease.is_some_and(|lease| {
                lease.is_active(now)
                    && lease.mac == mac
                    && lease.machine.as_deref() == Some(machine)
            })
        })?;
        outcome.machine = Some(assignment.machine.clone());
        let mut exchange = Exchange {
            responder: self,
            inventory,
            now,
            ingress,
            message,
            mac,
            facts,
            assignment,
            subnets,
            limits,
            changes: Vec::new(),
            probe: None,
            event: None,
        };
        let is_proxy = mode == DhcpMode::Proxy || ingress.port == PXE_PORT;
        let reply = match kind {
            None if is_proxy => Err(Why::Bootp),
            None => exchange.bootp(leases),
            Some(kind) if is_proxy => exchange.proxy(kind),
            Some(kind) => exchange.full(kind, leases),
        };
        if let (Some(MessageType::Discover), Err(why)) = (kind, &reply) {
            exchange.event = exchange.unanswered(why);
        }
        if kind == Some(MessageType::Discover) && exchange.facts.is_agent {
            exchange.event = Some(exchange.agent_asked());
        }
        let is_new_mac = inventory.machine_of_mac(mac) != Some(&exchange.assignment.machine);
        let by = exchange.assignment.matched;
        if matches!(by, MatchedBy::RelayPort | MatchedBy::ClientId) && is_new_mac {
            outcome.learned = Some(exchange.assignment.machine.clone());
        }
        outcome.probe = exchange.probe;
        outcome.changes = exchange.changes;
        outcome.event = exchange.event;
        reply
    }
}

impl Exchange<'_> {
    fn full(&mut self, kind: MessageType, leases: &mut LeaseTable) -> Result<Reply, Why> {
        if kind == MessageType::Inform {
            return self.inform();
        }
        self.keep_to_pool()?;
        match kind {
            MessageType::Discover => self.discover(leases),
            _ => self.request(leases),
        }
    }

    /// A pool that names a subnet gives addresses of no other.
    fn keep_to_pool(&mut self) -> Result<(), Why> {
        let Some(wanted) = &self.assignment.subnet else {
            return Ok(());
        };
        self.subnets.retain(|subnet| subnet.name() == wanted);
        if self.subnets.is_empty() {
            Err(Why::OnOtherLink(wanted.clone()))
        } else {
            Ok(())
        }
    }

    fn is_server_id_ours(&self, id: Ipv4Addr) -> bool {
        request::is_ours(self.ingress, self.message, id)
    }

    fn requested(&self) -> Option<Ipv4Addr> {
        self.message.options.address(code::REQUESTED_ADDRESS)
    }

    fn ciaddr(&self) -> Option<Ipv4Addr> {
        Some(self.message.ciaddr).filter(|address| !address.is_unspecified())
    }
}
