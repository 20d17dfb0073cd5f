//! `cargo xtask test`: every check and test there is, and one summary.

mod counts;
mod output;
mod stage;
mod summary;

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::farm;
use crate::packages;
use crate::run::say;
use counts::Counts;
use stage::{STAGES, Stage};
use summary::Entry;

/// `cargo xtask test`.
#[derive(Args, Clone, Debug)]
pub struct TestOptions {
    /// Leave out what needs a node image: the virtual machines.
    #[arg(long)]
    quick: bool,
    /// Run the tests that take minutes each, too.
    #[arg(long, conflicts_with = "quick")]
    all: bool,
    /// A stage (fmt, clippy, doc, unit, fuzz, netns, vm), or a part of tests' names.
    filter: Option<String>,
}

/// How much of a stage is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Nothing is built that takes minutes; tests that need it skip.
    Quick,
    /// What every change has to pass.
    Usual,
    /// Tests that take minutes each, too.
    All,
}

impl TestOptions {
    fn extent(&self) -> Extent {
        match (self.quick, self.all) {
            (true, _) => Extent::Quick,
            (false, true) => Extent::All,
            (false, false) => Extent::Usual,
        }
    }
}

/// Runs the stages one after the other, all of them even if one fails.
///
/// Ends the process: with 1 when anything failed, or a test that must run here
/// was skipped.
///
/// # Errors
/// When the summary cannot be printed.
pub fn run(options: &TestOptions) -> Result<()> {
    let stages = chosen(options);
    let filter = options.filter.as_deref().filter(|text| !is_stage(text));
    if filter.is_none() && packages::is_root()? {
        for packages in [farm::PACKAGES, farm::PEERS] {
            // What misses them says so itself; the rest is run all the same.
            if let Err(error) = packages::need(packages) {
                say(&format!("{error:#}"));
            }
        }
    }
    let mut entries = Vec::new();
    for stage in stages {
        say(&format!("test: {}", stage.name()));
        let started = Instant::now();
        let counts = stage.run(filter, options.extent());
        entries.push(Entry {
            stage: stage.name(),
            counts,
            took: started.elapsed(),
        });
    }
    let total = entries
        .iter()
        .fold(Counts::default(), |sum, entry| sum.plus(&entry.counts));
    print!("{}", summary::render(&entries, &total));
    std::io::stdout().flush()?;
    // The total stays the last line: what failed is named above it already.
    std::process::exit(i32::from(total.failed > 0));
}

fn is_stage(word: &str) -> bool {
    STAGES.iter().any(|stage| stage.name() == word)
}

/// The stages that `options` ask for: one by its name, those that run tests when
/// a part of a test's name is given, or all.
fn chosen(options: &TestOptions) -> Vec<Stage> {
    let filter = options.filter.as_deref();
    STAGES
        .into_iter()
        .filter(|stage| match filter {
            Some(word) if is_stage(word) => stage.name() == word,
            Some(_) => stage.runs_tests(),
            None => true,
        })
        .filter(|stage| !(options.quick && stage.needs_image()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_the_options() {
        for (quick, filter, expected) in [
            (false, None, "fmt clippy doc unit fuzz netns vm"),
            (true, None, "fmt clippy doc unit fuzz netns"),
            (false, Some("vm"), "vm"),
            (false, Some("reads_a_list"), "unit netns vm"),
            (true, Some("reads_a_list"), "unit netns"),
        ] {
            let options = TestOptions {
                quick,
                all: false,
                filter: filter.map(str::to_owned),
            };
            let names: Vec<_> = chosen(&options).into_iter().map(Stage::name).collect();
            assert_eq!(names.join(" "), expected, "{options:?}");
        }
    }
}
