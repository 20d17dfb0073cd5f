//! The phase links where the boot goes over more than a NIC: a bond, a VLAN, or a
//! NIC with settings of its own.

use std::time::Duration;

use boot_proto::ids::MacAddr;

use super::{Boot, StepError};
use crate::net::desired::{Desired, WantedKind, work_out};
use crate::net::diff::changes;
use crate::net::nics::describe;

/// How long drivers may take to show a NIC, and a bond to find a carrier.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a port is waited for when others are there: one card may be broken.
const MISSING_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Boot<'_> {
    /// Makes what the kernel command line describes and waits for its carrier.
    pub(super) fn bring_up_network(
        &mut self,
        name: &str,
        boot: Option<MacAddr>,
    ) -> Result<String, StepError> {
        let network = self.state.arguments.network.clone();
        let has = |is: fn(&boot_proto::resources::InterfaceSpec) -> bool| {
            network.interfaces.values().any(is)
        };
        if has(|spec| spec.bond.is_some()) {
            self.load_by_name(&["bonding"]);
        }
        if has(|spec| spec.vlan.is_some()) {
            self.load_by_name(&["8021q"]);
        }
        let clock = self.world.clock;
        let begin = clock.now();
        loop {
            self.load_for_new_devices();
            let elapsed = clock.now().since(begin);
            let links = self.world.links.all()?;
            let nics = describe(&links, &self.world.paths.at("sys"));
            let wanted = work_out(&network, &nics, boot);
            let reason = match wanted {
                Ok(None) => return Err(StepError::hopeless(format!("{name} is not declared"))),
                Ok(Some(wanted)) if wanted.missing.is_empty() || elapsed >= MISSING_PATIENCE => {
                    match self.make(&wanted, &links)? {
                        Some(told) => return Ok(told),
                        None => format!(
                            "{} has no carrier: check cables, switch ports and, with 802.3ad, \
                             the switch's LACP",
                            wanted.top
                        ),
                    }
                }
                Ok(Some(wanted)) => format!("no network card fits {}", wanted.missing.join(", ")),
                Err(impossible) => impossible.to_string(),
            };
            if elapsed >= PATIENCE {
                return Err(StepError::new(reason));
            }
            clock.sleep(LOOK_AGAIN);
        }
    }

    /// One step towards it; what was done, once it carries.
    fn make(
        &mut self,
        wanted: &Desired,
        links: &[crate::net::Link],
    ) -> Result<Option<String>, StepError> {
        for change in changes(wanted, links) {
            self.world.log.info(&change.to_string());
            self.world.links.change(&change)?;
        }
        let links = self.world.links.all()?;
        let top = links.into_iter().find(|link| link.name == wanted.top);
        let Some(top) = top.filter(|link| link.has_carrier) else {
            return Ok(None);
        };
        for name in &wanted.missing {
            self.world
                .log
                .warn(&format!("no network card fits {name:?}: done without it"));
        }
        let is_made = |kind: &WantedKind| !matches!(kind, WantedKind::Nic);
        self.state.keeps_links = wanted.interfaces.iter().any(|one| is_made(&one.kind));
        let told = format!("carrier on {} ({})", top.name, top.mac);
        self.state.links = vec![top];
        Ok(Some(told))
    }
}
