//! The demo: a virtual chassis from power-on to Ready, for a person to watch.

mod closing;
mod live;
mod signals;
mod take_over;
mod times;

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use boot_proto::ids::SlotId;
use clap::Parser;

use crate::lab::farm::layout::{CHASSIS_NAME, Cartridge};
use crate::lab::farm::manifests::{self, Facts, Manifest, Pool};
use crate::lab::farm::{Artefacts, ClusterOptions, Farm, FarmOptions, NodeProgress, Stage};
use crate::lab::{Firmware, LabError, console};
use crate::wait::{Deadline, until};
use live::Live;
pub use signals::Stop;

/// Pause between two looks at boot-server.
const LOOK: Duration = Duration::from_millis(500);
/// Lines of a console that are shown when its node does not come up.
const CONSOLE_LINES: usize = 40;

/// Options of the demo; `cargo xtask demo` gives them.
#[derive(Parser, Clone, Debug)]
pub struct Options {
    /// Cartridges in the virtual chassis.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=45))]
    pub nodes: u8,
    /// Their firmware: bios or uefi.
    #[arg(long, default_value = "bios")]
    pub firmware: Firmware,
    /// Seconds that all nodes together may take from power-on to Ready.
    #[arg(long, default_value_t = 600)]
    pub timeout: u32,
    /// Have the API server as the store, and two boot-servers that share it; one
    /// is killed, and a node that is restarted comes up by the other.
    #[arg(long)]
    pub kubernetes: bool,
    /// Keep the work folder.
    #[arg(long)]
    pub keep: bool,
    /// Stop everything after the closing table.
    #[arg(long)]
    pub exit: bool,
}

/// Runs the demo in `folder`.
///
/// # Errors
/// When a part does not start, a node does not come up in time, or `stop` was
/// asked for before all were Ready.
pub fn run(
    options: &Options,
    artefacts: Artefacts,
    folder: &Path,
    stop: &Stop,
) -> Result<(), LabError> {
    let cartridges = cartridges(options)?;
    let patience = Duration::from_secs(options.timeout.into());
    let started = Deadline::after(patience);
    let say = |text: &str| println!("{:6.1} s  {text}", started.elapsed().as_secs_f32());
    say(&format!("work folder {}", folder.display()));
    let mut farm = Farm::start(FarmOptions {
        artefacts,
        folder,
        cartridges,
        cluster: Some(ClusterOptions {
            is_store: options.kubernetes,
            ..ClusterOptions::default()
        }),
        manifests: &manifests,
        progress: &mut |step| {
            say(step);
            if stop.is_asked() {
                Err(LabError::Stopped)
            } else {
                Ok(())
            }
        },
    })?;
    say("chassis-agent looks into the chassis and powers its cartridges on");
    wait_for_nodes(&mut farm, patience, stop)?;
    closing::print(&farm)?;
    if options.kubernetes {
        lose_a_server(&mut farm, patience, stop, &say)?;
    }
    if !options.exit && std::io::stdout().is_terminal() {
        closing::print_hints(&farm);
        stop.wait();
    }
    println!("stopping everything");
    Ok(())
}

fn cartridges(options: &Options) -> Result<Vec<Cartridge>, LabError> {
    let slot =
        |cartridge| SlotId::new(cartridge, 1).map_err(|error| LabError::Other(error.to_string()));
    (1..=options.nodes)
        .map(|number| {
            Ok(Cartridge {
                slot: slot(number)?,
                firmware: options.firmware,
            })
        })
        .collect()
}

/// One pool with the whole chassis, powered on.
fn manifests(facts: &Facts<'_>) -> Vec<Manifest> {
    let machines = format!("slots: [\"{CHASSIS_NAME}/*\"]");
    let pool = Pool {
        name: "workers",
        machines: Some(&machines),
        is_powered: true,
        labels: &["moonfarm.dev/pool: workers"],
        ..Pool::default()
    };
    vec![manifests::pool(facts, &pool)]
}

/// Kills the boot-server that the first node booted from, and has the other boot
/// that node.
fn lose_a_server(
    farm: &mut Farm,
    patience: Duration,
    stop: &Stop,
    say: &dyn Fn(&str),
) -> Result<(), LabError> {
    let name = farm.cartridges()[0].name();
    let before = take_over::boot_id(farm, &name)?;
    take_over::lose_server_of(farm, &name, say)?;
    // By the API server's word: the server that is left may have seen a part of the
    // boot before, and takes the new one for its end.
    let joined = until(patience, || {
        let is_new = take_over::boot_id(farm, &name).is_ok_and(|now| now != before);
        (stop.is_asked() || is_new && farm.control_plane().is_node_ready(&name)).then_some(())
    });
    if stop.is_asked() {
        return Err(LabError::Stopped);
    }
    if joined.is_none() {
        return Err(LabError::Other(format!("{name} did not join again")));
    }
    say(&format!(
        "{name} is Ready again, by the boot-server that is left"
    ));
    closing::print_store(farm)
}

/// Waits until the nodes are Ready.
fn wait_for_nodes(farm: &mut Farm, patience: Duration, stop: &Stop) -> Result<(), LabError> {
    let deadline = Deadline::after(patience);
    let mut live = Live::new(std::io::stdout().is_terminal());
    loop {
        farm.check()?;
        let nodes = farm.progress()?;
        live.show(&nodes, deadline.elapsed());
        if nodes.iter().all(|(node, _)| node.stage == Stage::Ready) {
            return Ok(());
        }
        if stop.is_asked() {
            return Err(LabError::Stopped);
        }
        if deadline.has_passed() {
            let late = nodes
                .into_iter()
                .map(|(node, _)| node)
                .filter(|node| node.stage != Stage::Ready);
            return Err(not_ready(farm, patience, &late.collect::<Vec<_>>()));
        }
        std::thread::sleep(LOOK);
    }
}

/// Which nodes did not come up, where they stopped, and what they said last.
fn not_ready(farm: &Farm, patience: Duration, late: &[NodeProgress]) -> LabError {
    let mut text = format!("not Ready within {} s:", patience.as_secs());
    for node in late {
        let log = farm.layout().machine(&node.name).join("console.log");
        text.push_str(&format!(
            "\n\n{} stopped in phase {}",
            node.name, node.phase
        ));
        if let Some(reason) = &node.reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push_str(&format!(
            "\nits console ends:\n{}",
            console::last_lines(&log, CONSOLE_LINES)
        ));
    }
    LabError::Other(text)
}
