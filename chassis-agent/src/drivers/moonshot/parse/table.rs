//! The columns of a table, as far as its row of dashes tells them.

use std::ops::Range;

use boot_proto::ids::SlotId;

/// A word of a line and the character it begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// First character, counted from 0.
    pub start: usize,
    /// The word.
    pub text: &'a str,
}

/// The words of a line with their places.
pub(super) fn words(line: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut begin: Option<(usize, usize)> = None;
    for (column, (offset, c)) in line.char_indices().enumerate() {
        match (c.is_whitespace(), begin) {
            (false, None) => begin = Some((column, offset)),
            (true, Some((start, from))) => {
                found.extend(line.get(from..offset).map(|text| Word { start, text }));
                begin = None;
            }
            _ => {}
        }
    }
    if let Some((start, from)) = begin {
        found.extend(line.get(from..).map(|text| Word { start, text }));
    }
    found
}

/// The node id of a row and the words after it. It stands among the first
/// words, after the slot number.
pub(super) fn row<'a>(words: &'a [Word<'a>]) -> Option<(SlotId, &'a [Word<'a>])> {
    const FIRST_WORDS: usize = 3;
    let at = words
        .iter()
        .take(FIRST_WORDS)
        .position(|word| word.text.parse::<SlotId>().is_ok())?;
    let slot = words.get(at)?.text.parse().ok()?;
    Some((slot, words.get(at + 1..)?))
}

/// The columns of a table, with the headings above the dashes.
#[derive(Debug, Default)]
pub(super) struct Columns {
    columns: Vec<(String, Range<usize>)>,
}

impl Columns {
    /// Reads the heading and the row of dashes below it, if `dashes` is one.
    pub(super) fn read(heading: Option<&str>, dashes: &str) -> Option<Self> {
        let groups = words(dashes);
        let is_rule = groups.len() >= 2 && groups.iter().all(|g| g.text.bytes().all(|b| b == b'-'));
        if !is_rule {
            return None;
        }
        let heading: Vec<char> = heading.unwrap_or_default().chars().collect();
        let starts: Vec<usize> = groups.iter().map(|group| group.start).collect();
        let columns = starts
            .iter()
            .enumerate()
            .map(|(index, start)| {
                // A column reaches to the next one, the last one to the end.
                let end = starts.get(index + 1).copied().unwrap_or(usize::MAX);
                let upto = end.min(heading.len());
                let name: String = heading
                    .get(*start..upto)
                    .unwrap_or_default()
                    .iter()
                    .collect();
                (name.trim().to_lowercase(), *start..end)
            })
            .collect();
        Some(Self { columns })
    }

    /// Where the column with this heading (lower case) is.
    pub(super) fn named(&self, name: &str) -> Option<Range<usize>> {
        self.columns
            .iter()
            .find(|(heading, _)| heading == name)
            .map(|(_, range)| range.clone())
    }

    /// The number of the column that begins exactly at `start`.
    pub(super) fn beginning_at(&self, start: usize) -> Option<usize> {
        self.columns
            .iter()
            .position(|(_, range)| range.start == start)
    }
}
