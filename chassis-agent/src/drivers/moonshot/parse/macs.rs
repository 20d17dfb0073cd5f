//! `show node macaddr`: the NICs of each node.

use std::collections::BTreeMap;

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::{MacAddr, SlotId};

use super::table::{Columns, Word, row, words};
use super::{Answer, is_absent};

/// One NIC of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNic {
    /// Number, counted from 1.
    pub number: usize,
    /// Its MAC.
    pub mac: MacAddr,
    /// Switch module it leads to, such as `Switch A`, where the heading tells.
    pub switch: Option<String>,
}

/// More NICs than any cartridge has; a row with more is garbage.
pub(super) const MOST_NICS: usize = 16;

/// Reads the table; `None` when it has neither rows nor a table's heading. A
/// node whose NICs are all absent is there with no NICs.
#[must_use]
pub fn parse_macs(answer: &Answer, rules: &CliRules) -> Option<BTreeMap<SlotId, Vec<ListedNic>>> {
    let most = usize::try_from(rules.limits.nodes).unwrap_or(usize::MAX);
    let mut table = Table::default();
    let mut nodes: BTreeMap<SlotId, Vec<ListedNic>> = BTreeMap::new();
    let mut last: Option<(SlotId, usize)> = None;
    for line in &answer.lines {
        let line_words = words(line);
        if table.read_heading(line, &line_words) {
            last = None;
        } else if let Some((slot, rest)) = row(&line_words) {
            if nodes.contains_key(&slot) || nodes.len() >= most {
                last = None;
                continue;
            }
            let (nics, cells) = table.nics(rest, 0, rules);
            nodes.insert(slot, nics);
            last = Some((slot, cells));
        } else if let Some((slot, before)) = last.filter(|_| is_continuation(&line_words, rules)) {
            let (nics, cells) = table.nics(&line_words, before, rules);
            let node = nodes.entry(slot).or_default();
            node.extend(nics);
            node.truncate(MOST_NICS);
            last = Some((slot, before + cells));
        } else {
            last = None;
        }
    }
    if nodes.is_empty() && table.columns.is_none() {
        return None;
    }
    Some(nodes)
}

/// Whether a line is the rest of a row that a narrow terminal broke.
fn is_continuation(line: &[Word<'_>], rules: &CliRules) -> bool {
    !line.is_empty() && line.iter().all(|word| is_cell(word, rules))
}

fn is_cell(word: &Word<'_>, rules: &CliRules) -> bool {
    word.text.parse::<MacAddr>().is_ok() || is_absent(rules, word.text)
}

#[derive(Default)]
struct Table {
    columns: Option<Columns>,
    previous: String,
    /// Switch module of each NIC, in order.
    switches: Vec<String>,
}

impl Table {
    /// Takes a heading or a row of dashes; says whether the line is one.
    fn read_heading(&mut self, line: &str, line_words: &[Word<'_>]) -> bool {
        if let Some(columns) = Columns::read(Some(&self.previous), line) {
            self.columns = Some(columns);
            return true;
        }
        let is_heading = line_words
            .iter()
            .any(|word| word.text.eq_ignore_ascii_case("NIC"))
            && row(line_words).is_none();
        if is_heading {
            self.switches = switches(line);
        }
        self.previous.clear();
        self.previous.push_str(line);
        is_heading
    }

    /// The NICs of a row, and how many cells it has. `before` cells of the same
    /// row were in the lines above.
    fn nics(&self, row: &[Word<'_>], before: usize, rules: &CliRules) -> (Vec<ListedNic>, usize) {
        let cells: Vec<&Word<'_>> = row
            .iter()
            .filter(|word| is_cell(word, rules))
            .take(MOST_NICS)
            .collect();
        let numbers = if before == 0 {
            self.numbers_by_column(&cells)
        } else {
            None
        };
        let nics = cells
            .iter()
            .enumerate()
            .filter_map(|(index, word)| {
                let mac: MacAddr = word
                    .text
                    .parse()
                    .ok()
                    .filter(|mac: &MacAddr| mac.is_usable())?;
                let by_order = before + index + 1;
                let number = numbers
                    .as_ref()
                    .and_then(|n| n.get(index).copied())
                    .unwrap_or(by_order);
                Some(ListedNic {
                    number,
                    mac,
                    switch: self.switches.get(number - 1).cloned(),
                })
            })
            .collect();
        (nics, cells.len())
    }

    /// The NIC numbers of cells, where every cell begins at a column's edge:
    /// then a blank cell shifts nothing. Slot and node id are two columns.
    fn numbers_by_column(&self, cells: &[&Word<'_>]) -> Option<Vec<usize>> {
        const COLUMNS_BEFORE: usize = 2;
        let columns = self.columns.as_ref()?;
        cells
            .iter()
            .map(|word| {
                columns
                    .beginning_at(word.start)?
                    .checked_sub(COLUMNS_BEFORE - 1)
            })
            .map(|number| number.filter(|number| *number > 0))
            .collect()
    }
}

/// The switch module of each NIC, from a heading such as `NIC 1 (Switch A)`.
fn switches(heading: &str) -> Vec<String> {
    let upper = heading.to_ascii_uppercase();
    let starts: Vec<usize> = upper.match_indices("NIC ").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([heading.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| heading.get(*start..end))
        .take(MOST_NICS)
        .map(|column| {
            let inside = column
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'));
            inside.map_or_else(String::new, |(switch, _)| switch.trim().to_owned())
        })
        .collect()
}
