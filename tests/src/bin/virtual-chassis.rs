//! A virtual Moonshot chassis with inert cartridges, to try chassis-agent on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use boot_proto::ids::MacAddr;
use clap::{Parser, ValueEnum};
use moonfarm_tests::chassis::{
    Cartridge, ChassisModel, ListShape, Manager, Node, Options, VirtualChassis,
};

/// Speaks the command line of an HPE Moonshot chassis manager over SSH.
#[derive(Parser)]
#[command(after_help = "\
Example: a chassis with a cartridge of four nodes, and one that is off:
    printf secret > pw
    virtual-chassis --listen 127.0.0.1:2222 --password-file pw --cartridge 1:4 --cartridge 7:1:off
    chassis-agent observe --address 127.0.0.1:2222 --user Administrator --password-file pw --insecure")]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// User name
    #[arg(long, default_value = "Administrator")]
    user: String,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Shape of `show node list`
    #[arg(long, value_enum, default_value = "2021")]
    shape: Shape,
    /// Be a Chassis Manager 2.0
    #[arg(long)]
    manager_2: bool,
    /// Milliseconds until an order shows
    #[arg(long, default_value_t = 1000)]
    settle_ms: u64,
    /// A cartridge: SLOT, SLOT:NODES or SLOT:NODES:off; may be given many times
    #[arg(
        long = "cartridge",
        value_name = "SLOT[:NODES[:on|off]]",
        required = true
    )]
    cartridges: Vec<String>,
    /// Offer only the SSH algorithms of old firmware
    #[arg(long)]
    old: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    /// Firmware of 2014, last column Health
    #[value(name = "2014")]
    Health2014,
    /// Last column Status
    Status,
    /// Firmware of 2021, with asset tags
    #[value(name = "2021")]
    AssetTag2021,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let text = std::fs::read_to_string(&args.password_file)
        .with_context(|| format!("reading the password from {}", args.password_file.display()))?;
    let mut model = ChassisModel::new();
    for description in &args.cartridges {
        let (slot, cartridge) = cartridge(description)?;
        model = model.with(slot, cartridge);
    }
    let chassis = VirtualChassis::start(Options {
        listen: args.listen,
        user: args.user,
        password: text.lines().next().unwrap_or_default().to_owned(),
        shape: match args.shape {
            Shape::Health2014 => ListShape::Health2014,
            Shape::Status => ListShape::Status,
            Shape::AssetTag2021 => ListShape::AssetTag2021,
        },
        manager: if args.manager_2 {
            Manager::Two
        } else {
            Manager::One
        },
        settle: Duration::from_millis(args.settle_ms),
        is_old: args.old,
        model,
        ..Options::default()
    })?;
    println!("{} {}", chassis.address(), chassis.host_key());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

/// Reads `SLOT[:NODES[:on|off]]`.
fn cartridge(description: &str) -> anyhow::Result<(u8, Cartridge)> {
    let mut parts = description.split(':');
    let slot: u8 = parts
        .next()
        .and_then(|slot| slot.parse().ok())
        .filter(|slot| (1..=45).contains(slot))
        .with_context(|| format!("{description:?}: the slot is a number from 1 to 45"))?;
    let nodes: u8 = parts
        .next()
        .map_or(Some(1), |nodes| nodes.parse().ok())
        .filter(|nodes| (1..=4).contains(nodes))
        .with_context(|| format!("{description:?}: a cartridge has 1 to 4 nodes"))?;
    let is_on = match parts.next() {
        None | Some("on") => true,
        Some("off") => false,
        Some(other) => bail!("{description:?}: {other:?} is neither on nor off"),
    };
    let mut cartridge = Cartridge::new("ProLiant m510 Server Cartridge");
    for node in 1..=nodes {
        let mac = |nic| MacAddr::new([0x02, 0x4d, 0x46, slot, node, nic]);
        cartridge = cartridge.node(Node::inert(is_on).macs([mac(1), mac(2)]));
    }
    Ok((slot, cartridge))
}
