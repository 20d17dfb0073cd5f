//! Each way from firmware to a running kernel: real firmware, loaders as Debian
//! packages them, up to the end of the initramfs.

use std::time::Duration;

use boot_proto::api::BootView;
use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::STRAY_MAC;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, QemuMachine, console};
use moonfarm_tests::wait::until;

use crate::support::{TO_READY, TestFarm, artefacts, now};

/// How long firmware may take to its prompt or its first words.
const FIRMWARE: Duration = Duration::from_secs(120);
/// How long a firmware that refused a loader is watched for going on.
const REFUSED: Duration = Duration::from_secs(15);

pub fn farm(lines: &[&str]) -> Option<TestFarm> {
    let artefacts = artefacts()?;
    let pool = Pool {
        name: "strays",
        lines,
        ..Pool::default()
    };
    let manifests = |facts: &manifests::Facts<'_>| vec![manifests::pool(facts, &pool)];
    Some(TestFarm::start(artefacts, Vec::new(), None, &manifests))
}

pub fn power_on(test: &TestFarm, firmware: Firmware) -> QemuMachine {
    let mut machine = test.farm.stray(firmware);
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    machine
}

/// The boot once the node agent has handed over to the image.
fn wait_for_handover(test: &mut TestFarm, machine: &QemuMachine) -> BootView {
    wait_for(test, machine, "it does not get to its own root", |boot| {
        // A machine without a cluster has no step after this one.
        matches!(boot.phase.as_str(), "switch-root" | "ready")
    })
}

/// The machine's boot once `is_there` says so.
fn wait_for(
    test: &mut TestFarm,
    machine: &QemuMachine,
    failure: &str,
    is_there: impl Fn(&BootView) -> bool,
) -> BootView {
    let name = STRAY_MAC.dashed();
    let since = boot_proto::time::WallClock(0);
    let mut shown = String::new();
    let boot = until(TO_READY, || {
        test.farm
            .check()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let boots = test.farm.boots().ok()?;
        let boot = latest_boot(&name, since, &boots)?;
        if boot.phase != shown {
            test.say(&format!("{}: {:?}", boot.phase, boot.reason));
            shown.clone_from(&boot.phase);
        }
        is_there(boot).then(|| boot.clone())
    });
    boot.unwrap_or_else(|| {
        test.explain(&name, since, &machine.console_log());
        panic!("{failure}");
    })
}

/// The boot once the node agent runs: firmware, loader and kernel are behind it.
pub fn wait_for_kernel(test: &mut TestFarm, machine: &QemuMachine) -> BootView {
    wait_for(test, machine, "the node agent does not run", |boot| {
        boot.steps.iter().any(|step| step.step == "config")
    })
}

pub fn has_step(boot: &BootView, text: &str) -> bool {
    boot.steps.iter().any(|step| step.message.contains(text))
}

/// The boot ROM of QEMU's NIC is an iPXE itself: it is told at its prompt to load
/// what a ROM without iPXE loads.
#[test]
fn bios_by_undionly() {
    let Some(mut test) = farm(&[]) else { return };
    let machine = power_on(&test, Firmware::Bios);
    prompt(&machine);
    machine
        .type_slowly("dhcp && chain tftp://${next-server}/undionly.kpxe\r")
        .expect("typed");
    let boot = wait_for_kernel(&mut test, &machine);
    assert!(has_step(&boot, "undionly.kpxe sent"), "{boot:#?}");
}

/// Brings the NIC's ROM to its prompt.
fn prompt(machine: &QemuMachine) {
    machine
        .wait_for_console("Ctrl-B", FIRMWARE)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    machine.type_on_console("\u{2}").expect("typed");
    machine
        .wait_for_console("iPXE>", FIRMWARE)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}

#[test]
fn uefi_by_grub() {
    let Some(mut test) = farm(&["loader: grub"]) else {
        return;
    };
    let machine = power_on(&test, Firmware::Uefi);
    let boot = wait_for_kernel(&mut test, &machine);
    assert!(has_step(&boot, "grubx64.efi sent"), "{boot:#?}");
}

/// Debian's signed GRUB has no HTTP inside, so that shim and GRUB alone come by
/// HTTP Boot; with a signed GRUB that has it, the rest would.
#[test]
fn shim_by_http_boot_brings_its_grub() {
    let lines = ["secureBoot: true", "loaders: {\"16\": shimx64.efi}"];
    let Some(test) = farm(&lines) else { return };
    let machine = power_on(&test, Firmware::SecureBootHttp);
    machine
        .wait_for_console("GNU GRUB", FIRMWARE)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}

#[test]
fn uefi_by_http_boot_without_tftp() {
    let Some(mut test) = farm(&[]) else { return };
    let machine = power_on(&test, Firmware::UefiHttp);
    let boot = wait_for_handover(&mut test, &machine);
    assert!(
        has_step(&boot, "/loaders/snponly.efi") && has_step(&boot, "loader sent"),
        "{boot:#?}"
    );
    assert_eq!(boot.firmware.as_deref(), Some("http"));
}

/// Firmware with Microsoft's keys, shim, Debian's signed GRUB and kernel.
#[test]
fn secure_boot_by_pxe() {
    let Some(mut test) = farm(&["secureBoot: true"]) else {
        return;
    };
    let machine = power_on(&test, Firmware::SecureBoot);
    let boot = wait_for_handover(&mut test, &machine);
    for file in ["shimx64.efi sent", "grubx64.efi sent"] {
        assert!(has_step(&boot, file), "{file}: {boot:#?}");
    }
    assert_secure(&machine);
}

/// The kernel's own words (`arch/x86/kernel/setup.c`), and that it locked itself.
fn assert_secure(machine: &QemuMachine) {
    let text = console::text(&machine.console_log());
    for words in ["Secure boot enabled", "Kernel is locked down"] {
        assert!(text.contains(words), "{words:?} is not on the console");
    }
}

/// Firmware that enforces Secure Boot runs no loader that nobody signed.
#[test]
fn an_unsigned_loader_is_refused_by_the_firmware() {
    let Some(test) = farm(&[]) else { return };
    let since = now();
    let machine = power_on(&test, Firmware::SecureBoot);
    let name = STRAY_MAC;
    let boot = |stage: &str| {
        let boots = test.farm.boots().ok()?;
        let boot = boots
            .iter()
            .rfind(|boot| boot.mac == Some(name) && boot.started >= since)?;
        (boot.steps.iter().any(|step| step.step == stage)).then(|| boot.clone())
    };
    let sent = until(TO_READY, || {
        boot("loader").filter(|boot| has_step(boot, "snponly.efi sent"))
    });
    if sent.is_none() {
        test.explain(&name.dashed(), since, &machine.console_log());
        panic!("the loader was not fetched");
    }
    machine
        .wait_for_console("Access Denied", FIRMWARE)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(until(REFUSED, || boot("script")).is_none(), "it ran");
}
