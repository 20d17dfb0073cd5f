//! How many tests passed, failed and were skipped, read from what the test
//! harness prints. Pure.

/// What `cargo test` prints before a test's reason for not having run.
const SKIPPED: &str = "SKIPPED: ";

/// The outcome of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that ran and passed.
    pub passed: usize,
    /// Tests that failed, and stages that could not be run at all.
    pub failed: usize,
    /// Why each skipped test was skipped.
    pub skipped: Vec<String>,
    /// Names of what failed.
    pub failures: Vec<String>,
}

impl Counts {
    /// A check that is not made of tests, such as `cargo fmt --check`.
    pub fn of_check(name: &str, has_passed: bool) -> Self {
        if has_passed {
            Self {
                passed: 1,
                ..Self::default()
            }
        } else {
            Self::failure(name)
        }
    }

    /// One thing failed.
    pub fn failure(name: &str) -> Self {
        Self {
            failed: 1,
            failures: vec![name.to_owned()],
            ..Self::default()
        }
    }

    /// Both together.
    pub fn plus(mut self, other: &Self) -> Self {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped.iter().cloned());
        self.failures.extend(other.failures.iter().cloned());
        self
    }

    /// Takes one line of a test program's output.
    pub fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some((_, reason)) = line.split_once(SKIPPED) {
            // The harness counts it as passed; its summary line comes later.
            self.skipped.push(reason.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.read_result(result);
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|test| test.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// `ok. 10 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`
    fn read_result(&mut self, result: &str) {
        let words: Vec<&str> = result
            .split([' ', ';', '.'])
            .filter(|word| !word.is_empty())
            .collect();
        let number_of = |what: &str| {
            let at = words.iter().position(|word| *word == what)?;
            words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        self.passed += number_of("passed").unwrap_or(0);
        self.failed += number_of("failed").unwrap_or(0);
        for _ in 0..number_of("ignored").unwrap_or(0) {
            self.skipped.push("marked as ignored".into());
        }
    }

    /// The counts once all lines are read and the program has ended.
    ///
    /// Tests that said why they skip come off the passed ones. A program that
    /// failed without a failed test (it did not compile, or it crashed) is one
    /// failure.
    pub fn finish(mut self, stage: &str, has_succeeded: bool) -> Self {
        let told = self
            .skipped
            .iter()
            .filter(|reason| *reason != "marked as ignored")
            .count();
        self.passed = self.passed.saturating_sub(told);
        if !has_succeeded && self.failed == 0 {
            return self.plus(&Self::failure(stage));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, has_succeeded: bool) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| counts.read(line));
        counts.finish("unit", has_succeeded)
    }

    #[test]
    fn results_of_all_programs_add_up() {
        let counts = read(
            "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s\n",
            false,
        );
        assert_eq!(
            (counts.passed, counts.failed, counts.skipped.len()),
            (5, 1, 1)
        );
        assert_eq!(counts.failures, ["b::c"]);
    }

    #[test]
    fn a_test_that_skips_itself_has_not_passed() {
        let counts = read(
            "SKIPPED: no QEMU\ntest a ... ok\ntest b ... SKIPPED: not root\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
            true,
        );
        assert_eq!((counts.passed, counts.failed), (1, 0));
        assert_eq!(counts.skipped, ["no QEMU", "not root"]);
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        let counts = read("error[E0425]: cannot find value\n", false);
        assert_eq!(
            (counts.failed, counts.failures),
            (1, vec!["unit".to_owned()])
        );
        assert_eq!(read("", true), Counts::default());
    }
}
