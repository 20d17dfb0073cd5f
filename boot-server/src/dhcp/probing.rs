//! Probes on their way: the socket and what is parked.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};

use boot_proto::time::Monotonic;

use super::echo::Echo;
use super::probe::{Probes, Verdict};
use super::responder::Ingress;
use super::sender::Answer;

/// An OFFER that waits, with the DISCOVER it answers.
pub(super) struct Parked {
    pub answer: Answer,
    pub ingress: Ingress,
    pub datagram: Vec<u8>,
}

/// Asks addresses and keeps the offers that wait for that.
pub(super) struct Probing {
    echo: Option<Echo>,
    probes: Probes<Parked>,
}

impl Probing {
    pub fn open() -> Self {
        let echo = Echo::open()
            .inspect_err(|error| tracing::warn!(%error, "no ICMP socket; addresses are given without a probe"))
            .ok();
        Self {
            echo,
            probes: Probes::default(),
        }
    }

    /// The socket that answers come to.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.echo.as_ref().map(Echo::as_fd)
    }

    /// Parks an offer while its address is asked; gives it back where it may go
    /// out at once.
    pub fn park(&mut self, address: Ipv4Addr, parked: Parked, now: Monotonic) -> Option<Answer> {
        let Some(echo) = &self.echo else {
            return Some(parked.answer);
        };
        let is_asked = match self.probes.verdict(address, now) {
            Verdict::Free => false,
            Verdict::Wait => true,
            // An address that cannot be asked, such as one without a route,
            // is nobody's here.
            Verdict::Ask => echo.ask(address).is_ok(),
        };
        if !is_asked {
            return Some(parked.answer);
        }
        self.probes.park(address, parked, now);
        None
    }

    /// Addresses that somebody answered on, with what waited for them.
    pub fn answered(&mut self) -> Vec<(Ipv4Addr, Parked)> {
        let mut answered = Vec::new();
        while let Some(address) = self.echo.as_ref().and_then(Echo::answered) {
            if let Some(parked) = self.probes.answered(address) {
                answered.push((address, parked));
            }
        }
        answered
    }

    /// Offers whose address nobody answered on in time.
    pub fn silent(&mut self, now: Monotonic) -> Vec<Parked> {
        self.probes.silent(now)
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Monotonic> {
        self.probes.deadline()
    }
}
