//! Host keys recorded at first contact: a file with one line per device, host
//! and port, then the SHA-256 fingerprint of its key.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;

/// What the record says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is the key seen before.
    Same,
    /// There was none; it has been recorded now.
    First,
    /// Another key was seen before.
    Changed {
        /// Fingerprint of that one.
        expected: String,
    },
}

/// Looks `address` up in `file` and records `fingerprint` if it is not there.
///
/// # Errors
/// When the file cannot be read or written.
pub fn check_or_record(file: &Path, address: &str, fingerprint: &str) -> io::Result<Recorded> {
    // Two chassis met at the same time must not both write the file anew.
    static WRITING: Mutex<()> = Mutex::new(());
    let _guard = WRITING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if let Some(expected) = find(&text, address) {
        let is_same = expected == fingerprint;
        return Ok(if is_same {
            Recorded::Same
        } else {
            Recorded::Changed {
                expected: expected.to_owned(),
            }
        });
    }
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    let needs_line_end = !text.is_empty() && !text.ends_with('\n');
    let line = format!(
        "{}{address} {fingerprint}\n",
        if needs_line_end { "\n" } else { "" }
    );
    let mut opened = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?;
    // One write, so that a crash leaves a whole line or none.
    opened.write_all(line.as_bytes())?;
    opened.sync_all()?;
    Ok(Recorded::First)
}

fn find<'a>(text: &'a str, address: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(address))
            .then(|| words.next())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_recorded_and_a_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/known-hosts");
        let check = |address: &str, key: &str| check_or_record(&file, address, key).unwrap();
        assert_eq!(check("a:22", "SHA256:one"), Recorded::First);
        assert_eq!(check("a:22", "SHA256:one"), Recorded::Same);
        assert_eq!(check("a:2222", "SHA256:two"), Recorded::First);
        assert_eq!(
            check("a:22", "SHA256:two"),
            Recorded::Changed {
                expected: "SHA256:one".into()
            }
        );
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "a:22 SHA256:one\na:2222 SHA256:two\n");
    }
}
