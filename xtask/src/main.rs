//! The commands people run in a checkout: `cargo xtask COMMAND`.

mod bench;
mod cache;
mod crds;
mod demo;
mod farm;
mod fuzz;
mod image;
mod kube_binaries;
mod packages;
mod profile_schema;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Moonfarm's commands for people with a checkout.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch or build the Kubernetes programs and print the folder they are in.
    Kube,
    /// Write the CustomResourceDefinitions into deploy/crds.
    Crds(crds::CrdsOptions),
    /// Node images.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Run a whole farm on this machine: virtual cartridges from power-on to Ready.
    Demo(demo::DemoOptions),
    /// Measure our programs, and others beside them.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Feed any input to what reads from a network or a folder.
    Fuzz(fuzz::FuzzOptions),
    /// Run every check and test.
    Test(test::TestOptions),
}

fn main() -> ExitCode {
    match run_command(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Kube => {
            println!("{}", kube_binaries::provide()?.folder.display());
            Ok(())
        }
        Command::Crds(options) => crds::run(&options),
        Command::Image(command) => image::run(&command),
        Command::Demo(options) => demo::run(&options),
        Command::Bench(command) => bench::run(&command),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Test(options) => test::run(&options),
    }
}
