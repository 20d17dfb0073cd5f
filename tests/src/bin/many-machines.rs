//! What `cargo xtask bench machines` runs; it prints one line of figures for each
//! number of Machines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use moonfarm_tests::lab::LabError;
use moonfarm_tests::many_machines::{Plan, measure};

/// Measures boot-server with many Machines in an API server.
#[derive(Parser)]
struct Args {
    /// How many Machines, one measurement for each number
    #[arg(long, value_delimiter = ',', required = true)]
    machines: Vec<usize>,
    /// Seconds that it is watched at rest
    #[arg(long)]
    rest: u64,
    /// Folder with boot-server
    #[arg(long)]
    programs: PathBuf,
    /// Folder with the Kubernetes programs
    #[arg(long)]
    kube: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many-machines: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), LabError> {
    println!("| Machines | serves after s | statuses written s | again s | RSS MiB | requests/s |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for machines in &args.machines {
        let plan = Plan {
            programs: args.programs.clone(),
            kube: args.kube.clone(),
            machines: *machines,
            rest: Duration::from_secs(args.rest),
        };
        let folder = tempfile::tempdir()
            .map_err(|error| LabError::Other(format!("making a work folder: {error}")))?;
        let figures = measure(&plan, folder.path(), &|step| eprintln!("{step}"))?;
        println!(
            "| {machines} | {:.1} | {:.0} | {:.1} | {} | {:.2} |",
            figures.serves.as_secs_f32(),
            figures.told.as_secs_f32(),
            figures.serves_again.as_secs_f32(),
            figures.rss_mib,
            figures.requests_per_sec,
        );
    }
    Ok(())
}
