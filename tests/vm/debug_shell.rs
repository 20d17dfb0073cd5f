//! The debug shell, typed at over the serial port: where it is asked for and
//! carried, and where it is asked for alone.

use std::path::Path;
use std::time::Duration;

use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::{self, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, MachineSpec, QemuMachine, console};
use moonfarm_tests::wait::until;

use crate::images::{self, Variant};
use crate::support::{TestFarm, artefacts, now};

/// Asks for a shell, and has the boot fail.
const WORDS: &str = "moonfarm.debug moonfarm.drill=image";
const OPENS: &str = "a debug shell; leave it with `exit`";
const BEGINS: &str = "node-agent 0";
const SOON: Duration = Duration::from_secs(120);

fn power_on(test: &TestFarm, image: &Path) -> QemuMachine {
    let spec = MachineSpec {
        kernel: Some(images::direct_kernel(image, STRAY_MAC, WORDS)),
        memory_mib: 768,
        cpus: 1,
        has_watchdog: true,
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    machine
}

fn shows(machine: &QemuMachine, text: &str) {
    machine
        .wait_for_console(text, SOON)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}

/// Types a line and waits for what it prints, which is not what is typed.
fn answers(machine: &QemuMachine, line: &str, answer: &str) {
    assert!(!line.contains(answer), "{answer:?} is typed");
    machine
        .type_slowly(&format!("{line}\n"))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    shows(machine, answer);
}

#[test]
fn a_shell_is_for_who_asks_and_carries_one() {
    let Some(artefacts) = artefacts() else { return };
    let plain = artefacts.image.clone();
    let scratch = tempfile::tempdir().expect("a folder");
    let variant = Variant {
        base: &plain,
        folder: scratch.path(),
        name: "with-shell",
    };
    let carrying = variant.with_archive(images::shell());
    let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let pool = Pool {
            name: "strays",
            ..Pool::default()
        };
        vec![manifests::pool(facts, &pool)]
    });
    let since = now();
    let machine = power_on(&test, &carrying);
    shows(&machine, OPENS);
    answers(&machine, "echo sum$((6*7))", "sum42");
    answers(
        &machine,
        "read name < /proc/1/comm; echo $name-$((1+1))",
        "init-2",
    );
    // A terminal of its own, so that what hangs can be stopped.
    answers(&machine, ": < /dev/tty && echo tty$((1+1))", "tty2");
    machine
        .type_slowly("while :; do :; done\n")
        .and_then(|()| machine.type_slowly("\u{3}"))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    answers(&machine, "echo back$((1+1))", "back2");
    // What is known is known before somebody leaves the shell.
    let boots = test.farm.boots().expect("boots");
    let boot = latest_boot(&STRAY_MAC.dashed(), since, &boots).expect("its boot");
    let reason = boot.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("a drill"), "{boot:#?}");
    machine
        .type_slowly("exit\n")
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let again = until(SOON, || {
        let text = console::text(&machine.console_log());
        (text.matches(BEGINS).count() >= 2).then_some(())
    });
    again.expect("it restarts when the shell ends");
    drop(machine);

    std::fs::remove_file(layout::stray(test.farm.layout(), Firmware::Bios).console_log())
        .expect("a new console");
    let machine = power_on(&test, &plain);
    shows(
        &machine,
        "asks for a shell, but this initramfs carries none",
    );
    shows(&machine, "restarting the machine");
}
