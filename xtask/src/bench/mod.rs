//! `cargo xtask bench …`: measurements that anybody can repeat, against the
//! programs that others use. Each bench prints a plain table on stdout; what it
//! is doing meanwhile goes to stderr.
//!
//! A bench is a file here with `Options` and `run`, and a line in
//! [`BenchCommand`]. What they share is below: repeated samples, tables, release
//! builds, and what a process has used.

mod programs;
mod samples;
mod scrape;
mod table;
mod usage;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// chassis-agent against thousands of virtual BMCs and Moonshot chassis.
    Scrape(scrape::ScrapeOptions),
}

/// Measures.
///
/// # Errors
/// When something that is needed is missing, or a program fails.
pub fn run(command: &BenchCommand) -> Result<()> {
    print!("{}", usage::this_machine());
    match command {
        BenchCommand::Scrape(options) => scrape::run(options),
    }
}
