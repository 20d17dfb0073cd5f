//! BOOTP (RFC 951, RFC 1534): clients without DHCP, such as old boot ROMs, and
//! U-Boot's `bootp`.
//!
//! Such a client never renews and never releases, so that it gets the address that
//! is reserved for it and no other. No lease is made: the reservation keeps the
//! address free for it.

use std::net::Ipv4Addr;

use boot_proto::dhcp::{MIN_REPLY_BYTES, MessageType, code};

use super::super::leases::LeaseTable;
use super::{Exchange, Reply, Why};

/// What the client does not know, and could take for something else (RFC 1534 §2).
const DHCP_ONLY: [u8; 5] = [
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::LEASE_TIME,
    code::RENEWAL_T1,
    code::REBINDING_T2,
];

impl Exchange<'_> {
    /// The reply to a BOOTP request.
    pub(super) fn bootp(&self, leases: &LeaseTable) -> Result<Reply, Why> {
        let reserved = self.reservation().ok_or(Why::Bootp)?;
        let holder = leases.holder(reserved.address, self.now);
        if holder.is_some_and(|mac| mac != self.mac) {
            return Err(Why::Bootp);
        }
        let mut reply = self.answer(MessageType::Offer, reserved)?;
        let message = &mut reply.message;
        for code in DHCP_ONLY {
            message.options.remove(code);
        }
        message.ciaddr = self.message.ciaddr;
        if message.file.is_empty() {
            // It may name the file that it wants (RFC 951 §7.1); it is here.
            message.file = text(&self.message.file);
            message.siaddr = self.server_address(&reserved.subnet.spec)?;
        }
        // 64 octets for options: more than that it does not read (RFC 951 §3).
        reply.limit = MIN_REPLY_BYTES;
        Ok(reply)
    }

    /// The address that an INFORM is about. Some clients leave `ciaddr` empty.
    pub(super) fn informed(&self) -> Option<Ipv4Addr> {
        let source = *self.ingress.source.ip();
        let is_direct = self.message.relay().is_none() && !source.is_unspecified();
        self.ciaddr().or(is_direct.then_some(source))
    }
}

/// What stands in a field up to its first NUL, without what no name has.
fn text(field: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = field
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    let is_name = name.len() < 128 && name.iter().all(u8::is_ascii_graphic);
    if is_name { name } else { Vec::new() }
}
