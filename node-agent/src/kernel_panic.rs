//! What the kernel does after a panic or an oops: by default it stops for ever, or
//! goes on without the task that died, and a machine that nobody looks at is lost.
//! From the agent's start on both are restarts, in the booted system too, unless
//! somebody said otherwise.

use std::fs;
use std::path::Path;

use crate::log::Log;

/// Seconds from a panic to the restart: long enough to read the console.
const PAUSE_SECS: &str = "30";

/// Makes panics and oopses restarts, by `kernel.panic` and `kernel.panic_on_oops`
/// of `Documentation/admin-guide/sysctl/kernel.rst`. `panic=` on the kernel command
/// line, in which 0 means to stop, is left as it is.
pub fn restart_after(proc: &Path, command_line: &str, log: &Log) {
    let is_said = |word: &str| word.starts_with("panic=");
    let mut settings = vec![("sys/kernel/panic_on_oops", "1")];
    if !command_line.split_ascii_whitespace().any(is_said) {
        settings.push(("sys/kernel/panic", PAUSE_SECS));
    }
    for (file, value) in settings {
        if let Err(error) = fs::write(proc.join(file), value) {
            log.warn(&format!(
                "a kernel panic may not restart this machine: {file}: {error}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_first() {
        for (words, pause) in [
            ("quiet", "30"),
            ("quiet panic=0", "0"),
            ("panic=5 quiet", "0"),
            ("nopanic=1", "30"),
        ] {
            let proc = tempfile::tempdir().unwrap();
            let kernel = proc.path().join("sys/kernel");
            fs::create_dir_all(&kernel).unwrap();
            fs::write(kernel.join("panic"), "0").unwrap();
            restart_after(proc.path(), words, &Log::new());
            let read = |name| fs::read_to_string(kernel.join(name)).unwrap();
            assert_eq!(
                (read("panic").as_str(), read("panic_on_oops").as_str()),
                (pause, "1"),
                "{words}"
            );
        }
    }
}
