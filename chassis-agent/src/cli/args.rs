//! The command line and its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::kubernetes::Published;
use boot_proto::quantity::Span;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube_access::Place;

use crate::drivers::{BootTarget, PowerAction, Slot};

/// Finds the machines of a chassis and switches them.
#[derive(Debug, Parser)]
#[command(
    name = "chassis-agent",
    version,
    about = "Finds the machines of chassis managers and switches them on and off",
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  What is in this chassis, as a table and as JSON:
    chassis-agent observe --address moonshot1 --profile auto \\
        --user Administrator --password-file /etc/moonfarm/moonshot1.password
    chassis-agent observe --address moonshot1 --user Administrator \\
        --password-file pw -o json | jq -r '.[].macs[0]'

  A BMC, its certificate pinned:
    chassis-agent observe --address https://bmc7 --certificate 5f0c… --user admin \\
        --password-file pw

  Boot two cartridges from the network:
    chassis-agent power force-off c11n1 c12n1 --address moonshot1 --user … --password-file pw
    chassis-agent boot-once pxe   c11n1 c12n1 --address moonshot1 --user … --password-file pw
    chassis-agent power on        c11n1 c12n1 --address moonshot1 --user … --password-file pw

  Keep all chassis of a folder of manifests registered with boot-server:
    chassis-agent run --manifests /etc/moonfarm --boot-server http://127.0.0.1:8443 \\
        --token-file /etc/moonfarm/token

The host key of a chassis is recorded at first contact and refused when it
changes; --host-key pins one instead. Logs go to stderr; RUST_LOG=debug says more.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Scan one chassis manager and print its machines
    #[command(after_help = "\
Prints slot, power, MACs and model of every machine; with -o json an array with
slot, macs, power, uuid, serial, manufacturer, model and nics. Empty slots are
left out. Changes nothing on the device.")]
    Observe(ObserveArgs),
    /// Switch machines and wait until the device shows the new state
    #[command(after_help = "\
off asks the operating system to shut down and waits for it; when it does not
listen, the command fails and says so, and force-off cuts the power. cycle and
reset are the device's own restart of a machine that is on; where it has none,
force-off, the wait for it, and on. Prints one line per slot; the exit
status is not 0 when any slot failed.")]
    Power(PowerArgs),
    /// Choose what machines boot from next time, once
    #[command(after_help = "\
Some firmware forgets the choice when the machine is powered off afterwards:
power it off first, then choose, then power it on. \"not confirmed\" means that
the device took the order and its answer says neither yes nor no.")]
    BootOnce(BootOnceArgs),
    /// Use the serial console of a machine
    #[command(after_help = "\
Connects the terminal with the machine's serial console, for one user at a time;
--acquire takes it away from who has it. ESC ( leaves. In a pipe it shows what
the machine prints until SIGTERM, SIGINT or the end of the connection, also when
its input has ended:
    chassis-agent console c11n1 --address moonshot1 … </dev/null >>c11n1.log")]
    Console(ConsoleArgs),
    /// Run the agent: register machines with boot-server and carry out desired power
    #[command(after_help = "\
Reads the Chassis manifests of a folder (and reads them again when they change),
scans each chassis at its scanInterval and its power at its powerInterval, sends
what it finds to boot-server, and powers machines on and off as boot-server
says. A machine is told to boot from the network before it is powered on. Never
orders anything on an observation that is old or failed. Stops cleanly on
SIGTERM and Ctrl-C.")]
    Run(RunArgs),
}

/// Where a device is and how to log in.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Chassis manager or BMC: HOST, HOST:PORT, [IPV6]:PORT, or https://HOST[:PORT] of a Redfish service
    #[arg(long, value_name = "HOST[:PORT] or URL")]
    pub address: String,
    /// Hardware profile, or `auto` to recognise the device
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub profile: String,
    /// User name
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// File whose first line is the password
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "private_key_file"
    )]
    pub password_file: Option<PathBuf>,
    /// File with a private key without passphrase; tried before the password
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// The host key's fingerprint, as ssh-keygen -l prints it
    #[arg(long, value_name = "SHA256:…", conflicts_with = "insecure")]
    pub host_key: Option<String>,
    /// File that records host keys at first contact
    #[arg(long, value_name = "FILE")]
    pub known_hosts: Option<PathBuf>,
    /// SHA-256 fingerprint of the TLS certificate, in hex
    #[arg(long, value_name = "HEX", conflicts_with_all = ["insecure", "ca_file"])]
    pub certificate: Option<String>,
    /// File with the CA certificate (PEM) that signs the device's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca_file: Option<PathBuf>,
    /// Take any host key or certificate; for laboratories only
    #[arg(long)]
    pub insecure: bool,
    /// Offer SSH algorithms that are no longer safe, for old firmware
    #[arg(long)]
    pub legacy_algorithms: bool,
    /// Folder with more hardware profiles
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Table,
    /// JSON.
    Json,
}

/// `observe`.
#[derive(Debug, Args)]
pub struct ObserveArgs {
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// `power`.
#[derive(Debug, Args)]
pub struct PowerArgs {
    /// What to do
    #[arg(value_enum)]
    pub action: PowerAction,
    /// Slots, such as c11n1, or Ids of a BMC's systems
    #[arg(required = true, value_name = "SLOT")]
    pub slots: Vec<Slot>,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `boot-once`.
#[derive(Debug, Args)]
pub struct BootOnceArgs {
    /// What to boot from
    #[arg(value_enum)]
    pub target: BootTarget,
    /// Slots, such as c11n1, or Ids of a BMC's systems
    #[arg(required = true, value_name = "SLOT")]
    pub slots: Vec<Slot>,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `console`.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Slot, such as c11n1
    #[arg(value_name = "SLOT")]
    pub slot: Slot,
    /// Take the console away from who uses it
    #[arg(long)]
    pub acquire: bool,
    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder with manifests
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    pub manifests: Option<PathBuf>,
    /// Management address of boot-server
    #[arg(long, value_name = "URL", required_unless_present = "kubernetes")]
    pub boot_server: Option<String>,
    /// File whose first line is the bearer token for boot-server
    #[arg(long, value_name = "FILE", required_unless_present = "kubernetes")]
    pub token_file: Option<PathBuf>,
    /// Take Chassis and desired power from a Kubernetes API server, and register
    /// machines there; of several agents one works
    #[arg(long, conflicts_with_all = ["manifests", "boot_server"])]
    pub kubernetes: bool,
    /// Where that API server is
    #[command(flatten)]
    pub place: Place,
    /// What machines are registered as: our own Machines, or dnsmasq-controller's
    /// DhcpHosts (then nothing is ordered)
    #[arg(long, value_enum, default_value = "machines")]
    pub publish: Published,
    /// File with the certificate (PEM) that signs boot-server's
    #[arg(long, visible_alias = "ca", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Folder for what must outlive a restart: recorded host keys
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/moonfarm/chassis-agent"
    )]
    pub state: PathBuf,
    /// Machines of one chassis that may be powered on per power interval
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub power_ons: u32,
    /// Machines of all chassis together that may be powered on within 30 s
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub power_ons_of_all: u32,
    /// How long a machine may take from power-on to its request for a network
    /// boot, such as 90s or 10m; then its power is cut and the next way tried.
    /// 0s never cuts it
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub network_boot_wait: Span,
    /// Devices that are visited at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub visits: u32,
    /// Where to serve /metrics, /healthz and /readyz, such as 127.0.0.1:9101
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder with more hardware profiles
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
}
