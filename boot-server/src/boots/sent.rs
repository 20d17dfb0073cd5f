//! What went out to an address, for the boot that is under way there.

use std::net::Ipv4Addr;

use boot_proto::time::WallClock;

use super::Fetched;
use super::book::Book;
use super::record::{Boot, Stage};

impl Book {
    pub fn fetched(
        &mut self,
        now: WallClock,
        address: Ipv4Addr,
        what: Fetched,
        bytes: u64,
        size: u64,
    ) {
        let name = what.stage().map_or("image", Stage::name);
        if bytes < size {
            let message = format!("{name}: {bytes} of {size} bytes taken");
            self.at_address(now, address, None, &message);
        } else {
            let message = format!("{name} sent, {size} bytes");
            let boot = self.at_address(now, address, what.stage(), &message);
            if let (Some(boot), Fetched::Root) = (boot, what) {
                boot.view.reason = None;
            }
        }
    }

    /// It shows as the reason why the boot does not go on, until it does.
    pub fn waiting(&mut self, now: WallClock, address: Ipv4Addr, message: &str) {
        if let Some(boot) = self.at_address(now, address, None, message) {
            boot.view.reason = Some(message.to_owned());
        }
    }

    /// Something went out to an address: the running boot there takes it down.
    pub(super) fn at_address(
        &mut self,
        now: WallClock,
        address: Ipv4Addr,
        stage: Option<Stage>,
        message: &str,
    ) -> Option<&mut Boot> {
        let mac = self.by_address.get(&address)?;
        let latest = self.latest(*mac).filter(|boot| boot.is_running());
        let id = latest?.view.id;
        self.mark(id);
        let boot = self.boot_mut(id)?;
        boot.reach(now, stage.unwrap_or(Stage::Dhcp));
        let step = stage.map_or_else(|| boot.view.phase.clone(), |stage| stage.name().to_owned());
        boot.step(now, &step, message);
        Some(boot)
    }
}
