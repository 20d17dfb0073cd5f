//! One boot as a timeline.

use std::fmt::Write as _;

use boot_proto::api::BootView;
use boot_proto::time::WallClock;

use super::get::seconds;
use super::table::{or_dash, table};

/// The boot's head, each step with its time since the first packet, the node's
/// phases with what each took, and the end of its log where it failed.
pub(super) fn render(boot: &BootView, now: WallClock) -> String {
    let mut text = String::new();
    let percent = boot
        .percent
        .map(|percent| format!(" {percent}%"))
        .unwrap_or_default();
    for (key, value) in [
        ("Machine", or_dash(boot.machine.as_ref())),
        ("MAC", or_dash(boot.mac)),
        ("Address", or_dash(boot.address)),
        ("Firmware", or_dash(boot.firmware.as_ref())),
        ("Image", or_dash(boot.image)),
        ("Boot", boot.id.to_string()),
        ("Started", boot.started.to_rfc3339()),
        ("Phase", format!("{}{percent}", boot.phase)),
        (
            "Outcome",
            format!("{} after {} s", boot.outcome, seconds(boot, now)),
        ),
        ("Reason", or_dash(boot.reason.as_ref())),
    ] {
        let _ = writeln!(text, "{:10}{value}", format!("{key}:"));
    }
    let steps: Vec<Vec<String>> = boot
        .steps
        .iter()
        .map(|step| {
            let since = step.at.since(boot.started);
            let message = step.message.replace('\n', " ");
            vec![
                format!("+{:.1} s", since.as_secs_f64()),
                step.step.clone(),
                message,
            ]
        })
        .collect();
    let _ = write!(text, "\n{}", table(&["TIME", "STEP", "WHAT"], &steps));
    if !boot.phases.is_empty() {
        let secs = |millis: u64| format!("{}.{:01} s", millis / 1000, millis % 1000 / 100);
        let phases: Vec<Vec<String>> = boot
            .phases
            .iter()
            .map(|time| {
                vec![
                    time.phase.name().into(),
                    secs(time.started_ms),
                    secs(time.elapsed_ms),
                ]
            })
            .collect();
        let _ = write!(
            text,
            "\n{}",
            table(&["PHASE", "SINCE KERNEL START", "TOOK"], &phases)
        );
    }
    if let Some(log) = &boot.log {
        let _ = write!(text, "\nEnd of the node's log:\n{log}\n");
    }
    text
}
