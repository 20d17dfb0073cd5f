//! Two boot-servers on one API server: the one that a node booted from is killed,
//! and the node, restarted, comes up by the other.

use crate::lab::LabError;
use crate::lab::farm::{Farm, NodeProgress, Stage, progress};

/// The boot-server whose record of the machine's latest boot ends with Ready.
///
/// # Errors
/// When there is none, or one does not answer.
pub fn server_of(farm: &Farm, machine: &str) -> Result<String, LabError> {
    let powered_on = farm.powered_on(machine);
    let servers = farm.boots_by_server()?;
    let has_it = |progress: &NodeProgress| progress.stage == Stage::Ready;
    let server = servers
        .iter()
        .find(|(_, boots)| has_it(&progress(machine, powered_on, boots)));
    server
        .map(|(name, _)| (*name).to_owned())
        .ok_or_else(|| LabError::Other(format!("no boot-server saw {machine} become Ready")))
}

/// Kills the boot-server that the machine booted from and restarts the machine.
///
/// # Errors
/// When either cannot be done.
pub fn lose_server_of(farm: &mut Farm, machine: &str, say: &dyn Fn(&str)) -> Result<(), LabError> {
    let server = server_of(farm, machine)?;
    let slot = farm
        .cartridges()
        .iter()
        .find(|cartridge| cartridge.name() == machine)
        .map(|cartridge| cartridge.slot.to_string())
        .ok_or_else(|| LabError::Other(format!("there is no cartridge {machine}")))?;
    say(&format!(
        "{machine} booted from {server}: killing {server}, and restarting {machine}"
    ));
    farm.lose_boot_server(&server)?;
    // chassis-agent, which wants it on, may be faster with the second half, and then
    // this waits in vain for the machine to be off. That it was is told by its boot ID.
    if let Err(error) = farm.chassis_command(&["power", "cycle", &slot]) {
        say(&format!("chassis-agent was faster: {}", error.chain()));
    }
    Ok(())
}

/// Which boot of its node Kubernetes knows: another one after each start.
///
/// # Errors
/// When the API server has no such node.
pub fn boot_id(farm: &Farm, machine: &str) -> Result<String, LabError> {
    let path = ["--output", "jsonpath={.status.nodeInfo.bootID}"];
    let words = [&["get", "node", machine][..], &path].concat();
    farm.control_plane().kubectl_output(&words)
}
