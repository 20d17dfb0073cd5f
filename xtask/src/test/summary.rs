//! The summary at the end of a test run. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::counts::Counts;

/// What became of a stage.
pub struct Entry {
    /// Its name.
    pub stage: &'static str,
    /// Its outcome.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

/// A table of the stages, what failed, why what was skipped, and the total alone
/// on the last line.
pub fn render(entries: &[Entry], total: &Counts) -> String {
    let mut text = format!(
        "\n{:<8} {:>7} {:>7} {:>8} {:>8}\n",
        "stage", "passed", "failed", "skipped", "seconds"
    );
    for Entry {
        stage,
        counts,
        took,
    } in entries
    {
        let _ = writeln!(
            text,
            "{stage:<8} {:>7} {:>7} {:>8} {:>8.1}",
            counts.passed,
            counts.failed,
            counts.skipped.len(),
            took.as_secs_f64(),
        );
    }
    for failure in &total.failures {
        let _ = writeln!(text, "failed: {failure}");
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    for reason in &total.skipped {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        let _ = writeln!(text, "skipped: {count} × {reason}");
    }
    let _ = writeln!(
        text,
        "\n{} passed, {} failed, {} skipped",
        total.passed,
        total.failed,
        total.skipped.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_total_alone() {
        let counts = Counts {
            passed: 3,
            failed: 1,
            skipped: vec!["no QEMU".into(), "no QEMU".into()],
            failures: vec!["a::b".into()],
        };
        let entry = Entry {
            stage: "unit",
            counts: counts.clone(),
            took: Duration::from_millis(1500),
        };
        let text = render(&[entry], &counts);
        assert_eq!(text.lines().last(), Some("3 passed, 1 failed, 2 skipped"));
        for part in ["unit", "1.5", "failed: a::b", "skipped: 2 × no QEMU"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
