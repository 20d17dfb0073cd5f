//! What DHCP decided, as log lines with fields.

use std::net::Ipv4Addr;

use boot_proto::dhcp::MessageType;

use super::responder::{Decision, Ingress, Outcome, Why};
use crate::inventory::Inventory;
use crate::manifests;

/// Logs a decision: leases at info, silence at debug, and what an operator has
/// to act on as a warning.
pub(super) fn decision(ingress: &Ingress, outcome: &Outcome) {
    let mac = outcome.mac.map(|mac| mac.to_string());
    let (iface, machine) = (ingress.interface.as_str(), outcome.machine.as_deref());
    match &outcome.decision {
        Decision::Reply(reply) => {
            let message = &reply.message;
            let xid = format!("{:08x}", message.xid);
            let ip = Some(message.yiaddr)
                .filter(|address| !address.is_unspecified())
                .map(|ip| ip.to_string());
            let giaddr = message.relay().map(|giaddr: Ipv4Addr| giaddr.to_string());
            let kind = message.message_type().unwrap_or(MessageType::Unknown(0));
            let file = String::from_utf8_lossy(&message.file);
            match reply.refusal {
                Some(refusal) => {
                    tracing::warn!(mac, xid, giaddr, iface, machine, error = %refusal, "DHCP {kind:?}")
                }
                None => {
                    tracing::info!(mac, ip, xid, giaddr, iface, machine, %file, "DHCP {kind:?}")
                }
            }
        }
        Decision::Silent(
            why @ (Why::Exhausted(_)
            | Why::NoRange(_)
            | Why::Declined(_)
            | Why::OnOtherLink(_)
            | Why::NoServerAddress(_)),
        ) => {
            tracing::warn!(mac, iface, machine, error = %why, "DHCP message not answered");
        }
        Decision::Silent(why) => {
            tracing::debug!(mac, iface, machine, error = %why, "DHCP message not answered")
        }
    }
}

/// Names every declared option that cannot be sent.
pub(super) fn option_mistakes(inventory: &Inventory) {
    for (kind, resource, error) in manifests::option_mistakes(inventory.declared()) {
        tracing::error!(kind, resource, %error, "a declared DHCP option is left out");
    }
}
