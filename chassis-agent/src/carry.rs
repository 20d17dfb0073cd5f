//! Carries decided actions out, those of a kind together, and tells what became
//! of each.

use boot_proto::slot::Slot;

use crate::drivers::{
    BootTarget, ChassisDriver, DriverError, NetworkWay, PowerAction, PowerOrderKind,
};
use crate::orders;
use crate::reconcile::Action;
use crate::verdicts::{BOOT_ONCE, POWER};

/// What became of one order to one machine.
#[derive(Debug)]
pub struct Outcome {
    /// Which machine.
    pub slot: Slot,
    /// [`BOOT_ONCE`] or [`POWER`].
    pub about: &'static str,
    /// Kind of error and what it was, in words that name the machine.
    pub result: Result<(), (&'static str, String)>,
}

/// Carries actions out.
pub async fn carry_out(
    driver: &mut dyn ChassisDriver,
    chassis: &str,
    actions: &[Action],
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut on = Vec::new();
    let mut cut = Vec::new();
    for action in actions {
        tracing::info!(chassis, ?action, "ordering");
        match action {
            Action::PowerOn {
                slot,
                network_boot: None,
            } => on.push(slot.clone()),
            // The machine is off: given earlier, the choice may be lost.
            Action::PowerOn {
                slot,
                network_boot: Some(way),
            } => {
                let (outcome, is_powered_on) = choose(driver, slot, *way).await;
                outcomes.push(outcome);
                if is_powered_on {
                    on.push(slot.clone());
                }
            }
            // Nobody waits for an operating system here; the next looks tell.
            Action::ShutDown { slot } => {
                let result = driver.power(slot, PowerOrderKind::Off).await;
                outcomes.push(powered(slot.clone(), "power off", result));
            }
            Action::CutPower { slot } | Action::StartOver { slot } => cut.push(slot.clone()),
        }
    }
    outcomes.extend(switch(driver, &cut, PowerAction::ForceOff).await);
    outcomes.extend(switch(driver, &on, PowerAction::On).await);
    outcomes
}

/// Tells a machine to boot from the network, and says whether to power it on.
async fn choose(driver: &mut dyn ChassisDriver, slot: &Slot, way: NetworkWay) -> (Outcome, bool) {
    let failed = |error: DriverError, then: &str| Outcome {
        slot: slot.clone(),
        about: BOOT_ONCE,
        result: Err((
            error.kind(),
            format!("{slot}: boot-once pxe: {error}; {then}"),
        )),
    };
    match choose_network(driver, slot, way).await {
        Choice::Made => {
            let made = Outcome {
                slot: slot.clone(),
                about: BOOT_ONCE,
                result: Ok(()),
            };
            (made, true)
        }
        Choice::Doubtful(error) => {
            let then = "it is powered on all the same and may boot from somewhere else";
            (failed(error, then), true)
        }
        Choice::Refused(error) => (failed(error, "it is not powered on"), false),
    }
}

/// What came of telling a machine to boot from the network.
enum Choice {
    /// It will.
    Made,
    /// Nobody knows; a machine that stays off for ever is worse.
    Doubtful(DriverError),
    /// It will not.
    Refused(DriverError),
}

/// Tells a machine to boot from the network, again where the device's answer
/// says neither yes nor no. A device without such an order boots as its own
/// settings say, which on a farm of diskless machines is the network.
async fn choose_network(
    driver: &mut dyn ChassisDriver,
    slot: &Slot,
    mut way: NetworkWay,
) -> Choice {
    const MOST_ORDERS: u32 = 3;
    let mut orders = 0;
    loop {
        orders += 1;
        match by(driver, slot, way).await {
            Ok(()) => return Choice::Made,
            // What was in doubt the first time may be what every device has.
            Err(error @ (DriverError::Impossible { .. } | DriverError::Refused { .. }))
                if way != NetworkWay::Pxe =>
            {
                tracing::debug!(%slot, way = way.name(), %error, "plain PXE in its place");
                way = NetworkWay::Pxe;
            }
            Err(error @ DriverError::Unconfirmed { .. }) if orders < MOST_ORDERS => {
                tracing::debug!(%slot, orders, %error, "ordering it again");
            }
            Err(error @ (DriverError::Unconfirmed { .. } | DriverError::Impossible { .. })) => {
                return Choice::Doubtful(error);
            }
            Err(error) => return Choice::Refused(error),
        }
    }
}

async fn by(
    driver: &mut dyn ChassisDriver,
    slot: &Slot,
    way: NetworkWay,
) -> Result<(), DriverError> {
    match way {
        NetworkWay::Pxe => driver.boot_once(slot, BootTarget::Pxe).await,
        NetworkWay::Http => driver.boot_once(slot, BootTarget::Http).await,
        NetworkWay::OtherMode => match driver.boot_modes() {
            Some(modes) => modes.pxe_in_other_mode(slot).await,
            None => driver.boot_once(slot, BootTarget::Pxe).await,
        },
    }
}

async fn switch(
    driver: &mut dyn ChassisDriver,
    slots: &[Slot],
    action: PowerAction,
) -> Vec<Outcome> {
    if slots.is_empty() {
        return Vec::new();
    }
    let order = format!("power {}", action.name());
    match orders::carry_out(driver, slots, action).await {
        Ok(results) => results
            .into_iter()
            .map(|(slot, result)| powered(slot, &order, result.map(|_| ())))
            .collect(),
        Err(error) => {
            let failed = |slot: &Slot| Outcome {
                slot: slot.clone(),
                about: POWER,
                result: Err((error.kind(), format!("{slot}: {order}: {error}"))),
            };
            slots.iter().map(failed).collect()
        }
    }
}

fn powered(slot: Slot, order: &str, result: Result<(), DriverError>) -> Outcome {
    let result = result.map_err(|error| (error.kind(), format!("{slot}: {order}: {error}")));
    Outcome {
        slot,
        about: POWER,
        result,
    }
}
