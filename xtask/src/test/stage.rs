//! The stages of a test run, the quick ones first, and how each is run.

use std::process::Command;

use anyhow::Result;

use super::Extent;
use super::counts::Counts;
use super::output::{check, count};
use crate::run::{cargo, say};
use crate::{farm, fuzz, kube_binaries, packages};

/// The environment variable by which tests know that skipping is failing.
const MUST_RUN: &str = "MOONFARM_REQUIRE_VM";

/// The environment variable by which tests know that long ones are asked for.
const ALL: &str = "MOONFARM_TEST_ALL";

/// Seconds that each fuzz target runs for every change.
const FUZZ_SECS: u32 = 8;

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Formatting.
    Fmt,
    /// Lints of everything, tests too.
    Clippy,
    /// Documentation without a warning.
    Doc,
    /// Unit and integration tests of the whole workspace.
    Unit,
    /// The fuzz targets, a few seconds each.
    Fuzz,
    /// Tests with network namespaces.
    Netns,
    /// End to end, with virtual machines and Kubernetes.
    Vm,
}

/// All stages in order.
pub const STAGES: [Stage; 7] = [
    Stage::Fmt,
    Stage::Clippy,
    Stage::Doc,
    Stage::Unit,
    Stage::Fuzz,
    Stage::Netns,
    Stage::Vm,
];

impl Stage {
    /// The name a person gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Unit => "unit",
            Self::Fuzz => "fuzz",
            Self::Netns => "netns",
            Self::Vm => "vm",
        }
    }

    /// Whether it is made of tests, which a filter can choose from.
    pub const fn runs_tests(self) -> bool {
        matches!(self, Self::Unit | Self::Netns | Self::Vm)
    }

    /// Whether it needs Kubernetes and a node image.
    pub const fn needs_image(self) -> bool {
        matches!(self, Self::Vm)
    }

    /// Runs it; `filter` is a part of tests' names.
    pub fn run(self, filter: Option<&str>, extent: Extent) -> Counts {
        let name = self.name();
        match self {
            Self::Fmt => check(name, &mut cargo(&["fmt", "--all", "--check"])),
            // `--all-targets` leaves out tests that `cargo test` does not run by
            // itself, and no other choice adds them to it.
            Self::Clippy => [
                &["--workspace", "--all-targets"][..],
                &[
                    "--package",
                    "moonfarm-tests",
                    "--test",
                    "netns",
                    "--test",
                    "vm",
                ],
            ]
            .into_iter()
            .map(|targets| {
                let words = [&["clippy", "--quiet"], targets, &["--", "-Dwarnings"]].concat();
                check(name, &mut cargo(&words))
            })
            .fold(Counts::default(), |sum, counts| sum.plus(&counts)),
            Self::Doc => check(
                name,
                cargo(&["doc", "--workspace", "--no-deps", "--quiet"])
                    .env("RUSTDOCFLAGS", "-Dwarnings"),
            ),
            Self::Unit => count(
                name,
                with_filter(
                    &mut cargo(&["test", "--workspace", "--no-fail-fast"]),
                    filter,
                )
                .arg("--show-output"),
            ),
            Self::Fuzz => run_fuzz(extent),
            Self::Netns | Self::Vm => self.run_target(filter, extent),
        }
    }

    /// Runs a target of the tests crate that is not part of the unit tests.
    fn run_target(self, filter: Option<&str>, extent: Extent) -> Counts {
        let name = self.name();
        let target = ["test", "--package", "moonfarm-tests", "--test", name];
        if filter.is_some() && !has_match(&target, filter) {
            return Counts::default();
        }
        let mut command = cargo(&target);
        let command = with_filter(&mut command, filter).args(["--test-threads=1", "--nocapture"]);
        // As root on Debian nothing is missing that was not installed above.
        if extent == Extent::All {
            command.env(ALL, "1");
        }
        if extent != Extent::Quick && packages::is_root().unwrap_or(false) {
            command.env(MUST_RUN, "1");
        }
        if let Err(error) = self.provide(command, extent) {
            say(&format!("{error:#}"));
            return Counts::failure(name);
        }
        count(name, command)
    }
}

impl Stage {
    /// Makes what a target needs, and tells it where that is.
    fn provide(self, command: &mut Command, extent: Extent) -> Result<()> {
        if self.needs_image() {
            farm::provide()?.set(command);
            if extent == Extent::All {
                command.env("MOONFARM_TOOLS", kube_binaries::tools::provide()?);
                command.env("MOONFARM_KUBE_NEXT", kube_binaries::provide_next()?);
                command.env("MOONFARM_OLDER_IMAGE", farm::older_image()?);
                command.env("MOONFARM_CRIO_IMAGE", farm::crio_image()?);
            }
            return Ok(());
        }
        command.env("MOONFARM_PROGRAMS", farm::build_programs()?);
        if extent != Extent::Quick {
            command.env("MOONFARM_KUBE_BIN", kube_binaries::provide()?.folder);
            command.env("MOONFARM_TOOLS", kube_binaries::tools::provide()?);
        }
        Ok(())
    }
}

/// Runs each fuzz target for a while.
fn run_fuzz(extent: Extent) -> Counts {
    let seconds = if extent == Extent::All { 60 } else { FUZZ_SECS };
    let outcomes = match fuzz::run_each(seconds) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            say(&format!("{error:#}"));
            return Counts::failure(Stage::Fuzz.name());
        }
    };
    outcomes
        .iter()
        .map(|(target, is_clean)| Counts::of_check(&format!("fuzz {target}"), *is_clean))
        .fold(Counts::default(), |sum, counts| sum.plus(&counts))
}

/// Whether a target has a test that `filter` chooses: what the others need is
/// then not built.
fn has_match(target: &[&str], filter: Option<&str>) -> bool {
    let mut list = cargo(target);
    let list = with_filter(&mut list, filter).arg("--list").output();
    list.is_ok_and(|list| String::from_utf8_lossy(&list.stdout).contains(": test"))
}

fn with_filter<'a>(command: &'a mut Command, filter: Option<&str>) -> &'a mut Command {
    command.arg("--").args(filter)
}
