//! `show node list`: which nodes there are, and their power.

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::SlotId;
use boot_proto::resources::ObservedPower;

use super::table::{Columns, Word, row, words};
use super::{Answer, power_word};

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    /// Node id.
    pub slot: SlotId,
    /// Power, `Unknown` where the row does not tell.
    pub power: ObservedPower,
}

/// Reads the list; `None` when it has neither rows nor a table's heading. The
/// three shapes of the table differ in columns and widths, not in what matters.
#[must_use]
pub fn parse_list(answer: &Answer, rules: &CliRules) -> Option<Vec<ListedNode>> {
    let most = usize::try_from(rules.limits.nodes).unwrap_or(usize::MAX);
    let mut columns: Option<Columns> = None;
    let mut heading: Option<&str> = None;
    let mut nodes: Vec<ListedNode> = Vec::new();
    for line in &answer.lines {
        if let Some(found) = Columns::read(heading, line) {
            columns = Some(found);
        } else if let Some((slot, rest)) = row(&words(line)) {
            let power = power_in(rest, columns.as_ref(), rules);
            if !nodes.iter().any(|node| node.slot == slot) && nodes.len() < most {
                nodes.push(ListedNode { slot, power });
            }
        }
        heading = Some(line);
    }
    if nodes.is_empty() && columns.is_none() {
        return None;
    }
    Some(nodes)
}

/// The power in the words after the node id.
///
/// The word that begins in the column `Power` is taken if it is a state.
/// Otherwise the columns do not fit this row (a long word before it, a heading
/// with other widths), and the state word nearest to where it should be is
/// taken: a maker or an asset tag may hold "On" as well.
fn power_in(rest: &[Word<'_>], columns: Option<&Columns>, rules: &CliRules) -> ObservedPower {
    let column = columns.and_then(|columns| columns.named("power"));
    let states = || {
        rest.iter()
            .filter_map(|word| Some((word.start, power_word(rules, word.text)?)))
    };
    let found = match column {
        Some(column) => states()
            .find(|(start, _)| column.contains(start))
            .or_else(|| states().min_by_key(|(start, _)| start.abs_diff(column.start))),
        None => states().next(),
    };
    found.map_or(ObservedPower::Unknown, |(_, state)| state)
}
