//! Running a test program while its output is both shown and read.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::counts::Counts;
use crate::run::say;

/// Runs `command`, shows its stdout line by line as it comes, and counts.
pub fn count(stage: &str, command: &mut Command) -> Counts {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            say(&format!(
                "starting {}: {error}",
                command.get_program().display()
            ));
            return Counts::failure(stage);
        }
    };
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        let mut ours = std::io::stdout().lock();
        // Tests may print bytes that are no text.
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            counts.read(&line);
            let _ = writeln!(ours, "{line}");
        }
    }
    let has_succeeded = child.wait().is_ok_and(|status| status.success());
    counts.finish(stage, has_succeeded)
}

/// Runs a check of which only the exit status counts.
pub fn check(stage: &str, command: &mut Command) -> Counts {
    let has_passed = command
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    Counts::of_check(stage, has_passed)
}
