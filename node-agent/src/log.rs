//! The agent's log: the console for people, the kernel log for later, and the
//! last lines in memory for a report.
//!
//! Nothing here can fail: a boot must not stop because a console is missing.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock as _, SystemClock};

/// Lines kept for a report.
const KEPT_LINES: usize = 60;
/// Bytes of the last lines in a report at most.
const REPORT_BYTES: usize = 6 * 1024;
/// Characters of one line at most; an error can quote a whole web page.
const LINE_CHARS: usize = 400;

/// The log. Clones write to the same.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    consoles: Vec<File>,
    kernel_log: Option<File>,
}

impl Log {
    /// A log in memory alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A log to standard error, as a unit of systemd has it.
    #[must_use]
    pub fn to_stderr() -> Self {
        Self::to(&io::stderr())
    }

    /// A second descriptor of what is open: the journal is a socket, which cannot
    /// be opened anew by a name below /proc.
    fn to(open: &impl AsFd) -> Self {
        let log = Self::default();
        if let Ok(owned) = open.as_fd().try_clone_to_owned() {
            log.inner().consoles.push(File::from(owned));
        }
        log
    }

    /// Opens the kernel log and every active console below `dev`. `/dev/console`
    /// alone is only the last `console=` on the command line, and the person may
    /// be looking at another.
    pub fn open_consoles(&self, dev: &Path, active: &Path) {
        let names = fs::read_to_string(active).unwrap_or_default();
        let mut consoles: Vec<File> = names
            .split_ascii_whitespace()
            .filter_map(|name| open(&dev.join(name)))
            .collect();
        if consoles.is_empty() {
            consoles.extend(open(&dev.join("console")));
        }
        let mut inner = self.inner();
        // What was said before there was a console.
        let unseen: Vec<String> = if inner.consoles.is_empty() {
            inner.lines.iter().cloned().collect()
        } else {
            Vec::new()
        };
        inner.consoles = consoles;
        inner.kernel_log = open(&dev.join("kmsg"));
        for line in unseen {
            inner.write(&line);
        }
    }

    /// Something that happened.
    pub fn info(&self, text: &str) {
        self.line(text);
    }

    /// Something that is wrong, but does not stop the boot.
    pub fn warn(&self, text: &str) {
        self.line(&format!("WARNING: {text}"));
    }

    /// What a person must see: large, set apart, on every console. Each row has a
    /// word in front.
    pub fn loud(&self, title: &str, rows: &[(&str, String)]) {
        let bar = "=".repeat(78);
        self.raw("");
        self.raw(&bar);
        self.raw(&format!("==  {}", title.to_uppercase()));
        self.raw("==");
        for (word, text) in rows {
            let mut word = *word;
            for line in wrap(text, 60) {
                self.raw(&format!("==  {word:<11} {line}"));
                word = "";
            }
        }
        self.raw(&bar);
        self.raw("");
    }

    /// The last lines, for a report.
    #[must_use]
    pub fn tail(&self) -> String {
        let inner = self.inner();
        let mut kept = Vec::new();
        let mut bytes = 0;
        for line in inner.lines.iter().rev() {
            bytes += line.len() + 1;
            if bytes > REPORT_BYTES {
                break;
            }
            kept.push(line.as_str());
        }
        kept.reverse();
        kept.join("\n")
    }

    fn line(&self, text: &str) {
        let uptime = SystemClock.now().0;
        let stamp = format!(
            "[{:>5}.{:01}]",
            uptime.as_secs(),
            uptime.subsec_millis() / 100
        );
        for part in text.lines() {
            let part: String = part.chars().take(LINE_CHARS).collect();
            self.raw(&format!("{stamp} moonfarm: {part}"));
        }
    }

    fn raw(&self, line: &str) {
        let mut inner = self.inner();
        inner.write(line);
        if inner.lines.len() >= KEPT_LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line.to_owned());
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked while writing a line left nothing half done
        // that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, line: &str) {
        for console in &mut self.consoles {
            // A serial console wants the carriage return where nobody has set
            // the terminal to add it; elsewhere it does no harm.
            let _ = console.write_all(format!("{line}\r\n").as_bytes());
        }
        if let Some(kernel_log) = &mut self.kernel_log {
            // Facility "user", level "debug": for dmesg in the booted system. A
            // lower level would put every line on the console twice.
            let _ = kernel_log.write_all(format!("<15>{line}\n").as_bytes());
        }
    }
}

fn open(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Without O_NOCTTY, PID 1 would make a console its controlling terminal.
    OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NOCTTY)
        .open(path)
        .ok()
}

/// Breaks a text at blanks into lines of `width` characters at most, where its
/// words allow.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace().flat_map(|word| pieces(word, width)) {
        let fits = lines.last().is_some_and(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        });
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines
}

/// A word that is longer than a line, such as a digest, in pieces that fit.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters
        .chunks(width.max(1))
        .map(String::from_iter)
        .collect()
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_ends_with_the_last_line() {
        let log = Log::new();
        for number in 0..500 {
            log.info(&format!("line {number} {}", "x".repeat(1000)));
        }
        let tail = log.tail();
        assert!(tail.len() <= REPORT_BYTES);
        assert!(tail.lines().last().unwrap().contains("line 499"));
    }

    #[test]
    fn the_journal_is_a_socket() {
        use std::io::Read as _;
        let (ours, mut journal) = std::os::unix::net::UnixStream::pair().unwrap();
        Log::to(&ours).warn("attempt 1");
        drop(ours);
        let mut text = String::new();
        journal.read_to_string(&mut text).unwrap();
        assert!(text.trim_end().ends_with("WARNING: attempt 1"), "{text}");
    }

    #[test]
    fn consoles_get_what_was_said_before_they_were_open() {
        let dev = tempfile::tempdir().unwrap();
        let active = dev.path().join("active");
        fs::write(&active, "tty0 ttyS0\n").unwrap();
        for name in ["tty0", "ttyS0", "kmsg"] {
            fs::write(dev.path().join(name), "").unwrap();
        }
        let log = Log::new();
        log.info("early");
        log.open_consoles(dev.path(), &active);
        log.loud("stopped", &[("Why:", "a reason".to_owned())]);
        for name in ["tty0", "ttyS0"] {
            let text = fs::read_to_string(dev.path().join(name)).unwrap();
            assert!(
                text.contains("early") && text.contains("==  Why:        a reason"),
                "{name}: {text}"
            );
        }
        assert!(
            fs::read_to_string(dev.path().join("kmsg"))
                .unwrap()
                .starts_with("<15>")
        );
    }

    #[test]
    fn long_lines_break_at_blanks() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaaa b", 5), ["aaaaa", "aaa b"]);
    }
}
