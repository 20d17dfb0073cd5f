//! What is well and what is wrong with a device and its machines, in words, for
//! the status of the Chassis and its Machines. Pure.

use std::collections::{BTreeMap, BTreeSet};

use boot_proto::api::{ObservedMachine, ReportedCondition};
use boot_proto::slot::Slot;

pub use boot_proto::api::condition::{BOOT_ONCE_TAKEN as BOOT_ONCE, POWER_OBEYED as POWER};

/// Machines named in one message.
const MOST_NAMES: usize = 8;

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    device: BTreeMap<&'static str, ReportedCondition>,
    machines: BTreeMap<(Slot, String), ReportedCondition>,
}

impl Verdicts {
    /// The device was read.
    pub fn read(&mut self, machines: &[ObservedMachine], is_full: bool) {
        self.device("Reachable", "True", "Answers", String::new());
        self.device("Ready", "True", "Read", String::new());
        if is_full {
            let (status, reason, message) = inventory(machines);
            self.device("InventoryComplete", status, reason, message);
        }
        let slots: BTreeSet<Slot> = machines
            .iter()
            .filter_map(|machine| machine.slot.parse().ok())
            .collect();
        self.machines.retain(|(slot, _), _| slots.contains(slot));
    }

    /// The device could not be read; `kind` is the kind of error.
    pub fn not_read(&mut self, kind: &str, message: &str) {
        let reason = camel_case(kind);
        match kind {
            "unreachable" | "timed-out" => {
                self.device("Reachable", "False", &reason, message.to_owned());
            }
            // Nobody has asked it: what is wrong is here.
            "configuration" => {}
            _ => self.device("Reachable", "True", "Answers", String::new()),
        }
        self.device("Ready", "False", &reason, message.to_owned());
    }

    /// What became of an order to a machine; `about` is [`BOOT_ONCE`] or
    /// [`POWER`].
    pub fn ordered(&mut self, slot: &Slot, about: &str, outcome: Result<(), (&str, String)>) {
        let (status, reason, message) = match outcome {
            Ok(()) => ("True", "Obeyed".to_owned(), String::new()),
            Err((kind, message)) => ("False", camel_case(kind), message),
        };
        self.machine(
            slot,
            ReportedCondition {
                slot: Some(slot.to_string()),
                r#type: about.into(),
                status: status.into(),
                reason,
                message,
            },
        );
    }

    /// Any other condition of a machine.
    pub fn machine(&mut self, slot: &Slot, condition: ReportedCondition) {
        self.machines
            .insert((slot.clone(), condition.r#type.clone()), condition);
    }

    /// All conditions, the device's first.
    #[must_use]
    pub fn report(&self) -> Vec<ReportedCondition> {
        let mut all: Vec<ReportedCondition> = self.device.values().cloned().collect();
        all.extend(self.obedience());
        all.extend(self.machines.values().cloned());
        all
    }

    /// Whether the machines do what they are told, for the device as a whole.
    fn obedience(&self) -> Option<ReportedCondition> {
        let about = |condition: &&ReportedCondition| condition.status != "Unknown";
        let judged: Vec<&ReportedCondition> = self.machines.values().filter(about).collect();
        let bad: Vec<String> = judged
            .iter()
            .filter(|condition| condition.status == "False")
            .map(|condition| {
                let slot = condition.slot.as_deref().unwrap_or_default();
                format!("{slot}: {}", condition.message)
            })
            .collect();
        if judged.is_empty() {
            return None;
        }
        let (status, reason) = match bad.is_empty() {
            true => ("True", "Obeyed"),
            false => ("False", "NotObeyed"),
        };
        Some(condition("OrdersObeyed", status, reason, named(&bad, "; ")))
    }

    fn device(&mut self, about: &'static str, status: &str, reason: &str, message: String) {
        self.device
            .insert(about, condition(about, status, reason, message));
    }
}

fn condition(about: &str, status: &str, reason: &str, message: String) -> ReportedCondition {
    ReportedCondition {
        slot: None,
        r#type: about.into(),
        status: status.into(),
        reason: reason.into(),
        message,
    }
}

/// What an inventory lacks.
fn inventory(machines: &[ObservedMachine]) -> (&'static str, &'static str, String) {
    let without: Vec<String> = machines
        .iter()
        .filter(|machine| machine.macs.is_empty())
        .map(|machine| machine.slot.clone())
        .collect();
    let uuids = shared(machines, |machine| machine.uuid.iter().cloned().collect());
    let macs = shared(machines, |machine| {
        machine.macs.iter().map(ToString::to_string).collect()
    });
    let mut found = Vec::new();
    if !without.is_empty() {
        found.push((
            "NoMacs",
            format!(
                "no MAC is shown of {}: only a boot will tell which NICs they have",
                named(&without, ", ")
            ),
        ));
    }
    if !uuids.is_empty() {
        let text = named(&uuids, "; ");
        found.push((
            "SharedUuid",
            format!("several machines show one UUID, which tells none of them: {text}"),
        ));
    }
    if !macs.is_empty() {
        let text = named(&macs, "; ");
        found.push((
            "SharedMac",
            format!("several machines show one MAC, which tells none of them: {text}"),
        ));
    }
    match found.first() {
        None => ("True", "AllKnown", String::new()),
        Some((reason, _)) => {
            let messages: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
            ("False", reason, messages.join("; "))
        }
    }
}

/// What several machines show, with who they are.
fn shared(
    machines: &[ObservedMachine],
    values: impl Fn(&ObservedMachine) -> BTreeSet<String>,
) -> Vec<String> {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for machine in machines {
        for value in values(machine) {
            owners.entry(value).or_default().push(&machine.slot);
        }
    }
    owners
        .into_iter()
        .filter(|(_, owners)| owners.len() > 1)
        .map(|(value, owners)| format!("{value} ({})", owners.join(", ")))
        .collect()
}

fn named(all: &[String], between: &str) -> String {
    let shown: Vec<&str> = all.iter().take(MOST_NAMES).map(String::as_str).collect();
    let rest = all.len().saturating_sub(MOST_NAMES);
    let more = if rest > 0 {
        format!("{between}and {rest} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(between))
}

/// `login-refused` -> `LoginRefused`, the form of a condition's reason.
fn camel_case(kind: &str) -> String {
    kind.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(slot: &str, mac: Option<u8>, uuid: &str) -> ObservedMachine {
        ObservedMachine {
            slot: slot.into(),
            macs: mac
                .map(|last| format!("02:00:00:00:00:{last:02x}").parse().unwrap())
                .into_iter()
                .collect(),
            uuid: Some(uuid.into()),
            ..ObservedMachine::default()
        }
    }

    fn find<'a>(all: &'a [ReportedCondition], about: &str) -> &'a ReportedCondition {
        all.iter()
            .find(|condition| condition.r#type == about)
            .unwrap_or_else(|| panic!("{about} in {all:#?}"))
    }

    #[test]
    fn what_failed_is_told_apart() {
        for (kind, reachable, reason) in [
            ("unreachable", Some("False"), "Unreachable"),
            ("timed-out", Some("False"), "TimedOut"),
            ("login-refused", Some("True"), "LoginRefused"),
            ("profile", Some("True"), "Profile"),
            ("host-key", Some("True"), "HostKey"),
            ("configuration", None, "Configuration"),
        ] {
            let mut verdicts = Verdicts::default();
            verdicts.not_read(kind, "why");
            let all = verdicts.report();
            let shown = all.iter().find(|one| one.r#type == "Reachable");
            assert_eq!(shown.map(|one| one.status.as_str()), reachable, "{kind}");
            let ready = find(&all, "Ready");
            assert_eq!((&*ready.status, &*ready.reason), ("False", reason));
        }
    }

    #[test]
    fn an_inventory_says_what_it_lacks() {
        let mut verdicts = Verdicts::default();
        let mut machines = vec![machine("c1n1", Some(1), "a"), machine("c2n1", Some(2), "b")];
        verdicts.read(&machines, true);
        assert_eq!(find(&verdicts.report(), "InventoryComplete").status, "True");
        machines.extend([machine("c3n1", None, "b"), machine("c4n1", Some(1), "c")]);
        verdicts.read(&machines, true);
        let all = verdicts.report();
        let told = find(&all, "InventoryComplete");
        assert_eq!((&*told.status, &*told.reason), ("False", "NoMacs"));
        for text in [
            "of c3n1",
            "b (c2n1, c3n1)",
            "02:00:00:00:00:01 (c1n1, c4n1)",
        ] {
            assert!(told.message.contains(text), "{}", told.message);
        }
        // A look at the power says nothing of MACs.
        let power = [machine("c1n1", None, "")];
        verdicts.read(&power, false);
        assert_eq!(
            find(&verdicts.report(), "InventoryComplete").reason,
            "NoMacs"
        );
    }

    #[test]
    fn machines_that_do_not_obey_are_told_of_until_they_do() {
        let mut verdicts = Verdicts::default();
        let slot: Slot = "c1n1".parse().unwrap();
        let machines = [machine("c1n1", Some(1), "a")];
        verdicts.read(&machines, true);
        assert!(
            verdicts
                .report()
                .iter()
                .all(|one| one.r#type != "OrdersObeyed")
        );
        let ignored = ("did-not-obey", "c1n1 did not obey".to_owned());
        verdicts.ordered(&slot, POWER, Err(ignored));
        let all = verdicts.report();
        assert_eq!(find(&all, "OrdersObeyed").status, "False");
        let own = find(&all, POWER);
        assert_eq!(
            (own.slot.as_deref(), &*own.reason),
            (Some("c1n1"), "DidNotObey")
        );
        verdicts.ordered(&slot, POWER, Ok(()));
        assert_eq!(find(&verdicts.report(), "OrdersObeyed").status, "True");
        // The machine is gone, and so is what was said of it.
        verdicts.read(&[], true);
        assert!(verdicts.report().iter().all(|one| one.slot.is_none()));
    }

    #[test]
    fn long_lists_are_cut() {
        let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(named(&all, ", "), "0, 1, 2, 3, 4, 5, 6, 7, and 12 more");
    }
}
