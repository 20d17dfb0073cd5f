//! What the demo shows at its end: times, machines, nodes, and where to look.

use crate::lab::LabError;
use crate::lab::farm::Farm;
use crate::lab::farm::layout::{CHASSIS, NAMESPACE};

use super::times;

/// Columns of nodes that fit beside each other.
const NODES_PER_TABLE: usize = 8;

/// Prints the time each part took on each node, the machines and the nodes.
///
/// # Errors
/// When boot-server or the API server does not answer.
pub fn print(farm: &Farm) -> Result<(), LabError> {
    let boots = farm.boots()?;
    let mut nodes = Vec::new();
    for cartridge in farm.cartridges() {
        let name = cartridge.name();
        let Some(powered_on) = farm.powered_on(&name) else {
            continue;
        };
        if let Some(boot) = crate::lab::farm::latest_boot(&name, powered_on, &boots) {
            nodes.push((name, times::parts(powered_on, boot)));
        }
    }
    for chunk in nodes.chunks(NODES_PER_TABLE) {
        println!("\n{}", times::table(chunk).trim_end());
    }
    println!(
        "\n$ boot-server get machines -o wide\n{}",
        farm.get(&["machines", "-o", "wide"])?.trim_end()
    );
    let nodes = farm
        .control_plane()
        .kubectl_output(&["get", "nodes", "--output", "wide"])?;
    println!("\n$ kubectl get nodes -o wide\n{}\n", nodes.trim_end());
    Ok(())
}

/// Prints what an API server that is the store has of the farm.
///
/// # Errors
/// When it does not answer.
pub fn print_store(farm: &Farm) -> Result<(), LabError> {
    for kinds in ["chassis,nodepools,subnets", "machines", "addressclaims"] {
        let words = ["--namespace", NAMESPACE, "get", kinds];
        let objects = farm.control_plane().kubectl_output(&words)?;
        println!("\n$ kubectl {}\n{}", words.join(" "), objects.trim_end());
    }
    let nodes = farm.control_plane().kubectl_output(&["get", "nodes"])?;
    println!("\n$ kubectl get nodes\n{}\n", nodes.trim_end());
    Ok(())
}

/// Prints how to look around.
pub fn print_hints(farm: &Farm) {
    let namespace = farm.namespace().name();
    let plane = farm.control_plane();
    let layout = farm.layout();
    println!("Everything runs in the network namespace {namespace}. From another shell, as root:");
    println!(
        "  kubectl    ip netns exec {namespace} {} --kubeconfig {} get nodes",
        farm.kubectl_program().display(),
        plane.kubeconfig().display(),
    );
    println!("  boots      {}", farm.get_command_line("boots"));
    for cartridge in farm.cartridges().iter().take(1) {
        println!(
            "  console    ip netns exec {namespace} ssh -t -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             Administrator@{CHASSIS} connect node vsp {}",
            cartridge.slot,
        );
        println!(
            "             (password: {}; ESC ( ends it)",
            crate::lab::farm::layout::PASSWORD
        );
        println!(
            "  its log    {}",
            layout
                .machine(&cartridge.name())
                .join("console.log")
                .display()
        );
    }
    println!("  logs       {}/*.log", layout.folder().display());
    println!("  manifests  {}", layout.manifests().display());
    println!("Ctrl-C stops everything.");
}
