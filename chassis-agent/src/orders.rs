//! Orders that are verified: sends them and looks again until the device shows
//! what was ordered, or says that it did not obey.

use std::collections::BTreeMap;
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::ids::SlotId;
use boot_proto::resources::ObservedPower;
use tokio::time::sleep;

use crate::clock;
use crate::drivers::{ChassisDriver, DriverError, PowerAction, PowerOrderKind, Scope};

/// What an order did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device has changed its state.
    Changed,
    /// The device was in that state already.
    Unchanged,
}

/// What became of an order, by slot.
pub type Results = BTreeMap<SlotId, Result<Outcome, DriverError>>;

/// Carries `action` out on `slots` and waits for the new states. The orders go
/// out one after the other; the waiting is for all of them together.
///
/// # Errors
/// When the device cannot be asked at all; what fails for one slot is in its
/// result.
pub async fn carry_out(
    driver: &mut dyn ChassisDriver,
    slots: &[SlotId],
    action: PowerAction,
) -> Result<Results, DriverError> {
    let seen = states(&driver.observe(Scope::Power).await?);
    let mut results = Results::new();
    let mut present = Vec::new();
    for slot in slots {
        match seen.get(slot) {
            Some(_) if present.contains(slot) => {}
            Some(_) => present.push(*slot),
            None => {
                let error = DriverError::NoSuchMachine {
                    slot: slot.to_string(),
                    present: list(&seen),
                };
                results.insert(*slot, Err(error));
            }
        }
    }
    let is_in = |state| move |slot: &SlotId| seen.get(slot) == Some(&state);
    match action {
        PowerAction::On => {
            step(
                driver,
                &present,
                PowerOrderKind::On,
                is_in(ObservedPower::On),
                &mut results,
            )
            .await;
        }
        PowerAction::Off => {
            let is_off = is_in(ObservedPower::Off);
            step(driver, &present, PowerOrderKind::Off, is_off, &mut results).await;
        }
        PowerAction::ForceOff => {
            let is_off = is_in(ObservedPower::Off);
            step(
                driver,
                &present,
                PowerOrderKind::ForceOff,
                is_off,
                &mut results,
            )
            .await;
        }
        PowerAction::Cycle | PowerAction::Reset => {
            let is_off = is_in(ObservedPower::Off);
            step(
                driver,
                &present,
                PowerOrderKind::ForceOff,
                is_off,
                &mut results,
            )
            .await;
            // Only what is off for certain is powered on again.
            let off: Vec<SlotId> = present
                .into_iter()
                .filter(|slot| results.get(slot).is_some_and(Result::is_ok))
                .collect();
            step(driver, &off, PowerOrderKind::On, |_| false, &mut results).await;
        }
    }
    Ok(results)
}

/// One order for several machines, and the wait for all of them.
async fn step(
    driver: &mut dyn ChassisDriver,
    slots: &[SlotId],
    order: PowerOrderKind,
    is_there: impl Fn(&SlotId) -> bool,
    results: &mut Results,
) {
    let mut waiting = Vec::new();
    for slot in slots {
        if is_there(slot) {
            results.insert(*slot, Ok(Outcome::Unchanged));
            continue;
        }
        match driver.power(*slot, order).await {
            Ok(()) => waiting.push(*slot),
            Err(error) => {
                results.insert(*slot, Err(error));
            }
        }
    }
    await_state(driver, waiting, order, results).await;
}

/// Looks again, soon at first and then at the device's own pace, until every
/// machine shows the state or its time is over.
async fn await_state(
    driver: &mut dyn ChassisDriver,
    mut waiting: Vec<SlotId>,
    order: PowerOrderKind,
    results: &mut Results,
) {
    let patience = driver.patience();
    let (wanted, limit) = match order {
        PowerOrderKind::On => (ObservedPower::On, patience.settle),
        PowerOrderKind::Off => (ObservedPower::Off, patience.shutdown),
        PowerOrderKind::ForceOff => (ObservedPower::Off, patience.settle),
    };
    let begun = clock::now();
    let mut pause = Duration::from_millis(200).min(patience.poll);
    let mut shown: BTreeMap<SlotId, ObservedPower> = BTreeMap::new();
    let mut trouble: Option<DriverError> = None;
    while !waiting.is_empty() {
        let scope = match waiting.as_slice() {
            [one] => Scope::One(*one),
            _ => Scope::Power,
        };
        match driver.observe(scope).await {
            Ok(machines) => {
                trouble = None;
                shown.extend(states(&machines));
                let (there, rest): (Vec<_>, Vec<_>) = waiting
                    .into_iter()
                    .partition(|slot| shown.get(slot) == Some(&wanted));
                results.extend(there.into_iter().map(|slot| (slot, Ok(Outcome::Changed))));
                waiting = rest;
            }
            // One failed look says nothing about the order; the time does.
            Err(error) => {
                tracing::debug!(%error, "looking for the new state failed");
                trouble = Some(error);
            }
        }
        let waited = clock::now().since(begun);
        if waited >= limit {
            break;
        }
        if !waiting.is_empty() {
            sleep(pause.min(limit.saturating_sub(waited))).await;
            pause = (pause * 2).min(patience.poll);
        }
    }
    for slot in waiting {
        let error = trouble.take().unwrap_or_else(|| {
            let shows = shown.get(&slot).copied().unwrap_or_default();
            did_not_obey(slot, order, shows, limit)
        });
        results.insert(slot, Err(error));
    }
}

fn did_not_obey(
    slot: SlotId,
    order: PowerOrderKind,
    shows: ObservedPower,
    after: Duration,
) -> DriverError {
    let (order, advice) = match order {
        PowerOrderKind::On => ("power on", ""),
        PowerOrderKind::Off => (
            "power off",
            "; its operating system may not listen, `power force-off` cuts the power",
        ),
        PowerOrderKind::ForceOff => ("power force-off", ""),
    };
    DriverError::DidNotObey {
        slot,
        order,
        shows: shows.to_string(),
        after,
        advice,
    }
}

/// Power by slot.
fn states(machines: &[ObservedMachine]) -> BTreeMap<SlotId, ObservedPower> {
    machines
        .iter()
        .filter_map(|m| Some((m.slot.parse().ok()?, m.power)))
        .collect()
}

fn list(seen: &BTreeMap<SlotId, ObservedPower>) -> String {
    const MOST: usize = 50;
    if seen.is_empty() {
        return "none".into();
    }
    let names: Vec<String> = seen.keys().take(MOST).map(ToString::to_string).collect();
    names.join(", ")
}
