//! What libFuzzer prints. Pure.

/// Lines of a failure's output that are shown.
const SHOWN_LINES: usize = 40;

/// What came of one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    inputs: u64,
    per_second: u64,
    /// Edges of code that were reached.
    edges: u64,
    /// Inputs kept because each reaches what no other does.
    kept: u64,
    /// What failed and how to run it again.
    pub find: Option<String>,
}

impl Report {
    /// Reads what libFuzzer wrote to stderr.
    pub fn read(target: &str, text: &str, has_succeeded: bool) -> Self {
        let stat = |name: &str| {
            let line = text.lines().rev().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
        };
        let (edges, kept) = text.lines().rev().find_map(coverage).unwrap_or((0, 0));
        Self {
            inputs: stat("stat::number_of_executed_units:"),
            per_second: stat("stat::average_exec_per_sec:"),
            edges,
            kept,
            find: (!has_succeeded).then(|| find(target, text)),
        }
    }

    /// A row of the table.
    pub fn cells(&self, target: &str) -> [String; 6] {
        [
            target.to_owned(),
            self.inputs.to_string(),
            self.per_second.to_string(),
            self.edges.to_string(),
            self.kept.to_string(),
            if self.find.is_some() {
                "a failure"
            } else {
                "nothing"
            }
            .to_owned(),
        ]
    }
}

/// `#1024 pulse  cov: 320 ft: 610 corp: 41/2Kb lim: 4096 …`
fn coverage(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.split_once(" cov: ")?;
    let (edges, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once("corp: ")?;
    let (kept, _) = rest.split_once('/')?;
    Some((edges.parse().ok()?, kept.parse().ok()?))
}

fn find(target: &str, text: &str) -> String {
    let file = text
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map_or("", |(_, file)| file.trim());
    let cause = text
        .lines()
        .position(|line| line.contains("panicked at") || line.contains("ERROR: "))
        .unwrap_or(0);
    let shown: Vec<&str> = text.lines().skip(cause).take(SHOWN_LINES).collect();
    format!(
        "{target}: an input failed\n{}\nagain: cargo xtask fuzz {target} --input {file}",
        shown.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "#9\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #524288\tpulse  cov: 320 ft: 610 corp: 41/2048b lim: 4096 exec/s: 26214 rss: 60Mb\n\
        stat::number_of_executed_units: 600123\nstat::average_exec_per_sec:     25005\n";

    #[test]
    fn a_run_that_found_nothing() {
        let report = Report::read("dhcp", END, true);
        let cells = report.cells("dhcp");
        assert_eq!(cells, ["dhcp", "600123", "25005", "320", "41", "nothing"]);
    }

    #[test]
    fn a_find_says_how_to_see_it_again() {
        let text = format!(
            "{END}thread '<unnamed>' panicked at x.rs:1:2:\nboom\n\
             artifact_prefix='a/'; Test unit written to a/crash-1\n"
        );
        let report = Report::read("dhcp", &text, false);
        let find = report.find.unwrap();
        assert!(find.contains("boom"), "{find}");
        assert!(!find.contains("INITED"), "{find}");
        assert!(
            find.ends_with("again: cargo xtask fuzz dhcp --input a/crash-1"),
            "{find}"
        );
    }
}
