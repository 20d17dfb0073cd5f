//! `boot-server get chassis`: what is wrong with which chassis, since when.

use boot_proto::api::ChassisView;
use boot_proto::resources::Condition;
use boot_proto::time::WallClock;

use super::table::{age, one_line, or_dash, table};

/// The table.
pub(super) fn render(chassis: &[ChassisView], now: WallClock, is_wide: bool) -> String {
    let mut header = vec![
        "NAME", "ADDRESS", "STATUS", "SINCE", "MACHINES", "SEEN", "MESSAGE",
    ];
    if is_wide {
        header.splice(2..2, ["PROFILE", "SCAN", "POWER", "POOL"]);
    }
    let row = |chassis: &ChassisView| {
        let (spec, status) = (&chassis.spec, &chassis.status);
        let told = told(&status.conditions);
        let since = told.map(|condition| age(condition.last_transition_time, now));
        let messages = messages(&status.conditions);
        let mut row = vec![
            chassis.name.clone(),
            spec.address.clone(),
            told.map_or_else(|| "NotReported".to_owned(), word),
            or_dash(since),
            status.machines.to_string(),
            status.last_seen.map_or_else(
                || "never".to_owned(),
                |seen| format!("{} ago", age(seen, now)),
            ),
            or_dash(Some(one_line(&messages, if is_wide { 1_000 } else { 100 }))),
        ];
        if is_wide {
            let more = [
                or_dash(status.profile.as_ref().or(Some(&spec.profile))),
                spec.scan_interval.to_string(),
                spec.power_interval.to_string(),
                or_dash(spec.pool.as_ref()),
            ];
            row.splice(2..2, more);
        }
        row
    };
    table(&header, &chassis.iter().map(row).collect::<Vec<_>>())
}

/// The condition that tells most: `Ready` where it is not, else the first of the
/// others that is not well, else `Ready`.
fn told(conditions: &[Condition]) -> Option<&Condition> {
    let ready = conditions.iter().find(|one| one.r#type == "Ready");
    ready
        .filter(|ready| ready.status != "True")
        .or_else(|| conditions.iter().find(|one| is_bad(one)))
        .or(ready)
}

fn is_bad(condition: &Condition) -> bool {
    condition.status != "True"
}

fn word(condition: &Condition) -> String {
    if condition.status == "True" {
        condition.r#type.clone()
    } else {
        condition.reason.clone()
    }
}

/// What is wrong, each message once.
fn messages(conditions: &[Condition]) -> String {
    let mut all: Vec<&str> = Vec::new();
    for condition in conditions.iter().filter(|one| is_bad(one)) {
        let message = condition.message.as_str();
        if !message.is_empty() && !all.contains(&message) {
            all.push(message);
        }
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use boot_proto::resources::{ChassisSpec, ChassisStatus, Credentials};

    use super::*;

    fn chassis(name: &str, conditions: &[(&str, &str, &str, &str)]) -> ChassisView {
        let condition = |(about, status, reason, message): &(&str, &str, &str, &str)| Condition {
            r#type: (*about).into(),
            status: (*status).into(),
            reason: (*reason).into(),
            message: (*message).into(),
            last_transition_time: WallClock(1_700_000_000_000),
        };
        let spec = r#"{"address": "m1", "credentials": {"passwordFile": "p"}}"#;
        let spec: ChassisSpec = serde_json::from_str(spec).unwrap();
        assert_eq!(
            spec.credentials,
            Credentials {
                password_file: Some("p".into()),
                username: None,
                private_key_file: None,
                secret: None
            }
        );
        ChassisView {
            name: name.into(),
            spec,
            status: ChassisStatus {
                machines: 45,
                conditions: conditions.iter().map(condition).collect(),
                ..ChassisStatus::default()
            },
        }
    }

    #[test]
    fn what_is_wrong_and_since_when() {
        let now = WallClock(1_700_000_100_000);
        let all = [
            chassis("a", &[("Ready", "True", "Read", "")]),
            chassis(
                "b",
                &[
                    ("Reachable", "True", "Answers", ""),
                    ("Ready", "False", "LoginRefused", "m1 refused the login"),
                ],
            ),
            chassis(
                "c",
                &[
                    ("Ready", "True", "Read", ""),
                    ("InventoryComplete", "False", "NoMacs", "c1n1 shows no MAC"),
                ],
            ),
            chassis("d", &[]),
        ];
        let text = render(&all, now, false);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split_ascii_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["a", "m1", "Ready", "1m40s", "45", "never", "-"]);
        assert_eq!(rows[1][2..4], ["LoginRefused", "1m40s"]);
        assert!(text.contains("m1 refused the login"));
        assert_eq!(rows[2][2], "NoMacs");
        assert_eq!(rows[3][2..4], ["NotReported", "-"]);
        assert!(render(&all, now, true).contains("PROFILE"));
    }
}
