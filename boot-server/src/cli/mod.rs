//! The command line. Results go to stdout, everything else to stderr.

mod adopt;
mod chassis;
mod client;
mod explain;
mod follow;
mod get;
mod image;
mod import;
mod serve;
mod table;
mod timeline;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Boots machines from the network into Kubernetes: DHCP, TFTP and HTTP, images,
/// boot configuration and join tokens in one program.
#[derive(Debug, Parser)]
#[command(name = "boot-server", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  boot-server check --manifests farm/
  boot-server image add out/debian-13 --state /var/lib/moonfarm
  boot-server serve --manifests farm/ --state /var/lib/moonfarm
  boot-server get machines --state /var/lib/moonfarm
  boot-server get boots m1-c1n1 --state /var/lib/moonfarm
  boot-server explain 94:57:a5:d3:ec:f2 --state /var/lib/moonfarm
  boot-server adopt 94-57-a5-d3-ec-f2 --pool workers --manifests farm/
  boot-server import kubefarm values.yaml > farm/cluster1.yaml

RUST_LOG sets what is logged, for example RUST_LOG=info,boot_server::dhcp=debug.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve DHCP, TFTP and HTTP.
    Serve(Box<serve::ServeArgs>),
    /// Check a folder of manifests and report every mistake with file and line.
    ///
    /// Mistakes and warnings go to stderr; with a mistake the exit status is 1,
    /// with warnings alone it is 0.
    Check {
        /// Folder of manifests.
        #[arg(long, value_name = "DIR")]
        manifests: PathBuf,
    },
    /// Show what a running server knows.
    Get(get::GetArgs),
    /// Say which records and rules decide what a machine is given.
    Explain(explain::ExplainArgs),
    /// Give a machine that was found to a pool.
    Adopt(adopt::AdoptArgs),
    /// Manage the image store; works with and without a running server.
    Image(image::ImageArgs),
    /// Turn another system's configuration into manifests.
    Import(import::ImportArgs),
}

/// How to reach a running server's management API.
#[derive(Clone, Debug, Args)]
struct ServerArgs {
    /// URL of the management API.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8443",
        env = "MOONFARM_SERVER"
    )]
    server: String,
    /// File whose first line is the management token.
    #[arg(long, global = true, value_name = "FILE", env = "MOONFARM_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the CA, or of the certificate itself, that an https server is
    /// trusted by, in place of this machine's own CAs.
    #[arg(
        long,
        visible_alias = "ca",
        global = true,
        value_name = "FILE",
        env = "MOONFARM_CA_FILE"
    )]
    ca_file: Option<PathBuf>,
    /// State folder of a server on this machine; its management.token is used.
    #[arg(long, global = true, value_name = "DIR", default_value = STATE, env = "MOONFARM_STATE")]
    state: PathBuf,
}

/// The state folder unless another is named.
const STATE: &str = "/var/lib/moonfarm";

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// An aligned table.
    Table,
    /// A table with more columns.
    Wide,
    /// JSON, and nothing else on stdout.
    Json,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(matches!(cli.command, Command::Serve(_)));
    // Fails only where it is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has gone, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boot-server: {}", crate::images::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Check { manifests } => check(&manifests),
        Command::Get(args) => get::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Adopt(args) => adopt::run(args),
        Command::Image(args) => image::run(&args),
        Command::Import(args) => import::run(&args),
    }
}

fn check(folder: &std::path::Path) -> anyhow::Result<()> {
    let declared = crate::manifests::read(folder)?;
    for warning in crate::manifests::warnings(&declared) {
        eprintln!("warning: {warning}");
    }
    print(&format!("{}\n", declared.summary()))
}

/// Writes to stdout; a reader that has gone is an error, not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn log_to_stderr(is_server: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if is_server { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_spellings_are_read() {
        for line in [
            "boot-server serve --manifests m --state s --listen-boot 0.0.0.0:8080 \
             --listen-management 127.0.0.1:8443 --interface br0 --interface br1 --loaders l --no-dhcp --no-tftp",
            "boot-server check --manifests m",
            "boot-server get machines -o wide --state s",
            "boot-server get leases -o json --server http://h:1 --token-file t",
            "boot-server get boots m1-c1n1 --watch",
            "boot-server get leases --server https://h:1 --ca-file ca.pem --token-file t",
            "boot-server explain m1-c1n1 --server https://h:1 --ca ca.pem",
            "boot-server get images",
            "boot-server explain 94:57:a5:d3:ec:f2 -o json",
            "boot-server adopt m1-c1n1 --pool p --name n --hostname h --manifests m --state s",
            "boot-server adopt m1-c1n1 --pool p --kubernetes --kubeconfig k --namespace n",
            "boot-server image add dir --state s",
            "boot-server image list -o json",
            "boot-server image remove debian --force",
            "boot-server image verify",
            "boot-server import kubefarm values.yaml",
            "boot-server import kubefarm a.yaml b.yaml --name c1 --image i --endpoint h:1 --ca-cert-hash sha256:0",
        ] {
            let words = line.split_ascii_whitespace();
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["boot-server", "get", "pods"]).is_err());
    }
}
