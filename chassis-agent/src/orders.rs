//! Orders that are verified: sends them and looks again until the device shows
//! what was ordered, or says that it did not obey.

use std::collections::BTreeMap;
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::resources::ObservedPower;
use tokio::time::sleep;

use crate::clock;
use crate::drivers::{
    ChassisDriver, DriverError, PowerAction, PowerOrderKind, RestartKind, Scope, Slot,
};

/// What an order did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device has changed its state.
    Changed,
    /// The device was in that state already.
    Unchanged,
}

/// What became of an order, by slot.
pub type Results = BTreeMap<Slot, Result<Outcome, DriverError>>;

/// Carries `action` out on `slots` and waits for the new states. The orders go
/// out one after the other; the waiting is for all of them together.
///
/// # Errors
/// When the device cannot be asked at all; what fails for one slot is in its
/// result.
pub async fn carry_out<S>(
    driver: &mut dyn ChassisDriver,
    slots: &[S],
    action: PowerAction,
) -> Result<Results, DriverError>
where
    S: Clone + Into<Slot>,
{
    let seen = states(&driver.observe(Scope::Power).await?);
    let mut results = Results::new();
    let mut present = Vec::new();
    for slot in slots {
        let slot: Slot = slot.clone().into();
        match seen.get(&slot) {
            Some(_) if present.contains(&slot) => {}
            Some(_) => present.push(slot),
            None => {
                let error = DriverError::NoSuchMachine {
                    slot: slot.to_string(),
                    present: list(&seen),
                };
                results.insert(slot, Err(error));
            }
        }
    }
    let is_in = |state| {
        let seen = &seen;
        move |slot: &Slot| seen.get(slot) == Some(&state)
    };
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
            let kind = match action {
                PowerAction::Reset => RestartKind::Reset,
                _ => RestartKind::Cycle,
            };
            let is_on = is_in(ObservedPower::On);
            let present = restart(driver, present, kind, is_on, &mut results).await;
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
            let off: Vec<Slot> = present
                .into_iter()
                .filter(|slot| results.get(slot).is_some_and(Result::is_ok))
                .collect();
            step(driver, &off, PowerOrderKind::On, |_| false, &mut results).await;
        }
    }
    Ok(results)
}

/// Restarts those that are on by the device's own order, where it has one, and
/// waits until they are on. Returns those for whom that did not do.
async fn restart(
    driver: &mut dyn ChassisDriver,
    slots: Vec<Slot>,
    kind: RestartKind,
    is_on: impl Fn(&Slot) -> bool,
    results: &mut Results,
) -> Vec<Slot> {
    let mut rest = Vec::new();
    let mut waiting = Vec::new();
    for slot in slots {
        let Some(device) = driver.restarts().filter(|_| is_on(&slot)) else {
            rest.push(slot);
            continue;
        };
        match device.restart(&slot, kind).await {
            Ok(true) => waiting.push(slot),
            Ok(false) => rest.push(slot),
            Err(error) => {
                results.insert(slot, Err(error));
            }
        }
    }
    await_state(driver, waiting, PowerOrderKind::On, results).await;
    rest
}

/// One order for several machines, and the wait for all of them.
async fn step(
    driver: &mut dyn ChassisDriver,
    slots: &[Slot],
    order: PowerOrderKind,
    is_there: impl Fn(&Slot) -> bool,
    results: &mut Results,
) {
    let mut waiting = Vec::new();
    for slot in slots {
        if is_there(slot) {
            results.insert(slot.clone(), Ok(Outcome::Unchanged));
            continue;
        }
        match driver.power(slot, order).await {
            Ok(()) => waiting.push(slot.clone()),
            Err(error) => {
                results.insert(slot.clone(), Err(error));
            }
        }
    }
    await_state(driver, waiting, order, results).await;
}

/// Looks again, soon at first and then at the device's own pace, until every
/// machine shows the state or its time is over.
async fn await_state(
    driver: &mut dyn ChassisDriver,
    mut waiting: Vec<Slot>,
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
    let mut shown: BTreeMap<Slot, ObservedPower> = BTreeMap::new();
    let mut trouble: Option<DriverError> = None;
    while !waiting.is_empty() {
        let scope = match waiting.as_slice() {
            [one] => Scope::One(one.clone()),
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
            did_not_obey(slot.clone(), order, shows, limit)
        });
        results.insert(slot, Err(error));
    }
}

fn did_not_obey(
    slot: Slot,
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
fn states(machines: &[ObservedMachine]) -> BTreeMap<Slot, ObservedPower> {
    machines
        .iter()
        .filter_map(|m| Some((m.slot.parse().ok()?, m.power)))
        .collect()
}

fn list(seen: &BTreeMap<Slot, ObservedPower>) -> String {
    const MOST: usize = 50;
    if seen.is_empty() {
        return "none".into();
    }
    let names: Vec<String> = seen.keys().take(MOST).map(ToString::to_string).collect();
    names.join(", ")
}
