//! The lab itself: what it starts and what it leaves behind.

use std::time::Duration;

use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::{Firmware, MachineSpec, Namespace, NicSpec, QemuMachine, Smbios};

use moonfarm_tests::needs;

const PATIENCE: Duration = Duration::from_secs(90);

fn machine(namespace: &Namespace, folder: &std::path::Path, firmware: Firmware) -> QemuMachine {
    let spec = MachineSpec {
        name: "lab".into(),
        firmware,
        nics: vec![NicSpec::new(
            MacAddr::new([0x52, 0x54, 0, 0x4d, 0x46, 1]),
            "t0",
        )],
        memory_mib: 256,
        cpus: 1,
        smbios: Smbios::default(),
        folder: folder.join("machine"),
        ..MachineSpec::default()
    };
    QemuMachine::new(spec, Some(namespace.name()))
}

/// Firmware of both kinds tries to boot from the network, again after a reset,
/// and nothing is left when the lab is gone.
#[test]
fn machines_try_the_network_and_leave_nothing_behind() {
    if !needs::has_virtual_machines() {
        return;
    }
    for (firmware, word) in [(Firmware::Bios, "iPXE"), (Firmware::Uefi, "PXE over IPv4")] {
        let folder = tempfile::tempdir().expect("a folder");
        let namespace = Namespace::create().expect("a namespace");
        namespace
            .add_bridge("br0", "10.77.0.1/24")
            .expect("a bridge");
        namespace.add_tap("t0", "br0").expect("a tap");
        let mut machine = machine(&namespace, folder.path(), firmware);
        machine.power_on().expect("powered on");
        machine
            .wait_for_console(word, PATIENCE)
            .expect("it tries the network");
        machine.reset().expect("reset");
        std::fs::write(machine.console_log(), "").expect("emptied");
        machine
            .wait_for_console(word, PATIENCE)
            .expect("it tries the network again");
        let name = namespace.name().to_owned();
        drop(namespace);
        assert!(!machine.is_on(), "the machine outlived its namespace");
        let list = moonfarm_tests::lab::process::run("ip", ["netns", "list"]).expect("a list");
        assert!(!list.contains(&name), "{list}");
    }
}
