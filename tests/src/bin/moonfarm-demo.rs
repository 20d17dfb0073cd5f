//! The demo as a program; `cargo xtask demo` builds what it needs and runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use moonfarm_tests::demo::{Options, Stop, run};
use moonfarm_tests::lab::LabError;
use moonfarm_tests::lab::farm::Artefacts;

fn main() -> ExitCode {
    let options = Options::parse();
    match demo(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // What a shell says of a program that Ctrl-C ended.
        Err(LabError::Stopped) => ExitCode::from(130),
        Err(error) => {
            eprintln!("demo: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &Options) -> Result<(), LabError> {
    let folder = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .ok_or_else(|| LabError::Missing {
                what: format!("the environment variable {variable}"),
                remedy: "run the demo as `cargo xtask demo`".into(),
            })
    };
    let artefacts = Artefacts {
        programs: folder("MOONFARM_PROGRAMS")?,
        kube: folder("MOONFARM_KUBE_BIN")?,
        image: folder("MOONFARM_IMAGE")?,
    };
    let stop =
        Stop::on_signals().map_err(|error| LabError::Other(format!("taking signals: {error}")))?;
    let folder = tempfile::Builder::new()
        .prefix("moonfarm-demo-")
        .tempdir()
        .map_err(|error| LabError::Other(format!("making a work folder: {error}")))?;
    let result = run(options, artefacts, folder.path(), &stop);
    let has_failed = result
        .as_ref()
        .is_err_and(|error| !matches!(error, LabError::Stopped));
    if options.keep || has_failed {
        println!(
            "logs, consoles and manifests are in {}",
            folder.keep().display()
        );
    }
    result
}
