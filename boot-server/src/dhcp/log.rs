//! What DHCP decided, as log lines with fields.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::dhcp::MessageType;
use boot_proto::ids::MacAddr;
use boot_proto::time::Monotonic;

use super::responder::{Decision, Ingress, Outcome, Reply, Why, message_word};
use crate::inventory::Inventory;
use crate::manifests;

/// Lines of one kind that are written in a row; beyond them they are counted.
const LINES: u64 = 20;
/// How often what was counted is summed up and lines are written again.
const EVERY: Duration = Duration::from_secs(10);

/// What was said lately. A rack that boots, or a flood, must not cost a line
/// for each message.
#[derive(Debug, Default)]
pub(super) struct Talk {
    since: Option<Monotonic>,
    said: BTreeMap<&'static str, u64>,
}

impl Talk {
    /// Logs a decision: leases at info, silence at debug, and what an operator
    /// has to act on as a warning.
    pub fn decision(&mut self, ingress: &Ingress, outcome: &Outcome) {
        match &outcome.decision {
            Decision::Reply(reply) => {
                let word = match reply.refusal {
                    Some(refusal) => refusal.word(),
                    None => message_word(reply.message.message_type()),
                };
                if self.may_say(word) {
                    say_reply(ingress, outcome, reply);
                }
            }
            Decision::Silent(why) => self.silence(ingress, outcome, why),
        }
    }

    fn silence(&mut self, ingress: &Ingress, outcome: &Outcome, why: &Why) {
        let is_warning = matches!(
            why,
            Why::Exhausted(_)
                | Why::NoRange(_)
                | Why::Declined(_)
                | Why::OnOtherLink(_)
                | Why::NoServerAddress(_)
                | Why::UnknownRelay(_)
                | Why::OtherPort(_)
                | Why::TooManyStrangers(_)
                | Why::TooManyDeclined
        );
        let mac = || outcome.mac.map(|mac| mac.to_string());
        let (iface, machine) = (&*ingress.interface, outcome.machine.as_deref());
        if is_warning && self.may_say(why.word()) {
            tracing::warn!(mac = mac(), iface, machine, error = %why, "DHCP message not answered");
        } else if !is_warning {
            tracing::debug!(mac = mac(), iface, machine, error = %why, "DHCP message not answered");
        }
    }

    /// A client that sends without end is left alone from now on.
    pub fn stopped(&mut self, mac: MacAddr, ingress: &Ingress) {
        if self.may_say("quarantine") {
            tracing::warn!(%mac, iface = &*ingress.interface,
                "a client sends DHCP messages without end; it is left alone for a minute");
        }
    }

    fn may_say(&mut self, word: &'static str) -> bool {
        let said = self.said.entry(word).or_default();
        *said += 1;
        *said <= LINES
    }

    /// Says how much was not said, and begins anew.
    pub fn sum_up(&mut self, now: Monotonic) {
        let since = *self.since.get_or_insert(now);
        let secs = now.since(since).as_secs();
        if now.since(since) < EVERY {
            return;
        }
        self.since = Some(now);
        for (word, said) in std::mem::take(&mut self.said) {
            if let Some(more) = said.checked_sub(LINES).filter(|more| *more > 0) {
                tracing::info!(messages = more, secs, "DHCP {word}: so many more of these");
            }
        }
    }
}

fn say_reply(ingress: &Ingress, outcome: &Outcome, reply: &Reply) {
    let mac = outcome.mac.map(|mac| mac.to_string());
    let (iface, machine) = (&*ingress.interface, outcome.machine.as_deref());
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

/// Names every declared option that cannot be sent.
pub(super) fn option_mistakes(inventory: &Inventory) {
    for (kind, resource, error) in manifests::option_mistakes(inventory.declared()) {
        tracing::error!(kind, resource, %error, "a declared DHCP option is left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_few_lines() {
        let mut talk = Talk::default();
        talk.sum_up(Monotonic(Duration::ZERO));
        let said = (0..1000).filter(|_| talk.may_say("offer")).count();
        assert_eq!(said as u64, LINES);
        assert!(talk.may_say("ack"), "other kinds are not drowned");
        talk.sum_up(Monotonic(Duration::from_secs(9)));
        assert!(!talk.may_say("offer"));
        talk.sum_up(Monotonic(EVERY));
        assert!(talk.may_say("offer"));
    }
}
