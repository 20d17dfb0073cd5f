//! What is known of chassis managers and BMCs: how a report changes it.
//!
//! Pure. Whoever keeps a condition knows since when it holds; chassis-agent
//! only says what it finds.

use boot_proto::api::{ChassisInventory, ReportedCondition};
use boot_proto::resources::{ChassisStatus, Condition};
use boot_proto::time::WallClock;
use serde::{Deserialize, Serialize};

use super::SEEN_AGAIN;
use super::facts::set_condition;
use crate::store::Record;

/// What is kept of a chassis once its agent has reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LearnedChassis {
    /// The Chassis' name.
    pub name: String,
    /// What is known of it.
    pub status: ChassisStatus,
    /// When that was last written.
    pub written: WallClock,
}

impl Record for LearnedChassis {
    const TABLE: &'static str = "chassis";

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// More conditions of one object than any agent has.
const MOST_CONDITIONS: usize = 32;
/// Longest type or reason, and longest message, in characters.
const WORD: usize = 64;
const MESSAGE: usize = 1_000;

/// Takes in a report.
pub(super) fn learn(known: &mut LearnedChassis, scan: &ChassisInventory, now: WallClock) {
    let status = &mut known.status;
    if scan.reachable {
        status.last_seen = Some(now);
        if scan.complete {
            status.machines = u32::try_from(scan.machines.len()).unwrap_or(u32::MAX);
        }
    }
    if scan.profile.is_some() {
        status.profile.clone_from(&scan.profile);
    }
    for condition in scan.conditions.iter().filter(|one| one.slot.is_none()) {
        take_in(&mut status.conditions, condition, now);
    }
    // An agent that reports none all the same says whether it got through.
    if scan.conditions.is_empty() {
        let (status_word, reason) = match scan.reachable {
            true => ("True", "Read"),
            false => ("False", "NotRead"),
        };
        let ready = ReportedCondition {
            r#type: "Ready".into(),
            status: status_word.into(),
            reason: reason.into(),
            message: scan.message.clone(),
            slot: None,
        };
        take_in(&mut status.conditions, &ready, now);
    }
}

/// Whether a report is worth a write: it says more than that the chassis was
/// read again, or the last write is a while ago. Notes the write as done.
pub(super) fn is_told_anew(
    before: Option<&LearnedChassis>,
    known: &mut LearnedChassis,
    now: WallClock,
) -> bool {
    let says_more = before.is_none_or(|before| {
        let mut status = before.status.clone();
        status.last_seen = known.status.last_seen;
        status != known.status
    });
    let is_told = says_more || now.since(known.written) >= SEEN_AGAIN;
    if is_told {
        known.written = now;
    }
    is_told
}

/// Takes in one condition, within bounds. One whose status is no status at all
/// says nothing.
pub(super) fn take_in(
    conditions: &mut Vec<Condition>,
    reported: &ReportedCondition,
    now: WallClock,
) {
    let (about, reason) = (
        shorten(&reported.r#type, WORD),
        shorten(&reported.reason, WORD),
    );
    let is_status = matches!(reported.status.as_str(), "True" | "False" | "Unknown");
    let is_known = conditions.iter().any(|known| known.r#type == about);
    if about.is_empty() || !is_status || (!is_known && conditions.len() >= MOST_CONDITIONS) {
        return;
    }
    let message = shorten(&reported.message, MESSAGE);
    set_condition(
        conditions,
        (&about, &reported.status, &reason, &message),
        now,
    );
}

fn shorten(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallClock = WallClock(1_700_000_000_000);

    fn condition(about: &str, status: &str, message: &str) -> ReportedCondition {
        ReportedCondition {
            slot: None,
            r#type: about.into(),
            status: status.into(),
            reason: "Why".into(),
            message: message.into(),
        }
    }

    #[test]
    fn since_when_is_kept_while_the_status_stays() {
        let mut known = LearnedChassis::default();
        let report = |status: &str, message: &str| ChassisInventory {
            reachable: status == "True",
            conditions: vec![condition("Ready", status, message)],
            ..ChassisInventory::default()
        };
        learn(&mut known, &report("False", "no answer"), NOW);
        let later = WallClock(NOW.0 + 5_000);
        learn(&mut known, &report("False", "login refused"), later);
        let ready = &known.status.conditions[0];
        assert_eq!(
            (ready.message.as_str(), ready.last_transition_time),
            ("login refused", NOW)
        );
        assert_eq!(known.status.last_seen, None);
        learn(&mut known, &report("True", ""), later);
        assert_eq!(known.status.conditions[0].last_transition_time, later);
        assert_eq!(known.status.last_seen, Some(later));
    }

    #[test]
    fn reports_are_bounded() {
        let mut conditions = Vec::new();
        for number in 0..100 {
            let long = "x\u{1b}[2J".repeat(1_000);
            let reported = condition(&format!("Type{number}"), "False", &long);
            take_in(&mut conditions, &reported, NOW);
        }
        assert_eq!(conditions.len(), MOST_CONDITIONS);
        assert_eq!(conditions[0].message.chars().count(), MESSAGE);
        assert!(!conditions[0].message.contains('\u{1b}'));
        take_in(&mut conditions, &condition("Type1", "Maybe", ""), NOW);
        assert_eq!(conditions[1].status, "False");
    }
}
