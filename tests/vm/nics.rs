//! Cards that the initramfs has to bring up, by the models that QEMU has of them.
//! igb is not among them before QEMU 8.

use std::path::Path;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, QemuMachine, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images;
use crate::support::{TestFarm, artefacts};

const MODELS: [&str; 5] = ["virtio-net-pci", "e1000", "e1000e", "vmxnet3", "rtl8139"];
/// How long a machine may take from its kernel's start to its boot config.
const TO_CONFIG: Duration = Duration::from_secs(180);
/// Less than any image needs, so that the boot ends with its boot config.
const MEMORY_MIB: u32 = 384;

fn mac_of(at: usize) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0x41, 0x1c, u8::try_from(at).expect("few")])
}

fn port(at: usize) -> String {
    format!("card{at}")
}

fn name_of(at: usize) -> String {
    format!("card-{}", MODELS[at])
}

/// A farm that knows a machine for each card.
fn farm() -> Option<(TestFarm, std::path::PathBuf)> {
    let artefacts = artefacts()?;
    let image = artefacts.image.clone();
    let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let machines =
            (0..MODELS.len()).map(|at| manifests::machine_by_macs(&name_of(at), &[mac_of(at)]));
        let pool = Pool {
            name: "cards",
            ..Pool::default()
        };
        machines.chain([manifests::pool(facts, &pool)]).collect()
    });
    for at in 0..MODELS.len() {
        let namespace = test.farm.namespace();
        namespace.add_tap(&port(at), BRIDGE).expect("a tap");
    }
    Some((test, image))
}

fn power_on(
    test: &TestFarm,
    image: &Path,
    name: &str,
    cards: &[usize],
    words: &str,
) -> QemuMachine {
    let nic = |at: &usize| NicSpec {
        model: MODELS[*at].into(),
        ..NicSpec::new(mac_of(*at), &port(*at))
    };
    let spec = MachineSpec {
        name: name.into(),
        firmware: Firmware::Bios,
        nics: cards.iter().map(nic).collect(),
        memory_mib: MEMORY_MIB,
        cpus: 1,
        folder: test.farm.layout().machine(name),
        kernel: Some(images::direct_kernel(image, mac_of(cards[0]), words)),
        ..MachineSpec::default()
    };
    let mut machine = test.farm.machine(spec);
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    machine
}

fn log_with(machine: &QemuMachine, word: &str) -> String {
    let found = until(TO_CONFIG, || {
        let text = console::text(&machine.console_log());
        text.contains(word).then_some(text)
    });
    found.unwrap_or_else(|| {
        let end = console::last_lines(&machine.console_log(), 40);
        panic!("no {word:?} on the console, which ends:\n{end}")
    })
}

/// All of them in one machine that nobody told which is its boot NIC. It goes on
/// with those that have their carrier 2 s after the first.
#[test]
fn every_card_has_a_driver() {
    if !needs::has_virtual_machines() {
        return;
    }
    let Some((test, image)) = farm() else { return };
    let all: Vec<usize> = (0..MODELS.len()).collect();
    // The second BOOTIF unsays the first: nobody knows which card booted.
    let machine = power_on(&test, &image, "all-cards", &all, "BOOTIF=");
    let log = log_with(&machine, "leased by ");
    let line = |text: &str| log.lines().find(|line| line.contains(text));
    let modules = line("moonfarm: modules: ").expect("modules are loaded");
    test.say(modules);
    test.say(line("carrier on ").expect("a card has its carrier"));
    for driver in ["virtio_net", "e1000", "e1000e", "vmxnet3", "8139cp"] {
        let mut words = modules.split([' ', ';']);
        let is_loaded = words.any(|word| word == driver);
        assert!(is_loaded, "{driver} is not in {modules}");
    }
}

/// Each alone, from the kernel's start to the boot config.
#[test]
fn each_card_alone_gets_a_machine_its_boot_config() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let Some((test, image)) = farm() else { return };
    for (at, model) in MODELS.iter().enumerate() {
        let machine = power_on(
            &test,
            &image,
            &name_of(at),
            &[at],
            "moonfarm.on-failure=wait",
        );
        let log = log_with(&machine, "not enough memory");
        let address = log.lines().find(|line| line.contains("leased by"));
        test.say(&format!("{model}: {}", address.unwrap_or_default()));
        assert!(address.is_some(), "{model}: {log}");
        let boots = test.farm.boots().expect("boots");
        assert!(
            boots.iter().any(|boot| boot.mac == Some(mac_of(at))),
            "{model}: {boots:#?}"
        );
    }
}
