//! Boots that begin with the node agent: of a machine that was started by kexec, or
//! from a disk, and asked for neither loader nor script.

use boot_proto::ids::MacAddr;
use boot_proto::time::WallClock;

use super::book::Book;
use super::record::{READY, Stage};

impl Book {
    /// The node agent asks for an address, once a boot and by broadcast: what runs on
    /// a node that is Ready cannot, unless it is root there. So the machine has
    /// started again where its last boot, from whichever NIC, is over.
    pub(super) fn agent_asked(&mut self, now: WallClock, mac: MacAddr, machine: Option<&str>) {
        let known = machine.and_then(|name| self.by_machine.get(name));
        let of_machine = known.and_then(|id| self.boot(*id));
        let boots = of_machine.into_iter().chain(self.latest(mac));
        if boots.clone().any(|boot| boot.view.outcome != READY) {
            return;
        }
        let Some(asked) = boots.clone().map(|boot| boot.asked).max() else {
            return;
        };
        // Its kernel runs already, and was started once that node was no more.
        let over = boots.map(|boot| boot.view.updated).max();
        let id = self.begin(now, mac, None);
        if let Some(boot) = self.boot_mut(id) {
            // For a network boot its firmware asked then, and not now.
            boot.asked = asked;
            boot.kernel_since = over;
            boot.known_as = machine.map(str::to_owned);
            let message = "the node agent asks for an address, and nothing did before it: \
                           started by kexec or from a disk";
            boot.step(now, Stage::Dhcp.name(), message);
        }
        self.remember_machine_of(id);
    }
}
