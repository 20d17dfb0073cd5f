//! What boot-server says to objects: the condition `Accepted`, and an Event when
//! it changes.

use std::collections::BTreeMap;

use boot_proto::kubernetes::plural;
use boot_proto::kubernetes::status::{Condition, Timestamp};
use boot_proto::resources::{API_VERSION, Kind};
use boot_proto::time::WallClock;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::api::ApiServer;
use super::declare::Key;
use super::events::Events;
use super::machines::ACCEPTED;
use super::mirror::Seen;

/// Field manager of the condition; the rest of a Machine's status has another.
const MANAGER: &str = "moonfarm-boot-server-verdict";
/// Longest message of a condition.
const LONGEST: usize = 4_000;
/// Writes under way at once.
const AT_ONCE: usize = 8;

/// The conditions to be written: those that are not there yet. Pure.
///
/// A Machine gets one only where something is wrong, or was: there are many, and
/// what they become stands in their status anyway.
#[must_use]
pub fn due(
    seen: &BTreeMap<Key, Seen>,
    mistakes: &BTreeMap<Key, Vec<String>>,
    now: WallClock,
) -> Vec<(Key, Condition)> {
    let wanted = |(key, seen): (&Key, &Seen)| {
        let there = there(&seen.status);
        let condition = condition(mistakes.get(key), seen.generation, there.as_ref(), now);
        let is_good = condition.status == "True";
        if key.0 == Kind::Machine && is_good && there.is_none() {
            return None;
        }
        let is_same = there.is_some_and(|there| {
            there.status == condition.status && there.message == condition.message
        });
        (!is_same).then(|| (key.clone(), condition))
    };
    seen.iter().filter_map(wanted).collect()
}

fn there(status: &Value) -> Option<Condition> {
    let conditions = status.get("conditions")?.as_array()?;
    conditions
        .iter()
        .filter_map(|condition| serde_json::from_value::<Condition>(condition.clone()).ok())
        .find(|condition| condition.r#type == ACCEPTED)
}

fn condition(
    mistakes: Option<&Vec<String>>,
    generation: i64,
    there: Option<&Condition>,
    now: WallClock,
) -> Condition {
    let (status, reason, message) = match mistakes {
        None => ("True", "Accepted", "boot-server uses it".to_owned()),
        Some(mistakes) => {
            let message: String = mistakes.join("\n").chars().take(LONGEST).collect();
            ("False", "Mistake", message)
        }
    };
    let since = there
        .filter(|there| there.status == status)
        .map_or(Timestamp(now), |there| there.last_transition_time);
    Condition {
        r#type: ACCEPTED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: Some(generation),
    }
}

/// Writes conditions, and an Event for each that says no.
pub async fn write(
    api: &ApiServer,
    events: &Events,
    seen: &BTreeMap<Key, Seen>,
    due: Vec<(Key, Condition)>,
) {
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, |(key, condition)| async move {
            write_one(api, &key, &condition).await;
            if let Some(seen) = seen.get(&key).filter(|_| condition.status == "False") {
                events
                    .warn(&key, &seen.uid, "Mistake", "Check", &condition.message)
                    .await;
            }
        })
        .await;
}

async fn write_one(api: &ApiServer, key: &Key, condition: &Condition) {
    let (kind, name) = key;
    let objects = api.objects(kind.name(), plural(*kind));
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": kind.name(),
        "metadata": {"name": name},
        "status": {"conditions": [condition]},
    });
    match api.apply_status(&objects, name, MANAGER, &object).await {
        Ok(_) => {}
        // Deleted meanwhile.
        Err(error) if error.status() == Some(404) => {}
        Err(error) => {
            let error = crate::images::chain(&error);
            tracing::warn!(%kind, name, error, "the condition Accepted is not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: Kind, status: Value) -> BTreeMap<Key, Seen> {
        let seen = Seen {
            generation: 3,
            status,
            ..Seen::default()
        };
        [((kind, "a".to_owned()), seen)].into()
    }

    #[test]
    fn a_verdict_is_written_once() {
        let pool = seen(Kind::NodePool, json!({}));
        let first = due(&pool, &BTreeMap::new(), WallClock(1_000));
        assert_eq!(first[0].1.status, "True");
        let told = seen(Kind::NodePool, json!({"conditions": [first[0].1]}));
        assert!(due(&told, &BTreeMap::new(), WallClock(9_000)).is_empty());

        let wrong = [(
            (Kind::NodePool, "a".to_owned()),
            vec!["no image".to_owned()],
        )]
        .into();
        let second = due(&told, &wrong, WallClock(9_000));
        assert_eq!(second[0].1.message, "no image");
        assert_eq!(second[0].1.last_transition_time.0, WallClock(9_000));
        assert_eq!(second[0].1.observed_generation, Some(3));
        // Another mistake, and wrong all the same: since when stays.
        let told = seen(Kind::NodePool, json!({"conditions": [second[0].1]}));
        let other = [((Kind::NodePool, "a".to_owned()), vec!["typo".to_owned()])].into();
        let third = due(&told, &other, WallClock(20_000));
        assert_eq!(third[0].1.last_transition_time.0, WallClock(9_000));
    }

    #[test]
    fn machines_that_are_right_cost_nothing() {
        let machine = seen(Kind::Machine, json!({}));
        assert!(due(&machine, &BTreeMap::new(), WallClock(1_000)).is_empty());
        let wrong = [((Kind::Machine, "a".to_owned()), vec!["typo".to_owned()])].into();
        let told = due(&machine, &wrong, WallClock(1_000));
        let machine = seen(Kind::Machine, json!({"conditions": [told[0].1]}));
        assert_eq!(
            due(&machine, &BTreeMap::new(), WallClock(2_000))[0]
                .1
                .status,
            "True"
        );
    }
}
