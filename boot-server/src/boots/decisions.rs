//! What DHCP decided last about each client. In memory alone, and bounded: whoever
//! sends from a new MAC each time pushes out the client that came first.

use std::collections::{HashMap, VecDeque};

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use crate::dhcp::responder::Decision;

/// Clients that are remembered.
const KEPT: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Decisions {
    by_mac: HashMap<MacAddr, (WallClock, Decision)>,
    order: VecDeque<MacAddr>,
}

impl Decisions {
    pub fn keep(&mut self, mac: MacAddr, now: WallClock, decision: Decision) {
        if self.by_mac.insert(mac, (now, decision)).is_some() {
            return;
        }
        self.order.push_back(mac);
        if self.order.len() > KEPT
            && let Some(first) = self.order.pop_front()
        {
            self.by_mac.remove(&first);
        }
    }

    pub fn of(&self, mac: MacAddr) -> Option<(WallClock, Decision)> {
        self.by_mac.get(&mac).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::responder::Why;

    #[test]
    fn the_last_one_is_kept_of_so_many_clients() {
        let mac = |n: usize| {
            let [.., a, b] = n.to_be_bytes();
            MacAddr::new([2, 0, 0, 0, a, b])
        };
        let mut decisions = Decisions::default();
        decisions.keep(mac(0), WallClock(1), Decision::Silent(Why::Bootp));
        decisions.keep(mac(0), WallClock(2), Decision::Silent(Why::ProxyOnly));
        let last = (WallClock(2), Decision::Silent(Why::ProxyOnly));
        assert_eq!(decisions.of(mac(0)), Some(last));
        for n in 1..=KEPT {
            decisions.keep(mac(n), WallClock(3), Decision::Silent(Why::Bootp));
        }
        assert_eq!(decisions.of(mac(0)), None);
        assert!(decisions.of(mac(KEPT)).is_some());
        assert_eq!(decisions.by_mac.len(), KEPT);
    }
}
