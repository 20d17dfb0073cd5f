//! A fleet of slow virtual BMCs and Moonshot chassis on loopback addresses, and
//! a sink for what chassis-agent reports of them. Prints a JSON line when it is
//! ready, when the inventory of all devices was reported, and when the power of
//! all was read after that.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use moonfarm_tests::fleet::{Delays, Fleet, Phase, Plan, read_kinds, write_manifests};
use serde_json::json;

/// Serves many virtual BMCs, as slow as real ones.
#[derive(Parser)]
struct Args {
    /// How many BMCs
    #[arg(long, default_value_t = 0)]
    bmcs: u32,
    /// How many Moonshot chassis with 45 nodes
    #[arg(long, default_value_t = 0)]
    chassis: u32,
    /// Folders with the resources of the BMCs; the kinds take turns
    #[arg(long, required = true)]
    kind: Vec<PathBuf>,
    /// Folder that manifests, password and token are written to
    #[arg(long)]
    folder: PathBuf,
    /// Shortest delay of an answer in milliseconds
    #[arg(long, default_value_t = 50)]
    least_ms: u64,
    /// Longest usual delay of an answer in milliseconds
    #[arg(long, default_value_t = 500)]
    most_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    allow_many_sockets();
    if args.bmcs + args.chassis == 0 {
        bail!("give --bmcs or --chassis");
    }
    let plan = Plan {
        kinds: read_kinds(&args.kind).context("reading the resources of the BMCs")?,
        bmcs: args.bmcs,
        chassis: args.chassis,
        delays: Delays {
            least_ms: args.least_ms,
            most_ms: args.most_ms,
            ..Delays::default()
        },
    };
    let fleet = Fleet::start(plan)
        .await
        .context("starting the devices; each needs a file descriptor or two (ulimit -n)")?;
    write_manifests(&args.folder, &fleet.declared)
        .with_context(|| format!("writing to {}", args.folder.display()))?;
    println!("{}", json!({ "event": "ready", "sink": fleet.sink }));
    for (phase, event) in [(Phase::Inventory, "inventory"), (Phase::Power, "power")] {
        reach(&fleet, phase, event).await;
        let commands = fleet.commands();
        let line = json!({
            "event": event,
            "at_secs": fleet.account.elapsed().as_secs_f64(),
            "stats": fleet.account.close(),
            "most_commands": commands.iter().max(),
        });
        println!("{line}");
    }
    // Until the reader has had enough.
    std::future::pending().await
}

/// Waits for all devices and says on stderr how far it is.
async fn reach(fleet: &Fleet, phase: Phase, event: &str) {
    let all = fleet.account.wait(phase);
    tokio::pin!(all);
    loop {
        tokio::select! {
            () = &mut all => return,
            () = tokio::time::sleep(Duration::from_secs(10)) => {
                let count = fleet.account.count(phase);
                eprintln!("virtual-fleet: {event}: {count} of {}", fleet.declared.len());
            }
        }
    }
}

/// Each device has a socket of its own: asks for as many as the system allows.
fn allow_many_sockets() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Fewer devices work all the same.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
