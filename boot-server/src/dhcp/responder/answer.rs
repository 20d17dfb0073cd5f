//! What an answer says: options from subnet, profile and request, and where it goes.

use std::net::{Ipv4Addr, SocketAddrV4};

use boot_proto::dhcp::{CLIENT_PORT, Message, MessageType, code};
use boot_proto::resources::{Object, SubnetSpec};

use super::super::custom;
use super::super::leases::Lease;
use super::address::Choice;
use super::{Destination, Exchange, Refusal, Reply, Why, link};
use crate::arch::NoLoader;
use crate::events::BootEvent;

/// Shortest lease that a client may ask for, in seconds.
const LEAST_LEASE_SECS: u32 = 60;

impl Exchange<'_> {
    /// An OFFER or ACK that gives an address.
    pub(super) fn answer(&self, kind: MessageType, choice: Choice<'_>) -> Result<Reply, Why> {
        let server = self.server_address(&choice.subnet.spec)?;
        let mut message = self.message.reply(kind);
        message.yiaddr = choice.address;
        if kind == MessageType::Ack {
            message.ciaddr = self.message.ciaddr;
        }
        let lease_secs = self.lease_secs(&choice.subnet.spec);
        message.options.put_number32(code::LEASE_TIME, lease_secs);
        // RFC 2131 §4.4.5: half of the lease, and seven eighths of it.
        message
            .options
            .put_number32(code::RENEWAL_T1, lease_secs / 2);
        message
            .options
            .put_number32(code::REBINDING_T2, lease_secs - lease_secs / 8);
        self.configure(&mut message, choice.subnet);
        self.boot(&mut message, server);
        self.declared_options(&mut message, &choice.subnet.spec);
        let to = self.destination(choice.address);
        Ok(self.finish(message, server, to))
    }

    /// The ACK to an INFORM: no address, no times.
    pub(super) fn inform_answer(
        &self,
        ciaddr: Ipv4Addr,
        subnet: &Object<SubnetSpec>,
    ) -> Result<Reply, Why> {
        let server = self.server_address(&subnet.spec)?;
        let mut message = self.message.reply(MessageType::Ack);
        message.ciaddr = self.message.ciaddr;
        self.configure(&mut message, subnet);
        self.boot(&mut message, server);
        self.declared_options(&mut message, &subnet.spec);
        let to = match self.message.relay() {
            Some(giaddr) => Destination::Relay(giaddr),
            // Unicast, whatever the flags say (RFC 2131 §4.3.5).
            None => Destination::Client(SocketAddrV4::new(ciaddr, CLIENT_PORT)),
        };
        Ok(self.finish(message, server, to))
    }

    /// A NAK (RFC 2131 §4.3.2): broadcast, as the client's address is wrong;
    /// a relay is told to do so by the broadcast flag.
    pub(super) fn refuse(&self, refusal: Refusal) -> Result<Reply, Why> {
        let subnet = self.subnets.first().ok_or(Why::NoRecord)?;
        let chose_us = self.message.options.has(code::SERVER_ID);
        if !subnet.spec.authoritative && !chose_us {
            let name = subnet.name().to_owned();
            return Err(Why::NotAuthoritative(refusal, name));
        }
        let server = self.server_address(&subnet.spec)?;
        let mut message = self.message.reply(MessageType::Nak);
        message
            .options
            .put(code::MESSAGE, refusal.to_string().into_bytes());
        let to = match self.message.relay() {
            Some(giaddr) => {
                message.set_broadcast();
                Destination::Relay(giaddr)
            }
            None => Destination::Broadcast,
        };
        Ok(Reply {
            refusal: Some(refusal),
            ..self.finish(message, server, to)
        })
    }

    /// What every answer carries, and what the request's sender gets back.
    pub(super) fn finish(&self, mut message: Message, server: Ipv4Addr, to: Destination) -> Reply {
        let id = link::server_id_override(self.message).unwrap_or(server);
        message.options.put_addresses(code::SERVER_ID, &[id]);
        // RFC 6842 and RFC 3046 §2.2: both go back as they came.
        message.options.copy(code::CLIENT_ID, &self.message.options);
        message
            .options
            .copy(code::RELAY_AGENT, &self.message.options);
        // RFC 3011 §3: it goes back where it was heeded, and only there.
        let heeded = link::subnet_selection(self.message).is_some_and(|wanted| {
            let mut subnets = self.subnets.iter();
            subnets.all(|subnet| subnet.spec.cidr.contains(&wanted))
        });
        if heeded {
            let own = &self.message.options;
            message.options.copy(code::SUBNET_SELECTION, own);
        }
        Reply {
            message,
            limit: self.message.max_payload_bytes(),
            to,
            refusal: None,
            nothing_to_boot: self.nothing_to_boot(server),
        }
    }

    /// Why a client that boots is named nothing to load.
    fn nothing_to_boot(&self, server: Ipv4Addr) -> Option<NoLoader> {
        let (_, file) = self.boot_choice(server);
        file.err().filter(|_| self.facts.is_booting())
    }

    /// RFC 2131 §4.1.
    fn destination(&self, yiaddr: Ipv4Addr) -> Destination {
        let message = self.message;
        match (message.relay(), self.ciaddr()) {
            (Some(giaddr), _) => Destination::Relay(giaddr),
            (None, Some(ciaddr)) => Destination::Client(SocketAddrV4::new(ciaddr, CLIENT_PORT)),
            (None, None) if message.wants_broadcast() => Destination::Broadcast,
            (None, None) => Destination::Hardware(self.mac, yiaddr),
        }
    }

    /// The subnet's own options, and what is asked for of the machine's.
    fn configure(&self, message: &mut Message, subnet: &Object<SubnetSpec>) {
        let spec = &subnet.spec;
        let wants = |code| self.message.options.requests(code);
        let options = &mut message.options;
        options.put_addresses(code::SUBNET_MASK, &[spec.cidr.netmask()]);
        options.put_addresses(code::ROUTER, spec.gateway.as_slice());
        options.put_addresses(code::DNS, &spec.dns);
        if wants(code::BROADCAST) && spec.cidr.prefix_len() < 31 {
            options.put_addresses(code::BROADCAST, &[spec.cidr.broadcast()]);
        }
        if wants(code::HOSTNAME) {
            options.put(
                code::HOSTNAME,
                self.assignment.hostname.clone().into_bytes(),
            );
        }
        if let Some(domain) = spec.search.first().filter(|_| wants(code::DOMAIN)) {
            options.put(code::DOMAIN, domain.clone().into_bytes());
        }
        if let Some(search) = custom::domains(&spec.search).filter(|_| wants(code::DOMAIN_SEARCH)) {
            options.put(code::DOMAIN_SEARCH, search);
        }
        let mtu = self
            .assignment
            .profile
            .mtu
            .and_then(|mtu| u16::try_from(mtu).ok());
        if let Some(mtu) = mtu.filter(|_| wants(code::MTU)) {
            options.put(code::MTU, mtu.to_be_bytes().to_vec());
        }
    }

    /// Options that the operator declared, a profile's before the subnet's.
    /// They are sent asked for or not, as whoever declared them wants it.
    fn declared_options(&self, message: &mut Message, subnet: &SubnetSpec) {
        let profile = &self.assignment.profile.dhcp_options;
        for options in [&subnet.dhcp_options, profile] {
            let declared = custom::encode_all(options, |error| {
                tracing::debug!(mac = %self.mac, %error, "a declared DHCP option is left out");
            });
            for (code, bytes) in declared {
                match (code, std::str::from_utf8(&bytes)) {
                    (code::BOOT_FILE, _) if bytes.len() < 128 => {
                        message.file.clone_from(&bytes);
                    }
                    (code::TFTP_SERVER, Ok(text)) => {
                        message.siaddr = text.parse().unwrap_or(message.siaddr);
                    }
                    _ => {}
                }
                message.options.put(code, bytes);
            }
        }
    }

    /// The declared time, or less where the client wants less.
    fn lease_secs(&self, subnet: &SubnetSpec) -> u32 {
        let declared = subnet.lease_time.0;
        let asked = self
            .message
            .options
            .number32(code::LEASE_TIME)
            .unwrap_or(declared);
        asked.max(LEAST_LEASE_SECS).min(declared)
    }

    /// The lease that an ACK promises.
    pub(super) fn lease(&self, choice: Choice<'_>) -> Lease {
        let secs = self.lease_secs(&choice.subnet.spec);
        // 0xffffffff is for ever (RFC 2131 §3.3).
        let span = std::time::Duration::from_secs(secs.into());
        let expires = (secs != u32::MAX).then(|| self.now.after(span));
        Lease {
            address: choice.address,
            mac: self.mac,
            machine: Some(self.assignment.machine.clone()),
            subnet: choice.subnet.name().to_owned(),
            kind: choice.kind,
            since: self.now,
            expires,
        }
    }

    pub(super) fn acknowledged(&self, address: Ipv4Addr) -> Option<BootEvent> {
        let (firmware, _) = self.boot_choice(Ipv4Addr::UNSPECIFIED);
        Some(BootEvent::Acknowledged {
            mac: self.mac,
            address,
            firmware,
        })
    }
}
