//! `cargo xtask fuzz`: builds the fuzz targets, gives them their first inputs,
//! and runs each for a while.
//!
//! The layout is that of cargo-fuzz, whose program is not needed: coverage comes
//! from flags that the pinned compiler takes, and libFuzzer from a crate.

mod report;
mod seeds;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::bench::table::Table;
use crate::cache;
use crate::packages::{Package, need};
use crate::run::{cargo, output, run as run_program, say};
use report::Report;

/// The targets, each a file in `fuzz/fuzz_targets`.
pub const TARGETS: [&str; 6] = ["dhcp", "tftp", "http", "manifest", "node", "bmc"];

/// libFuzzer is C++.
const PACKAGES: &[Package] = &[Package {
    name: "g++",
    program: "c++",
}];

/// What makes the compiler count which code an input reaches, as `cargo fuzz`
/// has it; none of these needs a nightly one.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
];

/// Longest input; no target gets more out of longer ones.
const LONGEST_INPUT: &str = "-max_len=8192";
/// An input that takes longer, in seconds, is a find.
const SLOWEST_INPUT: &str = "-timeout=30";

/// Feed any input to what reads from a network or a folder
///
/// Targets are built with coverage and run under libFuzzer. What was interesting
/// is kept in target/fuzz/corpus and taken up by the next run; what fails is in
/// target/fuzz/artifacts.
#[derive(Args, Clone, Debug)]
pub struct FuzzOptions {
    /// Targets; all where none is named
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run this one input instead, such as a find
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Builds, runs, and prints what came of it.
///
/// # Errors
/// When a target does not build, or an input made one fail.
pub fn run(options: &FuzzOptions) -> Result<()> {
    let all = TARGETS.map(str::to_owned);
    let targets: &[String] = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    let programs = build()?;
    if let Some(input) = &options.input {
        let [target] = targets else {
            bail!("say which target the input is for: cargo xtask fuzz TARGET --input FILE");
        };
        return run_program(Command::new(programs.join(target)).arg(input));
    }
    let mut table = Table::new(&["target", "inputs", "a second", "edges", "kept", "found"]);
    let mut finds = Vec::new();
    for target in targets {
        let report = fuzz(&programs, target, options.seconds)?;
        table.row(report.cells(target));
        finds.extend(report.find);
    }
    println!("{table}");
    if !finds.is_empty() {
        bail!("{}", finds.join("\n"));
    }
    Ok(())
}

/// Runs every target for so many seconds; `Err` of those that found something.
///
/// # Errors
/// When the targets do not build, or cannot be started.
pub fn run_each(seconds: u32) -> Result<Vec<(&'static str, bool)>> {
    let programs = build()?;
    TARGETS
        .into_iter()
        .map(|target| {
            let report = fuzz(&programs, target, seconds)?;
            report.find.iter().for_each(|find| say(find));
            Ok((target, report.find.is_none()))
        })
        .collect()
}

/// Where everything of fuzzing is: nobody else's build is touched by the flags.
fn folder() -> PathBuf {
    cache::checkout().join("target/fuzz")
}

/// Builds the targets and returns the folder they are in.
fn build() -> Result<PathBuf> {
    need(PACKAGES)?;
    say("building the fuzz targets");
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let mut build = cargo(&["build", "--quiet", "--bins"]);
    // With a target named, build scripts and macros go without the flags.
    build
        .args(["--manifest-path", "fuzz/Cargo.toml", "--target", host])
        .arg("--target-dir")
        .arg(folder())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    run_program(&mut build)?;
    Ok(folder().join(host).join("debug"))
}

/// Runs one target.
fn fuzz(programs: &Path, target: &str, seconds: u32) -> Result<Report> {
    let corpus = folder().join("corpus").join(target);
    let artifacts = folder().join("artifacts").join(target);
    for made in [&corpus, &artifacts] {
        std::fs::create_dir_all(made).with_context(|| format!("making {}", made.display()))?;
    }
    seeds::write(target, &corpus)?;
    say(&format!("fuzzing {target} for {seconds} s"));
    let run = Command::new(programs.join(target))
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .args([LONGEST_INPUT, SLOWEST_INPUT, "-rss_limit_mb=2048"])
        .args(["-print_final_stats=1", "-reload=0"])
        // What the programs log about bad input is not what is looked for.
        .env("RUST_LOG", "off")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting the fuzz target {target}"))?;
    let text = String::from_utf8_lossy(&run.stderr);
    Ok(Report::read(target, &text, run.status.success()))
}
