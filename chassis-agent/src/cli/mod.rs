//! What a person types. Answers go to stdout, logs and failures to stderr.

mod args;
mod commands;
pub mod console;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub use args::Cli;
use args::Command;

use crate::drivers::redfish::goodbye;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    log_to_stderr(matches!(cli.command, Command::Run(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chassis-agent: starting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(execute_until_signal(cli));
    // A name lookup that hangs must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chassis-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A command that is interrupted leaves its device in order: a BMC has few
/// sessions. The agent and the console see to signals themselves.
async fn execute_until_signal(cli: Cli) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let result = match cli.command {
        Command::Run(_) | Command::Console(_) => execute(cli, &mut out).await,
        _ => {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                result = execute(cli, &mut out) => result,
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
                _ = terminate.recv() => Err(anyhow::anyhow!("told to stop")),
            }
        }
    };
    goodbye::all_said().await;
    result
}

/// Runs one command line, program name first, with its answer going to `out`.
///
/// # Errors
/// When the command line is wrong or the command fails.
pub async fn run<I, T>(args: I, out: &mut (dyn Write + Send)) -> anyhow::Result<()>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    execute(Cli::try_parse_from(args)?, out).await
}

async fn execute(cli: Cli, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    match cli.command {
        Command::Observe(args) => commands::observe(&args, out).await,
        Command::Power(args) => commands::power(&args, out).await,
        Command::BootOnce(args) => commands::boot_once(&args, out).await,
        Command::Console(args) => commands::console(&args, out).await,
        Command::Run(args) => commands::run(&args).await,
    }
}

/// `RUST_LOG` decides; without it the agent tells what it does, and a single
/// command only what is wrong.
fn log_to_stderr(is_agent: bool) {
    let default = if is_agent { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A test may have set up logging already.
    let _ = logs.try_init();
}
