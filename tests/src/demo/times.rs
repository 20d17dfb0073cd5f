//! How long each part of a boot took. Pure.

use boot_proto::api::BootView;
use boot_proto::report::Phase;
use boot_proto::time::WallClock;

/// The steps of a boot that its firmware and boot loader take, before a kernel
/// of ours runs.
const FIRMWARE_STEPS: [&str; 5] = ["dhcp", "loader", "script", "kernel", "initramfs"];

/// A part of a boot and the milliseconds it took.
pub type Part = (&'static str, u64);

/// All parts of a boot in order, from power-on to Ready.
#[must_use]
pub fn parts(powered_on: WallClock, boot: &BootView) -> Vec<Part> {
    let mut parts = vec![("firmware", between(powered_on, boot.started))];
    let last_loaded = boot
        .steps
        .iter()
        .filter(|step| FIRMWARE_STEPS.contains(&step.step.as_str()))
        .map(|step| step.at)
        .max();
    if let Some(loaded) = last_loaded {
        parts.push(("netboot", between(boot.started, loaded)));
    }
    let mut phases = boot.phases.clone();
    phases.sort_by_key(|time| time.started_ms);
    if let Some(first) = phases.first() {
        parts.push(("kernel", first.started_ms));
    }
    let mut handed_over = None;
    for time in &phases {
        if time.phase == Phase::Join
            && let Some(end) = handed_over
        {
            parts.push(("systemd", time.started_ms.saturating_sub(end)));
        }
        if time.phase == Phase::SwitchRoot {
            handed_over = Some(time.started_ms + time.elapsed_ms);
        }
        parts.push((time.phase.name(), time.elapsed_ms));
    }
    parts.push(("total", between(powered_on, ready_at(boot))));
    parts
}

fn ready_at(boot: &BootView) -> WallClock {
    let ready = boot
        .steps
        .iter()
        .rev()
        .find(|step| step.step == Phase::Ready.name());
    ready.map_or(boot.updated, |step| step.at)
}

fn between(from: WallClock, to: WallClock) -> u64 {
    to.0.saturating_sub(from.0)
}

/// A table with a row per part and a column per node, in seconds.
#[must_use]
pub fn table(nodes: &[(String, Vec<Part>)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in nodes.iter().flat_map(|(_, parts)| parts) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    // What a node alone has shall not come after the total.
    names.sort_by_key(|name| *name == "total");
    let mut text = format!("{:<12}", "seconds");
    for (node, _) in nodes {
        text.push_str(&format!(" {node:>10}"));
    }
    text.push('\n');
    for name in names {
        text.push_str(&format!("{name:<12}"));
        for (_, parts) in nodes {
            let cell = parts.iter().find(|(part, _)| *part == name);
            let cell = cell.map_or_else(
                || "-".to_owned(),
                |(_, ms)| format!("{:.1}", *ms as f64 / 1000.0),
            );
            text.push_str(&format!(" {cell:>10}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use boot_proto::api::BootStep;
    use boot_proto::report::PhaseTime;

    use super::*;

    fn boot() -> BootView {
        let step = |at, step: &str| BootStep {
            at: WallClock(at),
            step: step.into(),
            message: String::new(),
        };
        let time = |phase, started_ms, elapsed_ms| PhaseTime {
            phase,
            started_ms,
            elapsed_ms,
        };
        BootView {
            started: WallClock(11_000),
            updated: WallClock(99_000),
            steps: vec![
                step(11_000, "dhcp"),
                step(12_000, "kernel"),
                step(13_500, "initramfs"),
                step(60_000, "ready"),
            ],
            phases: vec![
                time(Phase::Mounts, 1_500, 100),
                time(Phase::SwitchRoot, 5_000, 1_000),
                time(Phase::Join, 16_000, 20_000),
            ],
            ..BootView::default()
        }
    }

    #[test]
    fn a_boot_is_divided_from_power_on_to_ready() {
        let expected = [
            ("firmware", 1_000),
            ("netboot", 2_500),
            ("kernel", 1_500),
            ("mounts", 100),
            ("switch-root", 1_000),
            ("systemd", 10_000),
            ("join", 20_000),
            ("total", 50_000),
        ];
        assert_eq!(parts(WallClock(10_000), &boot()), expected);
    }

    #[test]
    fn a_table_has_a_column_per_node() {
        let nodes = [
            ("a".to_owned(), vec![("kernel", 1_540), ("total", 9_000)]),
            ("b".to_owned(), vec![("join", 10), ("total", 1)]),
        ];
        let text = table(&nodes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "kernel              1.5          -");
        assert!(lines[3].starts_with("total"), "{text}");
        assert_eq!(table(&[]), "seconds     \n");
    }
}
