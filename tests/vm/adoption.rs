//! A cartridge that nobody declared joins through the catch-all pool, is given to
//! another pool, and joins there under a new name.

use std::time::Duration;

use moonfarm_tests::lab::farm::ClusterOptions;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::support::{TestFarm, artefacts, cartridge, now};

const NEW_NAME: &str = "db-1";
/// How long the old Node may be there once the new one is Ready.
const TO_FORGET: Duration = Duration::from_secs(60);

#[test]
fn a_found_cartridge_is_adopted_drained_restarted_and_joins_anew() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let found = cartridge(1);
    let since = now();
    let mut test = TestFarm::start(
        artefacts,
        vec![found],
        Some(ClusterOptions::default()),
        &|facts| {
            let pools = [
                Pool {
                    name: "newcomers",
                    labels: &["example.org/new: \"true\""],
                    ..Pool::default()
                },
                Pool {
                    name: "databases",
                    machines: Some("macs: [\"52:54:00:0d:b0:01\"]"),
                    is_powered: true,
                    labels: &["example.org/role: database"],
                    ..Pool::default()
                },
            ];
            pools.map(|pool| manifests::pool(facts, &pool)).to_vec()
        },
    );
    let (old_name, console) = (found.name(), test.console(&found));
    // Whoever is nobody's is not switched on by itself.
    let order = ["power", "on", &found.slot.to_string()];
    let done = test.farm.chassis_command(&order);
    done.unwrap_or_else(|error| panic!("{}", error.chain()));
    test.wait_until_ready(&old_name, since, &console);
    assert_eq!(label(&test, &old_name, "example.org/new"), "true");

    let since = now();
    adopt(&test, &old_name);
    test.say("adopted");
    test.wait_until_ready(NEW_NAME, since, &console);
    assert_eq!(label(&test, NEW_NAME, "example.org/role"), "database");
    assert_eq!(label(&test, NEW_NAME, "example.org/new"), "");
    let is_gone = until(TO_FORGET, || test.node(&old_name).is_null().then_some(()));
    assert!(is_gone.is_some(), "the Node {old_name} is still there");
    let machines = test.farm.machines().expect("machines");
    let names: Vec<&str> = machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    assert_eq!(names, [NEW_NAME], "one record, under the new name");
}

fn label(test: &TestFarm, node: &str, key: &str) -> String {
    let labels = &test.node(node)["metadata"]["labels"];
    labels[key].as_str().unwrap_or_default().to_owned()
}

/// As an operator does it, into the folder that boot-server reads.
fn adopt(test: &TestFarm, machine: &str) {
    let folder = test.farm.layout().manifests().display().to_string();
    let order = ["adopt", machine, "--pool", "databases", "--name", NEW_NAME];
    let into = ["--manifests", &folder];
    let said = test.farm.boot_server_command(&[&order[..], &into].concat());
    println!(
        "{}",
        said.unwrap_or_else(|error| panic!("{}", error.chain()))
    );
}
