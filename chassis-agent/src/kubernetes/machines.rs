//! Which Machine a chassis' slot is, what is said of it, and which power it
//! shall have. Pure.

use std::collections::BTreeMap;

use boot_proto::api::condition::{OF_MACHINES, REACHABLE};
use boot_proto::api::{
    ChassisInventory, ObservedMachine, PowerOrder, PowerOrders, ReportedCondition,
};
use boot_proto::ids::name_mistake;
use boot_proto::kubernetes::status::{MachineStatus, Observed, Timestamp};
use boot_proto::resources::{DesiredPower, MachineSpec, NodePoolSpec, ObservedPower};
use boot_proto::time::WallClock;
use boot_proto::uuid;

use super::conditions::{are_news, brought_up_to_date};

/// A Machine as the API server has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// `spec`.
    pub spec: MachineSpec,
    /// `status`, all writers' fields.
    pub status: MachineStatus,
    /// Whether nobody declared it.
    pub is_found: bool,
}

/// Machines by name.
pub type Machines = BTreeMap<String, Known>;

/// What is to be written of one Machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Its name.
    pub name: String,
    /// Whether it is not there yet.
    pub is_new: bool,
    /// Our fields of its status.
    pub status: MachineStatus,
}

/// What one look at `chassis` has to say: nothing of machines of which it says
/// what is there already.
#[must_use]
pub fn news(
    chassis: &str,
    seen: &ChassisInventory,
    machines: &Machines,
    now: WallClock,
) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut present = Vec::new();
    if seen.reachable {
        for observed in &seen.machines {
            let Some(name) = name_of(chassis, observed, machines) else {
                continue;
            };
            let known = machines.get(&name);
            if known.is_none() && !seen.complete {
                continue;
            }
            present.push(name.clone());
            writes.extend(write(chassis, name, known, observed, seen, now));
        }
    }
    let away = match seen.reachable {
        true => reachable(
            "False",
            "NotInScan",
            "the chassis does not show it any more",
        ),
        false => reachable("Unknown", "ChassisUnreachable", &seen.message),
    };
    if !seen.reachable || seen.complete {
        let gone = machines.iter().filter(|(name, known)| {
            let here = known
                .status
                .observed
                .as_ref()
                .and_then(|observed| observed.chassis.as_deref());
            here == Some(chassis) && !present.contains(name)
        });
        writes.extend(gone.filter_map(|(name, known)| lost(name, known, &away, now)));
    }
    writes
}

/// The Machine of that slot: the one that says so or showed itself there, else
/// one that has its MAC or UUID, else a new one named by chassis and slot.
fn name_of(chassis: &str, observed: &ObservedMachine, machines: &Machines) -> Option<String> {
    let slot = observed.slot.to_lowercase();
    let is_here = |known: &Known| {
        let declared = known.spec.chassis.as_deref() == Some(chassis)
            && known
                .spec
                .slot
                .as_ref()
                .map(|slot| slot.to_string().to_lowercase())
                == Some(slot.clone());
        let shown = known.status.observed.as_ref().is_some_and(|there| {
            there.chassis.as_deref() == Some(chassis)
                && there
                    .slot
                    .as_ref()
                    .map(|slot| slot.to_string().to_lowercase())
                    == Some(slot.clone())
        });
        declared || shown
    };
    let has_mac = |known: &Known| {
        let met = known.status.met.iter().flat_map(|met| &met.macs);
        known
            .spec
            .macs
            .iter()
            .chain(met)
            .any(|mac| mac.is_usable() && observed.macs.contains(mac))
    };
    let own_uuid = observed.uuid.as_deref().and_then(uuid::usable);
    let has_uuid = |known: &Known| {
        own_uuid.is_some() && known.spec.uuid.as_deref().and_then(uuid::usable) == own_uuid
    };
    let find = |fits: &dyn Fn(&Known) -> bool| {
        let mut all = machines.iter();
        all.find(|(_, known)| fits(known))
            .map(|(name, _)| name.clone())
    };
    find(&is_here)
        .or_else(|| find(&has_mac))
        .or_else(|| find(&has_uuid))
        .or_else(|| new_name(chassis, &slot))
}

/// `m1-c11n1`; what a BMC calls its system is brought into the form of a name.
#[must_use]
pub fn new_name(chassis: &str, slot: &str) -> Option<String> {
    let mut part = String::new();
    for letter in slot.trim().chars() {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            part.push(letter);
        } else if !part.is_empty() && !part.ends_with('-') {
            part.push('-');
        }
    }
    let part = part.trim_end_matches('-');
    let name = format!("{chassis}-{part}");
    (!part.is_empty() && name_mistake(&name).is_none()).then_some(name)
}

fn write(
    chassis: &str,
    name: String,
    known: Option<&Known>,
    observed: &ObservedMachine,
    seen: &ChassisInventory,
    now: WallClock,
) -> Option<Write> {
    let before = known.map(|known| known.status.clone()).unwrap_or_default();
    let mut there = before.observed.clone().unwrap_or_default();
    there.chassis = Some(chassis.to_owned());
    there.slot = observed.slot.parse().ok();
    if seen.complete {
        complete_with(&mut there, observed);
    }
    let power = Some(observed.power);
    let here = reachable("True", "Scanned", "the chassis shows it");
    let of_it = |one: &&ReportedCondition| one.slot.as_deref() == Some(&*observed.slot);
    let found = seen.conditions.iter().filter(of_it).chain([&here]);
    let status = MachineStatus {
        power,
        observed_at: if before.power == power {
            before.observed_at
        } else {
            Some(Timestamp(now))
        },
        observed: Some(there),
        conditions: brought_up_to_date(&before.conditions, &OF_MACHINES, found, now),
        ..MachineStatus::default()
    };
    let is_news = known.is_none()
        || status.power != before.power
        || status.observed != before.observed
        || are_news(&status.conditions, &before.conditions);
    is_news.then_some(Write {
        name,
        is_new: known.is_none(),
        status,
    })
}

/// Fewer MACs than before say nothing: managers lose them while a node is off.
/// Other hardware in the slot has none of them.
fn complete_with(there: &mut Observed, observed: &ObservedMachine) {
    let usable = observed.macs.iter().filter(|mac| mac.is_usable());
    let shares = there.macs.iter().any(|mac| observed.macs.contains(mac));
    if !observed.macs.is_empty() && !shares {
        there.macs.clear();
    }
    for mac in usable {
        if !there.macs.contains(mac) {
            there.macs.push(*mac);
        }
    }
    there.uuid = observed
        .uuid
        .as_deref()
        .and_then(uuid::usable)
        .or(there.uuid.take());
    there.serial = observed.serial.clone().or(there.serial.take());
    there.manufacturer = observed.manufacturer.clone().or(there.manufacturer.take());
    there.model = observed.model.clone().or(there.model.take());
}

fn lost(name: &str, known: &Known, away: &ReportedCondition, now: WallClock) -> Option<Write> {
    let before = &known.status;
    let written = MachineStatus {
        power: Some(ObservedPower::Unknown),
        observed_at: before.observed_at,
        observed: before.observed.clone(),
        conditions: brought_up_to_date(&before.conditions, &OF_MACHINES, [away], now),
        ..MachineStatus::default()
    };
    let is_news =
        before.power != written.power || are_news(&written.conditions, &before.conditions);
    is_news.then(|| Write {
        name: name.to_owned(),
        is_new: false,
        status: written,
    })
}

fn reachable(status: &str, reason: &str, message: &str) -> ReportedCondition {
    ReportedCondition {
        slot: None,
        r#type: REACHABLE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// The power wanted of the machines of `chassis`. A pool's wish counts for
/// machines that were declared, or that another pool than the catch-all takes:
/// what nobody knows is not switched.
#[must_use]
pub fn orders(
    chassis: &str,
    chassis_pool: Option<&str>,
    machines: &Machines,
    pools: &BTreeMap<String, NodePoolSpec>,
) -> PowerOrders {
    let order = |(name, known): (&String, &Known)| {
        let observed = known.status.observed.as_ref();
        let is_here = known.spec.chassis.as_deref() == Some(chassis)
            || observed.and_then(|observed| observed.chassis.as_deref()) == Some(chassis);
        let slot = known
            .spec
            .slot
            .clone()
            .or_else(|| observed.and_then(|observed| observed.slot.clone()))?;
        let power = is_here
            .then(|| wanted(known, chassis_pool, pools))
            .flatten()?;
        Some(PowerOrder {
            machine: name.clone(),
            slot,
            power,
            network_boot: true,
            // Added by what boot-server tells of requests.
            is_watched: false,
            asked_ms_ago: None,
        })
    };
    PowerOrders {
        orders: machines.iter().filter_map(order).collect(),
    }
}

fn wanted(
    known: &Known,
    chassis_pool: Option<&str>,
    pools: &BTreeMap<String, NodePoolSpec>,
) -> Option<DesiredPower> {
    // boot-server restarts a machine that it moves to another pool.
    let membership = known.status.membership.as_ref();
    if let Some(ordered) = membership.and_then(|membership| membership.ordered_power) {
        return Some(ordered);
    }
    if known.spec.power.is_some() {
        return known.spec.power;
    }
    // boot-server, where it runs, has decided for a pool by all its rules.
    let pool = known.spec.pool.as_deref();
    let pool = pool
        .or(known.status.pool.as_deref())
        .or(chassis_pool)
        .and_then(|name| pools.get(name))?;
    let is_meant = !known.is_found || !pool.catch_all;
    pool.power.filter(|_| is_meant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_proto::ids::MacAddr;
    use boot_proto::resources::Membership;

    const NOW: WallClock = WallClock(1_700_000_000_000);

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    fn seen(machines: Vec<ObservedMachine>) -> ChassisInventory {
        ChassisInventory {
            reachable: true,
            complete: true,
            machines,
            ..ChassisInventory::default()
        }
    }

    fn node(slot: &str, macs: &[u8], power: ObservedPower) -> ObservedMachine {
        ObservedMachine {
            slot: slot.into(),
            macs: macs.iter().map(|last| mac(*last)).collect(),
            power,
            ..ObservedMachine::default()
        }
    }

    /// What the API server has after `writes`.
    fn after(machines: &Machines, writes: &[Write]) -> Machines {
        let mut machines = machines.clone();
        for write in writes {
            let known = machines.entry(write.name.clone()).or_insert(Known {
                is_found: true,
                ..Known::default()
            });
            known.status.power = write.status.power;
            known.status.observed_at = write.status.observed_at;
            known.status.observed.clone_from(&write.status.observed);
            known.status.conditions.clone_from(&write.status.conditions);
        }
        machines
    }

    #[test]
    fn a_scan_is_written_once() {
        let scan = seen(vec![
            node("c1n1", &[1, 2], ObservedPower::Off),
            node("C2N1", &[3], ObservedPower::On),
        ]);
        let first = news("m1", &scan, &Machines::new(), NOW);
        let names: Vec<&str> = first.iter().map(|write| write.name.as_str()).collect();
        assert_eq!(names, ["m1-c1n1", "m1-c2n1"]);
        assert!(first.iter().all(|write| write.is_new));
        let machines = after(&Machines::new(), &first);
        let later = WallClock(NOW.0 + 60_000);
        assert!(news("m1", &scan, &machines, later).is_empty());

        // Power alone, and fewer MACs than before.
        let look = ChassisInventory {
            complete: false,
            ..seen(vec![node("c1n1", &[], ObservedPower::On)])
        };
        let second = news("m1", &look, &machines, later);
        assert_eq!(second.len(), 1);
        let observed = second[0].status.observed.as_ref().unwrap();
        assert_eq!(observed.macs, [mac(1), mac(2)]);
        assert_eq!(second[0].status.observed_at, Some(Timestamp(later)));
    }

    #[test]
    fn a_declared_machine_keeps_its_name() {
        let declared = Known {
            spec: MachineSpec {
                macs: vec![mac(1)],
                ..MachineSpec::default()
            },
            ..Known::default()
        };
        let machines = [("db-1".to_owned(), declared)].into();
        let scan = seen(vec![node("c1n1", &[1], ObservedPower::On)]);
        let writes = news("m1", &scan, &machines, NOW);
        assert_eq!(writes[0].name, "db-1");
        assert!(!writes[0].is_new);
    }

    #[test]
    fn what_is_away_is_unknown_and_not_gone() {
        let scan = seen(vec![node("c1n1", &[1], ObservedPower::On)]);
        let machines = after(&Machines::new(), &news("m1", &scan, &Machines::new(), NOW));
        let away = ChassisInventory {
            message: "no answer".into(),
            ..ChassisInventory::default()
        };
        let writes = news("m1", &away, &machines, NOW);
        assert_eq!(writes[0].status.power, Some(ObservedPower::Unknown));
        assert_eq!(writes[0].status.conditions[0].status, "Unknown");
        assert_eq!(
            writes[0].status.observed,
            machines["m1-c1n1"].status.observed
        );
        let machines = after(&machines, &writes);
        assert!(news("m1", &away, &machines, NOW).is_empty());
        assert!(news("m2", &away, &machines, NOW).is_empty());
    }

    #[test]
    fn what_became_of_orders_stands_in_the_machine() {
        let mut scan = seen(vec![
            node("c1n1", &[1], ObservedPower::On),
            node("c2n1", &[2], ObservedPower::On),
        ]);
        let machines = after(&Machines::new(), &news("m1", &scan, &Machines::new(), NOW));
        let told = |about: &str, status: &str| ReportedCondition {
            slot: Some("c1n1".into()),
            r#type: about.into(),
            status: status.into(),
            reason: "Why".into(),
            message: "words".into(),
        };
        scan.conditions = vec![
            told("NetworkBoot", "False"),
            told("BootOnceTaken", "True"),
            told("PowerObeyed", "True"),
            told("MadeUp", "True"),
        ];
        let writes = news("m1", &scan, &machines, NOW);
        assert_eq!(writes.len(), 1, "c2n1 has nothing new: {writes:?}");
        let types = |write: &Write| -> Vec<String> {
            let all = write.status.conditions.iter();
            all.map(|one| format!("{} {}", one.r#type, one.status))
                .collect()
        };
        let all = [
            "Reachable True",
            "NetworkBoot False",
            "BootOnceTaken True",
            "PowerObeyed True",
        ];
        assert_eq!(types(&writes[0]), all);
        let machines = after(&machines, &writes);
        assert!(news("m1", &scan, &machines, NOW).is_empty());
        // A new agent, which ordered nothing yet, loses nothing.
        scan.conditions.clear();
        assert!(news("m1", &scan, &machines, NOW).is_empty());
        let away = ChassisInventory::default();
        let lost = news("m1", &away, &machines, NOW);
        assert_eq!(types(&lost[0])[..2], ["Reachable Unknown", all[1]]);
    }

    #[test]
    fn power_is_ordered_where_it_is_meant() {
        let scan = seen(vec![
            node("c1n1", &[1], ObservedPower::Off),
            node("c2n1", &[2], ObservedPower::Off),
        ]);
        let mut machines = after(&Machines::new(), &news("m1", &scan, &Machines::new(), NOW));
        let pool = |catch_all| NodePoolSpec {
            catch_all,
            power: Some(DesiredPower::On),
            ..NodePoolSpec::default()
        };
        let pools = [
            ("all".to_owned(), pool(true)),
            ("work".to_owned(), pool(false)),
        ]
        .into();
        assert!(orders("m1", None, &machines, &pools).orders.is_empty());
        assert!(
            orders("m1", Some("all"), &machines, &pools)
                .orders
                .is_empty()
        );
        assert_eq!(
            orders("m1", Some("work"), &machines, &pools).orders.len(),
            2
        );
        let first = machines.get_mut("m1-c1n1").unwrap();
        first.spec.power = Some(DesiredPower::On);
        first.status.membership = Some(Membership {
            ordered_power: Some(DesiredPower::Off),
            ..Membership::default()
        });
        let restarted = orders("m1", None, &machines, &pools).orders;
        assert_eq!(restarted[0].power, DesiredPower::Off);
        let first = machines.get_mut("m1-c1n1").unwrap();
        first.status.membership = None;
        first.spec.power = Some(DesiredPower::Off);
        let wanted = orders("m1", None, &machines, &pools).orders;
        assert_eq!(wanted.len(), 1);
        assert_eq!(wanted[0].power, DesiredPower::Off);
        assert!(
            orders("m2", Some("work"), &machines, &pools)
                .orders
                .is_empty()
        );
    }
}
