//! Conditions as the API server keeps them: what was found before, brought up to
//! date by what is found now. Pure.

use boot_proto::api::ReportedCondition;
use boot_proto::kubernetes::status::{Condition, Timestamp};
use boot_proto::time::WallClock;

/// Longest message.
const LONGEST: usize = 500;

/// The conditions of the types `own` as they are after `found`; what is not found
/// again stays as it was, since an agent that has just begun knows little. Since
/// when one holds moves only with its status.
pub fn brought_up_to_date<'a>(
    before: &[Condition],
    own: &[&str],
    found: impl IntoIterator<Item = &'a ReportedCondition>,
    now: WallClock,
) -> Vec<Condition> {
    let is_own = |about: &str| own.contains(&about);
    let mut all: Vec<Condition> = before
        .iter()
        .filter(|condition| is_own(&condition.r#type))
        .cloned()
        .collect();
    for reported in found.into_iter().filter(|one| is_own(&one.r#type)) {
        let there = all.iter_mut().find(|one| one.r#type == reported.r#type);
        match there {
            Some(there) => {
                let since = match there.status == reported.status {
                    true => there.last_transition_time,
                    false => Timestamp(now),
                };
                *there = condition(reported, since);
            }
            None => all.push(condition(reported, Timestamp(now))),
        }
    }
    all
}

/// Whether `written` says anything that is not there.
pub fn are_news(written: &[Condition], there: &[Condition]) -> bool {
    !written.iter().all(|condition| there.contains(condition))
}

/// Those whose status is another than before, or that were not there.
pub fn turned<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let is_same = |new: &Condition| {
        let mut all = before.iter();
        all.any(|old| old.r#type == new.r#type && old.status == new.status)
    };
    after.iter().filter(|new| !is_same(new)).collect()
}

fn condition(reported: &ReportedCondition, since: Timestamp) -> Condition {
    Condition {
        r#type: reported.r#type.clone(),
        status: reported.status.clone(),
        reason: reported.reason.clone(),
        message: reported.message.chars().take(LONGEST).collect(),
        last_transition_time: since,
        observed_generation: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: WallClock = WallClock(1_700_000_000_000);
    const LATER: WallClock = WallClock(NOW.0 + 60_000);

    pub fn found(about: &str, status: &str, message: &str) -> ReportedCondition {
        ReportedCondition {
            slot: None,
            r#type: about.into(),
            status: status.into(),
            reason: "Why".into(),
            message: message.into(),
        }
    }

    #[test]
    fn what_is_not_found_again_stays_and_since_when_moves_with_the_status() {
        let own = ["Reachable", "Ready"];
        let first = [found("Reachable", "True", ""), found("Ready", "False", "a")];
        let before = brought_up_to_date(&[], &own, &first, NOW);
        assert_eq!(before.len(), 2);
        let second = [found("Ready", "False", "b"), found("Accepted", "True", "")];
        let after = brought_up_to_date(&before, &own, &second, LATER);
        assert_eq!(after.len(), 2, "others' types are left alone: {after:?}");
        assert_eq!(after[0], before[0]);
        assert_eq!(
            (&*after[1].message, after[1].last_transition_time.0),
            ("b", NOW)
        );
        assert!(are_news(&after, &before) && turned(&before, &after).is_empty());
        let third = brought_up_to_date(&after, &own, &[found("Ready", "True", "")], LATER);
        assert_eq!(third[1].last_transition_time.0, LATER);
        assert_eq!(turned(&after, &third), [&third[1]]);
    }

    #[test]
    fn messages_are_bounded() {
        let long = found("Ready", "False", &"x".repeat(10_000));
        let written = brought_up_to_date(&[], &["Ready"], [&long], NOW);
        assert_eq!(written[0].message.len(), LONGEST);
    }
}
