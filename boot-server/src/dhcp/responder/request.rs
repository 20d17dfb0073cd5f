//! DISCOVER, REQUEST in its four states, INFORM, DECLINE and RELEASE
//! (RFC 2131 §4.3).

use std::net::Ipv4Addr;

use boot_proto::dhcp::{Message, MessageType, code};
use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use super::super::leases::{LeaseKind, LeaseTable};
use super::address::Choice;
use super::{Exchange, Ingress, Outcome, Refusal, Reply, Why, link};

impl<'a> Exchange<'a> {
    pub(super) fn discover(&mut self, leases: &mut LeaseTable) -> Result<Reply, Why> {
        let choice = self.choose(leases)?;
        let reply = self.answer(MessageType::Offer, choice)?;
        let is_its_own = leases
            .of_mac(self.mac)
            .any(|lease| lease.address == choice.address);
        if choice.kind == LeaseKind::Dynamic && choice.subnet.spec.probe && !is_its_own {
            self.probe = Some(choice.address);
        }
        leases.offer(choice.address, self.mac, self.now);
        self.event = self.offered(Some(choice.address));
        Ok(reply)
    }

    pub(super) fn request(&mut self, leases: &mut LeaseTable) -> Result<Reply, Why> {
        if let Some(server) = self.message.options.address(code::SERVER_ID) {
            // RFC 2131 §4.3.2 has no server identifier in a renewal, and some
            // clients send it all the same.
            return match (self.ciaddr(), self.requested()) {
                (Some(ciaddr), None) if self.is_server_id_ours(server) => {
                    self.renewing_or_rebinding(leases, ciaddr)
                }
                _ => self.selecting(leases, server),
            };
        }
        match (self.ciaddr(), self.requested()) {
            (Some(ciaddr), _) => self.renewing_or_rebinding(leases, ciaddr),
            (None, Some(requested)) => self.init_reboot(leases, requested),
            (None, None) => Err(Why::Incomplete),
        }
    }

    /// SELECTING: the client names the server whose offer it takes.
    fn selecting(&mut self, leases: &mut LeaseTable, server: Ipv4Addr) -> Result<Reply, Why> {
        if !self.is_server_id_ours(server) {
            leases.withdraw_offers(self.mac);
            return Err(Why::OtherServer(server));
        }
        let address = self.requested().ok_or(Why::Incomplete)?;
        let checked = self.check(leases, address);
        self.grant_or_refuse(leases, checked)
    }

    /// INIT-REBOOT: the client remembers an address from before.
    fn init_reboot(&mut self, leases: &mut LeaseTable, address: Ipv4Addr) -> Result<Reply, Why> {
        if self.subnet_of(address).is_none() {
            return self.refuse(Refusal::WrongNetwork(address));
        }
        // "If the server has no record of this client, it MUST remain silent".
        if !self.has_record(leases) {
            return Err(Why::NoRecord);
        }
        let checked = self.check(leases, address).and_then(|choice| {
            let is_its_own = self
                .reservation()
                .is_some_and(|reserved| reserved.address == address)
                || leases
                    .of_mac(self.mac)
                    .any(|lease| lease.address == address);
            if is_its_own {
                Ok(choice)
            } else {
                Err(Refusal::NotYours(address))
            }
        });
        self.grant_or_refuse(leases, checked)
    }

    /// RENEWING (unicast to us) and REBINDING (broadcast to whoever listens).
    fn renewing_or_rebinding(
        &mut self,
        leases: &mut LeaseTable,
        ciaddr: Ipv4Addr,
    ) -> Result<Reply, Why> {
        let is_unicast = self.ingress.local.is_some() && self.message.relay().is_none();
        // A client that writes to us alone had its address from us: where the
        // lease is not known any more, it is made again if the address is free.
        let is_known = leases.of_mac(self.mac).any(|lease| lease.address == ciaddr)
            || self
                .reservation()
                .is_some_and(|reserved| reserved.address == ciaddr);
        let belongs_to_other = leases
            .holder(ciaddr, self.now)
            .is_some_and(|mac| mac != self.mac)
            || self
                .inventory
                .reservation_of(ciaddr)
                .is_some_and(|machine| machine != self.assignment.machine);
        if !is_known && !is_unicast && !belongs_to_other && !self.has_record(leases) {
            return Err(Why::NoRecord);
        }
        let checked = self.check_renewal(leases, ciaddr);
        self.grant_or_refuse(leases, checked)
    }

    /// Whether we ever gave, or would give, this client an address here.
    fn has_record(&self, leases: &LeaseTable) -> bool {
        self.reservation().is_some()
            || leases
                .of_mac(self.mac)
                .any(|lease| self.subnet_of(lease.address).is_some())
    }

    fn grant_or_refuse(
        &mut self,
        leases: &mut LeaseTable,
        checked: Result<Choice<'a>, Refusal>,
    ) -> Result<Reply, Why> {
        let choice = match checked {
            Ok(choice) => choice,
            Err(refusal) => return self.refuse(refusal),
        };
        let reply = self.answer(MessageType::Ack, choice)?;
        self.changes.push(leases.grant(self.lease(choice)));
        self.event = self.acknowledged(choice.address);
        Ok(reply)
    }

    /// INFORM: the client has an address and wants the rest. No lease is
    /// checked or made (RFC 2131 §4.3.5).
    pub(super) fn inform(&mut self) -> Result<Reply, Why> {
        let ciaddr = self.informed().ok_or(Why::Incomplete)?;
        let subnet = self
            .subnet_of(ciaddr)
            .or(self.subnets.first().copied())
            .ok_or(Why::Incomplete)?;
        self.inform_answer(ciaddr, subnet)
    }
}

/// Whether a server identifier is one we gave.
pub(super) fn is_ours(ingress: &Ingress, message: &Message, id: Ipv4Addr) -> bool {
    ingress.own.contains(&id) || link::server_id_override(message) == Some(id)
}

/// RELEASE: the client does not need its address any more. Never answered.
pub(super) fn release(
    leases: &mut LeaseTable,
    now: WallClock,
    ingress: &Ingress,
    message: &Message,
    mac: MacAddr,
    outcome: &mut Outcome,
) -> Why {
    let address = message.ciaddr;
    if address.is_unspecified() {
        return Why::Incomplete;
    }
    if let Some(other) = other_server(ingress, message) {
        return Why::OtherServer(other);
    }
    match leases.release(address, mac, now) {
        Some(change) => outcome.changes.push(change),
        None => return Why::NotItsLease(address),
    }
    Why::Released(address)
}

/// DECLINE: somebody else answers on the address. Never answered.
pub(super) fn decline(
    leases: &mut LeaseTable,
    now: WallClock,
    ingress: &Ingress,
    message: &Message,
    mac: MacAddr,
    outcome: &mut Outcome,
) -> Why {
    let Some(address) = message.options.address(code::REQUESTED_ADDRESS) else {
        return Why::Incomplete;
    };
    if let Some(other) = other_server(ingress, message) {
        return Why::OtherServer(other);
    }
    match leases.decline(address, mac, now) {
        Some(change) => outcome.changes.push(change),
        None => return Why::NotItsLease(address),
    }
    Why::Declined(address)
}

/// The server a message is meant for, where that is not us.
fn other_server(ingress: &Ingress, message: &Message) -> Option<Ipv4Addr> {
    let server = message.options.address(code::SERVER_ID)?;
    (!is_ours(ingress, message, server)).then_some(server)
}
