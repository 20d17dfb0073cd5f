//! A Redfish service as a chassis driver.

use boot_proto::api::ObservedMachine;

use super::Redfish;
use crate::drivers::{
    BootModes, BootTarget, ChassisDriver, DriverFuture, Patience, PowerOrderKind, RestartKind,
    Restarts, Scope, Slot,
};

impl ChassisDriver for Redfish {
    fn profile(&self) -> &str {
        self.profile_name()
    }

    fn patience(&self) -> Patience {
        self.patience_for_orders()
    }

    fn observe(&mut self, scope: Scope) -> DriverFuture<'_, Vec<ObservedMachine>> {
        Box::pin(async move {
            let seen = match scope {
                Scope::Full => self.inventory().await,
                Scope::Power => self.power_states().await,
                Scope::One(slot) => self.power_state(slot.as_str()).await,
            };
            self.end_visit();
            seen
        })
    }

    fn power<'a>(&'a mut self, slot: &'a Slot, order: PowerOrderKind) -> DriverFuture<'a, ()> {
        Box::pin(self.order_power(slot.as_str(), order))
    }

    fn boot_once<'a>(&'a mut self, slot: &'a Slot, target: BootTarget) -> DriverFuture<'a, ()> {
        Box::pin(self.order_boot(slot.as_str(), target))
    }

    fn close(&mut self) -> DriverFuture<'_, ()> {
        Box::pin(async move {
            self.say_goodbye().await;
            Ok(())
        })
    }

    fn requests(&self) -> u64 {
        self.all_requests()
    }

    fn boot_modes(&mut self) -> Option<&mut dyn BootModes> {
        Some(self)
    }

    fn restarts(&mut self) -> Option<&mut dyn Restarts> {
        Some(self)
    }
}

impl BootModes for Redfish {
    fn pxe_in_other_mode<'a>(&'a mut self, slot: &'a Slot) -> DriverFuture<'a, ()> {
        Box::pin(self.order_other_mode(slot.as_str()))
    }
}

impl Restarts for Redfish {
    fn restart<'a>(&'a mut self, slot: &'a Slot, kind: RestartKind) -> DriverFuture<'a, bool> {
        Box::pin(self.order_restart(slot.as_str(), kind))
    }
}
