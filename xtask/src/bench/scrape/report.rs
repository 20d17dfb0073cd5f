//! What was measured, as tables. Pure.

use super::peer::PeerRound;
use super::round::{Lap, Round};
use crate::bench::samples::{number, ratio};
use crate::bench::table::Table;

/// What nobody can beat.
pub struct Bound;

impl Bound {
    /// How the bounds are made.
    pub const EXPLAINED: &str = "bound: the device that was slowest in all its answers together, or the time of all \
         answers divided by the visits at once, whichever is longer. A power poll of all includes \
         the 5 s between two looks at a device, its bound as well.";

    fn of(lap: &Lap, visits: u32, least: f64) -> f64 {
        let share = lap.stats.busy_secs / f64::from(visits.min(lap.stats.devices).max(1));
        share.max(lap.stats.slowest_secs + least)
    }
}

/// Shortest time between two looks, in seconds: the interval of 5 s less the
/// tenth that chassis-agent may take off, so that devices spread.
const BETWEEN_LOOKS: f64 = 4.5;

/// The BMCs.
pub fn fleet_table(rounds: &[Round], serial: Option<&Round>) -> Table {
    let mut table = Table::new(&[
        "BMCs",
        "visits",
        "inventory s",
        "bound s",
        "ratio",
        "requests each (most)",
        "power poll s",
        "bound s",
        "ratio",
        "requests each",
        "peak RSS MiB",
        "CPU s",
        "CPU ms each",
        "failures",
    ]);
    for round in rounds {
        table.row(fleet_row(round, round.inventory.stats.devices.to_string()));
    }
    if let Some(serial) = serial {
        let devices = f64::from(serial.inventory.stats.devices.max(1));
        let mut row = fleet_row(serial, format!("serial, {devices}"));
        row[2] = number(serial.inventory.secs);
        table.row(row);
        for round in rounds {
            let count = f64::from(round.inventory.stats.devices);
            let whole = serial.inventory.secs * count / devices;
            table.row([
                format!("serial, {count} (extrapolated)"),
                "1".into(),
                number(whole),
                String::new(),
                ratio(whole, round.inventory.secs),
            ]);
        }
    }
    table
}

fn fleet_row(round: &Round, name: String) -> Vec<String> {
    let (inventory, power) = (&round.inventory, &round.power);
    let devices = f64::from(inventory.stats.devices.max(1));
    let bound = Bound::of(inventory, round.visits, 0.0);
    let power_bound = Bound::of(power, round.visits, BETWEEN_LOOKS);
    vec![
        name,
        round.visits.to_string(),
        number(inventory.secs),
        number(bound),
        ratio(inventory.secs, bound),
        format!(
            "{} ({})",
            number(each(inventory.stats.requests, devices)),
            inventory.stats.most_requests
        ),
        number(power.secs),
        number(power_bound),
        ratio(power.secs, power_bound),
        number(each(power.stats.requests, many(power.stats.looks.max(1)))),
        number(power.usage.peak_rss_mib),
        number(inventory.usage.cpu_secs),
        number(inventory.usage.cpu_secs / devices * 1000.0),
        (inventory.stats.failures + power.stats.failures).to_string(),
    ]
}

/// chassis-agent and the other scanner over the same devices.
pub fn peer_table(ours: &Round, theirs: &PeerRound) -> Table {
    let mut table = Table::new(&["scanner", "BMCs", "at once", "seconds", "CPU s"]);
    let devices = theirs.devices.to_string();
    table.row([
        "chassis-agent run".into(),
        devices.clone(),
        devices.clone(),
        number(ours.inventory.secs),
        number(ours.inventory.usage.cpu_secs),
    ]);
    table.row([
        "rf_sys_inventory".into(),
        devices.clone(),
        devices,
        number(theirs.secs),
        number(theirs.cpu_secs),
    ]);
    table
}

/// The Moonshot chassis.
pub fn chassis_table(rounds: &[Round]) -> Table {
    let mut table = Table::new(&[
        "chassis",
        "nodes",
        "MACs",
        "inventory s",
        "commands of the first scan",
        "power poll s",
        "peak RSS MiB",
        "CPU s",
        "failures",
    ]);
    for round in rounds {
        let (inventory, power) = (&round.inventory, &round.power);
        table.row([
            inventory.stats.devices.to_string(),
            inventory.stats.machines.to_string(),
            inventory.stats.macs.to_string(),
            number(inventory.secs),
            inventory
                .most_commands
                .map_or_else(String::new, |commands| commands.to_string()),
            number(power.secs),
            number(power.usage.peak_rss_mib),
            number(inventory.usage.cpu_secs),
            (inventory.stats.failures + power.stats.failures).to_string(),
        ]);
    }
    table
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn many(count: u64) -> f64 {
    count as f64
}

fn each(count: u64, of: f64) -> f64 {
    many(count) / of
}
