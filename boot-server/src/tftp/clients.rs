//! Who has how many transfers under way.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why one more transfer is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as this server may have.
    Server,
    /// The client has as many as it may have.
    Client,
}

/// Transfers under way of all threads.
#[derive(Debug)]
pub(super) struct Clients {
    counts: Mutex<Counts>,
    max: usize,
    max_per_client: usize,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    each: HashMap<Ipv4Addr, usize>,
}

impl Clients {
    pub(super) fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            max,
            max_per_client,
        })
    }

    /// Counts one more transfer to `client`, until the seat is dropped.
    pub(super) fn enter(self: &Arc<Self>, client: Ipv4Addr) -> Result<Seat, Full> {
        let mut counts = self.lock();
        if counts.all >= self.max {
            return Err(Full::Server);
        }
        let own = counts.each.entry(client).or_default();
        if *own >= self.max_per_client {
            return Err(Full::Client);
        }
        *own = own.saturating_add(1);
        counts.all = counts.all.saturating_add(1);
        Ok(Seat {
            clients: Arc::clone(self),
            client,
        })
    }

    /// All transfers under way.
    pub(super) fn all(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one transfer; ends when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Arc<Clients>,
    client: Ipv4Addr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.clients.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(own) = counts.each.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.each.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let clients = Clients::new(3, 2);
        let [one, other] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let first = clients.enter(one).unwrap();
        let _second = clients.enter(one).unwrap();
        assert_eq!(clients.enter(one).unwrap_err(), Full::Client);
        let third = clients.enter(other).unwrap();
        assert_eq!(clients.enter(other).unwrap_err(), Full::Server);
        assert_eq!(clients.all(), 3);
        drop((first, third));
        assert!(clients.enter(one).is_ok());
        assert_eq!(clients.lock().each.len(), 1);
    }
}
