//! Cards that the initramfs has to bring up, by the models that QEMU has of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::process::{output, run};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, QemuMachine, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images::{self, Variant};
use crate::initramfs::with_other_packings;
use crate::support::{TestFarm, artefacts};

/// QEMU's names of them, and their drivers.
const MODELS: [(&str, &str); 6] = [
    ("virtio-net-pci", "virtio_net"),
    ("e1000", "e1000"),
    ("e1000e", "e1000e"),
    ("vmxnet3", "vmxnet3"),
    ("rtl8139", "8139cp"),
    ("igb", "igb"),
];
/// QEMU has it from 8.0 on, and the others from times before any that still runs.
const RECENT: &str = "igb";
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
    format!("card-{}", MODELS[at].0)
}

/// Those of [`MODELS`] that the installed QEMU has; says which it has not.
fn present() -> Vec<usize> {
    let help = run("qemu-system-x86_64", ["-device", "help"]);
    let help = help.unwrap_or_else(|error| panic!("{}", error.chain()));
    let has_recent = help.contains(&format!("name \"{RECENT}\""));
    if !has_recent {
        println!("without {RECENT}, which QEMU has from 8.0 on");
    }
    let is_there = |at: &usize| has_recent || MODELS[*at].0 != RECENT;
    (0..MODELS.len()).filter(is_there).collect()
}

/// A farm that knows a machine for each card.
fn farm() -> Option<(TestFarm, PathBuf)> {
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
        model: MODELS[*at].0.into(),
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

/// An image with the drivers of virtual machines, which are packed by xz, zstd, gzip
/// or not at all.
fn with_all_packings(folder: &Path, image: &Path) -> Option<PathBuf> {
    let modules = needs::folder("MOONFARM_MODULES")?;
    let release = images::manifest(image).kernel_release;
    let root = with_other_packings(&modules, &release, folder);
    built(folder, image, "packings", &root, &[])
}

/// All of them in one machine that nobody told which is its boot NIC. It goes on
/// with those that have their carrier 2 s after the first. The kernel unpacks what it
/// can (Debian's: xz), and node-agent the others.
#[test]
fn every_card_has_a_driver() {
    if !needs::has_virtual_machines() {
        return;
    }
    let Some((test, image)) = farm() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let Some(image) = with_all_packings(scratch.path(), &image) else {
        return;
    };
    let all = present();
    // The second BOOTIF unsays the first: nobody knows which card booted.
    let machine = power_on(&test, &image, "all-cards", &all, "BOOTIF=");
    let log = log_with(&machine, "leased by ");
    let line = |text: &str| log.lines().find(|line| line.contains(text));
    let modules = line("moonfarm: modules: ").expect("modules are loaded");
    test.say(modules);
    let unpacked = modules.split("unpacked for the kernel: ").nth(1);
    let unpacked = unpacked.and_then(|text| text.split(';').next());
    let mut unpacked: Vec<&str> = unpacked.unwrap_or_default().split(' ').collect();
    unpacked.sort_unstable();
    assert_eq!(unpacked, ["e1000e", "virtio_net"], "{modules}");
    test.say(line("carrier on ").expect("a card has its carrier"));
    for at in all {
        let driver = MODELS[at].1;
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
    for at in present() {
        let model = MODELS[at].0;
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

/// An image whose initramfs has the driver e100 and, of its firmware, what is in
/// `firmware`.
fn with_e100(folder: &Path, image: &Path, firmware: &[(&str, Vec<u8>)]) -> Option<PathBuf> {
    let modules = needs::folder("MOONFARM_MODULES")?;
    let root = folder.join("root");
    let own = root.join("usr/lib/firmware/e100");
    fs::create_dir_all(&own).expect("a folder");
    symlink(
        modules.join("usr/lib/modules"),
        root.join("usr/lib/modules"),
    )
    .expect("a link");
    for (name, content) in firmware {
        fs::write(own.join(name), content).expect("written");
    }
    built(folder, image, "e100", &root, &["--module", "e100"])
}

/// The image with an initramfs for virtual machines, built of the modules in `root`.
fn built(folder: &Path, image: &Path, name: &str, root: &Path, words: &[&str]) -> Option<PathBuf> {
    let agent = needs::folder("MOONFARM_NODE_AGENT")?;
    let file = folder.join(format!("{name}.img"));
    let mut command = Command::new(agent);
    command
        .args(["initramfs", "--drivers", "virtual"])
        .args(words);
    command.args(["--kernel-release", &images::manifest(image).kernel_release]);
    command.arg("--root").arg(root).arg("--output").arg(&file);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    let variant = Variant {
        base: image,
        folder,
        name,
    };
    Some(variant.with_initramfs(&fs::read(file).expect("an initramfs")))
}

/// The card asks for microcode when it is set up, and works without: with it, the
/// driver has nothing to complain of.
#[test]
fn a_card_gets_the_firmware_that_its_module_names() {
    const COMPLAINT: &str = "Needs \"e100/d101s_ucode.bin\"";
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let Some((test, image)) = farm() else { return };
    // 134 words and three places in them, packed as distributions do.
    let microcode = zstd::encode_all(&[0; 134 * 4 + 3][..], 3).expect("packed");
    let files = [("d101s_ucode.bin.zst", microcode)];
    for (name, files) in [("bare", &[][..]), ("supplied", &files)] {
        let scratch = tempfile::tempdir().expect("a folder");
        let Some(image) = with_e100(scratch.path(), &image, files) else {
            return;
        };
        let nic = NicSpec {
            model: "i82559er".into(),
            ..NicSpec::new(mac_of(0), &port(0))
        };
        let spec = MachineSpec {
            name: name.into(),
            firmware: Firmware::Bios,
            nics: vec![nic],
            memory_mib: MEMORY_MIB,
            cpus: 1,
            folder: test.farm.layout().machine(name),
            kernel: Some(images::direct_kernel(&image, mac_of(0), "")),
            ..MachineSpec::default()
        };
        let mut machine = test.farm.machine(spec);
        machine
            .power_on()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let log = log_with(&machine, "leased by ");
        assert_eq!(log.contains(COMPLAINT), files.is_empty(), "{name}: {log}");
    }
}
