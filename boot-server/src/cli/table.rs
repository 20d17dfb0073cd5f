//! Aligned tables of text.

use std::time::Duration;

use boot_proto::time::WallClock;

/// Puts rows below their header, each column as wide as its longest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(
                ' ',
                (width + 3).saturating_sub(cell.chars().count()),
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The value, or `-` where there is none.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value
        .map(|value| value.to_string())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".into())
}

/// A text in one line of at most `limit` characters.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    let mut short: String = line.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A span as `kubectl` has it: `42s`, `5m10s`, `3h12m`, `2d4h`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

/// How long ago `at` was.
pub(super) fn age(at: WallClock, now: WallClock) -> String {
    span(now.since(at))
}

/// Bytes with one digit behind the point.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, factor)) = UNITS.iter().find(|(_, factor)| bytes >= *factor) else {
        return format!("{bytes} B");
    };
    let tenths = bytes.saturating_mul(10) / factor;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["m1-c1n1".into(), "ready".into()],
            vec!["ä".into(), "image".into()],
        ];
        assert_eq!(
            table(&["NAME", "PHASE"], &rows),
            "NAME      PHASE\nm1-c1n1   ready\nä         image\n"
        );
    }

    #[test]
    fn numbers_for_people() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (310, "5m10s"),
            (11_520, "3h12m"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        for (bytes, text) in [(7, "7 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(one_line("a\n  b", 9), "a b");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(or_dash(Some("")), "-");
    }
}
