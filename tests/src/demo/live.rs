//! A live line per node: redrawn in place on a terminal, a line per change
//! elsewhere.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use crate::lab::farm::{NodeProgress, Stage};

/// Percent steps that are worth a line of their own where nothing is redrawn.
const PERCENT_STEP: u8 = 25;

/// Columns that every terminal has.
const COLUMNS: usize = 79;

/// What was shown so far.
#[derive(Debug)]
pub struct Live {
    is_terminal: bool,
    drawn: usize,
    last: HashMap<String, String>,
}

impl Live {
    /// Nothing shown yet.
    #[must_use]
    pub fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            drawn: 0,
            last: HashMap::new(),
        }
    }

    /// Shows how far each node is; beside each, how long it has been on.
    pub fn show(&mut self, nodes: &[(NodeProgress, Option<Duration>)], total: Duration) {
        let text = self.text(nodes, total);
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn text(&mut self, nodes: &[(NodeProgress, Option<Duration>)], total: Duration) -> String {
        let mut text = String::new();
        if self.is_terminal && self.drawn > 0 {
            // Up to the first of our lines, and clear from there.
            text.push_str(&format!("\u{1b}[{}A\u{1b}[J", self.drawn));
        }
        for (node, on_for) in nodes {
            let line = line(node, on_for.unwrap_or_default());
            if self.is_terminal {
                // A line that wraps would be two when it is redrawn.
                text.extend(line.chars().take(COLUMNS).chain(['\n']));
            } else if self.has_changed(node) {
                text.push_str(&format!("{:6.1} s  {line}\n", total.as_secs_f32()));
            }
        }
        self.drawn = nodes.len();
        text
    }

    fn has_changed(&mut self, node: &NodeProgress) -> bool {
        let percent = node.percent.map(|percent| percent / PERCENT_STEP);
        let now = format!(
            "{} {percent:?} {:?} {:?}",
            node.phase, node.stage, node.reason
        );
        self.last.insert(node.name.clone(), now.clone()) != Some(now)
    }
}

fn line(node: &NodeProgress, on_for: Duration) -> String {
    // A phase that is done is no news; the next one begins at once.
    let percent = node.percent.filter(|percent| *percent < 100);
    let percent = percent.map_or_else(String::new, |percent| format!("{percent} %"));
    let mut line = format!(
        "{:<10} {:<12} {percent:>5} {:>5} s",
        node.name,
        node.phase,
        on_for.as_secs()
    );
    if node.stage == Stage::Failed
        && let Some(reason) = &node.reason
    {
        let first = reason.lines().next().unwrap_or_default();
        line.push_str(&format!(
            "  {}",
            first.chars().take(100).collect::<String>()
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(phase: &str, percent: Option<u8>) -> (NodeProgress, Option<Duration>) {
        let node = NodeProgress {
            name: "m1-c1n1".into(),
            stage: Stage::Booting,
            phase: phase.into(),
            percent,
            reason: None,
        };
        (node, Some(Duration::from_secs(7)))
    }

    #[test]
    fn without_a_terminal_only_changes_are_shown() {
        let mut live = Live::new(false);
        let mut lines = |nodes: &[_]| live.text(nodes, Duration::ZERO).lines().count();
        assert_eq!(lines(&[node("image", Some(3))]), 1);
        assert_eq!(lines(&[node("image", Some(9))]), 0);
        assert_eq!(lines(&[node("image", Some(30))]), 1);
        assert_eq!(lines(&[node("root", None)]), 1);
        assert_eq!(lines(&[node("root", None)]), 0);
    }

    #[test]
    fn a_terminal_is_redrawn_in_place() {
        let mut live = Live::new(true);
        let nodes = [node("image", Some(3)), node("root", None)];
        assert!(!live.text(&nodes, Duration::ZERO).contains('\u{1b}'));
        let again = live.text(&nodes, Duration::ZERO);
        assert!(again.starts_with("\u{1b}[2A"), "{again:?}");
        assert!(
            again.contains("m1-c1n1    image          3 %     7 s"),
            "{again:?}"
        );
    }
}
