//! What a machine or a program printed, read from its file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the end of a file is looked at for its last lines.
const TAIL_BYTES: u64 = 64 * 1024;

/// The whole text of a console's file, escape sequences removed; empty when
/// there is no file yet.
#[must_use]
pub fn text(path: &Path) -> String {
    std::fs::read(path).map_or_else(|_| String::new(), |bytes| plain(&bytes))
}

/// The last `count` lines that are not empty, escape sequences removed.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = end_of(path).map_or_else(|_| String::new(), |bytes| plain(&bytes));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Text without ANSI escape sequences and carriage returns: firmware paints its
/// screen on the serial line, systemd colours its own.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => skip_escape(&mut rest),
            '\n' | '\t' => plain.push(letter),
            _ if letter.is_control() => {}
            _ => plain.push(letter),
        }
    }
    plain
}

/// Skips what follows an ESC: `[` parameters and a final letter (ECMA-48 §5.4),
/// or one letter.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if rest.next_if_eq(&'[').is_none() {
        rest.next();
        return;
    }
    for letter in rest {
        if ('@'..='~').contains(&letter) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_and_text_stays() {
        for (raw, expected) in [
            ("\u{1b}[2J\u{1b}[01;01HiPXE\r\n", "iPXE\n"),
            ("[\u{1b}[0;32m  OK  \u{1b}[0m] Started", "[  OK  ] Started"),
            ("\u{1b}cSeaBIOS", "SeaBIOS"),
            ("cut \u{1b}[", "cut "),
            ("cut \u{1b}", "cut "),
        ] {
            assert_eq!(plain(raw.as_bytes()), expected, "{raw:?}");
        }
    }

    #[test]
    fn the_last_lines_skip_empty_ones() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "a\nb\n\n\nc\r\n").expect("written");
        assert_eq!(last_lines(file.path(), 2), "b\nc");
        assert_eq!(last_lines(file.path(), 9), "a\nb\nc");
        assert_eq!(last_lines(Path::new("/nonexistent"), 9), "");
    }
}
