//! A machine that nobody declared.

use moonfarm_tests::lab::Firmware;
use moonfarm_tests::lab::farm::ClusterOptions;
use moonfarm_tests::lab::farm::layout::STRAY_MAC;
use moonfarm_tests::lab::farm::manifests::{self, Pool};

use crate::pods;
use crate::support::{TestFarm, artefacts, now};

#[test]
fn an_undeclared_uefi_machine_becomes_a_node_of_the_catch_all_pool() {
    let Some(artefacts) = artefacts() else { return };
    let mut test = TestFarm::start(
        artefacts,
        Vec::new(),
        Some(ClusterOptions::default()),
        &|facts| {
            let pool = Pool {
                name: "strays",
                labels: &["example.org/stray: \"true\""],
                ..Pool::default()
            };
            vec![manifests::pool(facts, &pool)]
        },
    );
    let name = STRAY_MAC.dashed();
    let since = now();
    let mut machine = test.farm.stray(Firmware::Uefi);
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    test.wait_until_ready(&name, since, &machine.console_log());

    assert_eq!(
        test.node(&name)["metadata"]["labels"]["example.org/stray"],
        "true"
    );
    let machines = test.farm.machines().expect("machines");
    let record = machines
        .iter()
        .find(|record| record.name == name)
        .expect("a Machine record");
    let facts = &record.status.facts;
    let spec = machine.spec();
    assert!(!record.declared);
    assert_eq!(record.pool.as_deref(), Some("strays"));
    assert_eq!(facts.macs, [STRAY_MAC]);
    assert_eq!(facts.uuid, spec.smbios.uuid);
    assert_eq!(facts.serial, spec.smbios.serial);
    assert_eq!(facts.cpus, spec.cpus);
    // The kernel keeps some of it for itself.
    let memory = u64::from(spec.memory_mib) << 20;
    assert!(
        (memory / 10 * 8..=memory).contains(&facts.memory_bytes),
        "{facts:?}"
    );
    pods::run_on(&test, &name);
}
