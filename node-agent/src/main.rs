//! `node-agent`: as PID 1 it is `/init`; otherwise it has the subcommands that
//! people, units and image builds call.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use boot_proto::boot_config::BootConfig;
use boot_proto::quantity::ByteSize;
use clap::{Args, Parser, Subcommand};
use node_agent::clock::SystemClock;
use node_agent::initramfs::drivers::DriverSet;
use node_agent::initramfs::{self, Compression, Options};
use node_agent::root_dir::{EmptyRoot, RootDir};

#[derive(Parser)]
#[command(
    version,
    about = "Boots a diskless machine into its image and joins it to its cluster"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the initramfs for a kernel, with this program as /init
    Initramfs(InitramfsArgs),
    /// Prints the plan that a machine with this boot config would walk
    Plan(PlanArgs),
    /// Partitions and formats, once, the local disks that the boot config names
    Disks,
    /// Joins the cluster that the boot config names, as the unit runs it
    Join,
}

#[derive(Args)]
struct InitramfsArgs {
    /// Root file system with the kernel's modules
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Release of the kernel, as `uname -r` says it
    #[arg(long, value_name = "R")]
    kernel_release: String,
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Compression of the archive
    #[arg(long, value_enum, default_value_t)]
    compress: Compression,
    /// NIC drivers to pack
    #[arg(long, value_enum, default_value_t)]
    drivers: DriverSet,
    /// Pack drivers for local disks, ext4, XFS and zram, for profiles with keepImage
    /// or overlay
    #[arg(long)]
    storage: bool,
    /// A further module to pack; can be given several times
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// The program that becomes /init
    #[arg(long, value_name = "FILE", default_value = "/proc/self/exe")]
    agent: PathBuf,
    /// A static shell to pack, for moonfarm.debug on the kernel command line
    #[arg(long, value_name = "FILE")]
    shell: Option<PathBuf>,
    /// Public keys of minisign, one or several: the machine then runs only images
    /// whose manifest.json was signed with one of them (minisign -Sm manifest.json)
    #[arg(long, value_name = "FILE")]
    image_keys: Option<PathBuf>,
    /// CA certificates in PEM: the machine then talks to boot-server over TLS only,
    /// and only where its certificate is of that CA and names its IP address
    #[arg(long, value_name = "FILE")]
    boot_server_ca: Option<PathBuf>,
    /// Pack the program although it needs shared libraries
    #[arg(long)]
    allow_dynamic: bool,
}

#[derive(Args)]
struct PlanArgs {
    /// The boot config, as `GET /v1/boot-config` gives it
    #[arg(long, value_name = "FILE")]
    boot_config: PathBuf,
    /// RAM of the machine, such as 2Gi; that of this one when left out
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// The image's root file system, unpacked
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_default();
    if node_agent::init::is_init(std::process::id(), &program) {
        node_agent::init::run();
    }
    let result = match Cli::parse().command {
        Command::Initramfs(arguments) => build_initramfs(arguments),
        Command::Plan(arguments) => print_plan(&arguments),
        Command::Disks => node_agent::disks::run(&SystemClock).map_err(Into::into),
        Command::Join => node_agent::join::run().map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build_initramfs(arguments: InitramfsArgs) -> Result<()> {
    let options = Options {
        root: arguments.root,
        kernel_release: arguments.kernel_release,
        agent: arguments.agent,
        allow_dynamic: arguments.allow_dynamic,
        drivers: arguments.drivers,
        storage: arguments.storage,
        modules: arguments.modules,
        shell: arguments.shell,
        compress: arguments.compress,
        image_keys: arguments.image_keys,
        ca: arguments.boot_server_ca,
    };
    let built = initramfs::build(&options)?;
    let output = arguments.output;
    std::fs::write(&output, &built.bytes)
        .with_context(|| format!("writing {}", output.display()))?;
    eprintln!("{}: {}", output.display(), built.summary);
    Ok(())
}

fn print_plan(arguments: &PlanArgs) -> Result<()> {
    let file = &arguments.boot_config;
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let config: BootConfig =
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))?;
    let memory = match arguments.memory {
        Some(size) => size.0,
        None => node_agent::facts::memory_total(Path::new("/proc")),
    };
    let plan = match &arguments.root {
        Some(root) => {
            let dir = RootDir::open(root).with_context(|| format!("opening {}", root.display()))?;
            node_agent::show::plan(&config, memory, &dir)
        }
        None => node_agent::show::plan(&config, memory, &EmptyRoot),
    };
    print!("{plan}");
    Ok(())
}
