//! Boots that cannot succeed, each in another phase: a person reads why on the
//! console, boot-server knows why, and the machine restarts or waits as it was
//! told.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boot_proto::ids::{Digest, MacAddr};
use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Facts, Manifest, Pool};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, QemuMachine, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images::{self, Variant};
use crate::support::{TestFarm, artefacts, keep_picture};

/// How long a machine may take until it says why it stops.
const TO_THE_END: Duration = Duration::from_secs(150);
/// The same where it waits for what does not come: links, addresses, an answer.
const TO_THE_END_OF_WAITING: Duration = Duration::from_secs(600);
/// How long a restart may take once it is announced: the pause and the kernel.
const TO_RESTART: Duration = Duration::from_secs(120);
/// What the agent says first.
const BEGINS: &str = "node-agent 0";
const LOUD: &str = "THE BOOT STOPPED IN PHASE";

/// A way to fail.
struct Case {
    /// Name of it, of its image and of its pool.
    name: &'static str,
    /// What its squashfs is; the node image's own where there is none.
    root: Option<Vec<u8>>,
    memory_mib: u32,
    /// Further words for the kernel.
    words: &'static str,
    /// The phase it stops in.
    phase: &'static str,
    /// What the reason has to say.
    reason: &'static str,
    /// Whether anybody but the console can know.
    is_heard: bool,
    /// Whether firmware and loader come first, so that boot-server counts.
    by_firmware: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: "",
            root: None,
            memory_mib: 768,
            words: "",
            phase: "",
            reason: "",
            is_heard: true,
            by_firmware: false,
        }
    }
}

/// A case under way.
struct Try<'a> {
    case: &'a Case,
    mac: MacAddr,
    machine: QemuMachine,
}

/// The farm with an image and a pool for each case.
struct Field {
    test: TestFarm,
    base: PathBuf,
    scratch: tempfile::TempDir,
}

fn mac_of(at: usize) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0xfa, 0x11, u8::try_from(at).expect("few")])
}

impl Field {
    fn start(cases: &[Case], more: &[Manifest]) -> Option<Self> {
        let artefacts = artefacts()?;
        let base = artefacts.image.clone();
        let scratch = tempfile::tempdir().expect("a folder");
        let pools = |facts: &Facts<'_>| {
            let mut pools: Vec<Manifest> = cases
                .iter()
                .enumerate()
                .flat_map(|(at, case)| {
                    [
                        manifests::machine_by_macs(case.name, &[mac_of(at)]),
                        pool(facts, case),
                    ]
                })
                .collect();
            pools.extend(more.iter().cloned());
            pools
        };
        let test = TestFarm::start(artefacts, Vec::new(), None, &pools);
        let field = Self {
            test,
            base,
            scratch,
        };
        for (at, case) in cases.iter().enumerate() {
            field.provide(at, case);
        }
        Some(field)
    }

    /// The case's image and the port of its machine.
    fn provide(&self, at: usize, case: &Case) {
        if let Some(root) = &case.root {
            let variant = Variant {
                base: &self.base,
                folder: self.scratch.path(),
                name: case.name,
            };
            self.test
                .farm
                .add_image(&variant.with_root(root))
                .unwrap_or_else(|error| panic!("{}: {}", case.name, error.chain()));
        }
        self.test
            .farm
            .namespace()
            .add_tap(&format!("fail{at}"), BRIDGE)
            .expect("a tap");
    }

    fn power_on<'a>(&self, at: usize, case: &'a Case) -> Try<'a> {
        let mac = mac_of(at);
        let direct = images::direct_kernel(&self.base, mac, case.words);
        let spec = MachineSpec {
            name: case.name.into(),
            firmware: Firmware::Bios,
            nics: vec![NicSpec::new(mac, &format!("fail{at}"))],
            memory_mib: case.memory_mib,
            cpus: 1,
            folder: self.test.farm.layout().machine(case.name),
            kernel: (!case.by_firmware).then_some(direct),
            has_screen: true,
            has_watchdog: true,
            ..MachineSpec::default()
        };
        let mut machine = self.test.farm.machine(spec);
        machine
            .power_on()
            .unwrap_or_else(|error| panic!("{}: {}", case.name, error.chain()));
        Try { case, mac, machine }
    }
}

fn pool(facts: &Facts<'_>, case: &Case) -> Manifest {
    let own = Facts {
        image: if case.root.is_some() {
            case.name
        } else {
            facts.image
        },
        ..facts.clone()
    };
    let machines = format!("names: [{}]", case.name);
    let pool = Pool {
        name: case.name,
        machines: Some(&machines),
        ..Pool::default()
    };
    manifests::pool(&own, &pool)
}

impl Try<'_> {
    fn console(&self) -> String {
        console::text(&self.machine.console_log())
    }

    /// Waits for the large words on the console, and for the reason in
    /// boot-server's books.
    fn stops(&mut self, field: &Field, patience: Duration) {
        let case = self.case;
        let title = format!("{LOUD} \"{}\"", case.phase.to_uppercase());
        let said = until(patience, || {
            let text = self.console();
            let from = text.find(LOUD)?;
            let told = text.get(from..)?.to_owned();
            told.contains("What next:").then_some(told)
        });
        let Some(said) = said else {
            let log = self.machine.console_log();
            field.test.explain(case.name, WallClock(0), &log);
            panic!("{}: it does not say that it stops", case.name);
        };
        keep_picture(&mut self.machine, case.name);
        field.test.say(&format!("{}:\n{}", case.name, block(&said)));
        assert!(said.starts_with(&title), "{}: {said}", case.name);
        assert!(flat(&said).contains(case.reason), "{}: {said}", case.name);
        for word in ["Why:", "Tried:", "Look at:", "What next:"] {
            assert!(said.contains(word), "{}: no {word} in {said}", case.name);
        }
        if case.is_heard {
            self.is_in_the_books(field);
        }
    }

    fn is_in_the_books(&self, field: &Field) {
        let case = self.case;
        let known = until(Duration::from_secs(30), || {
            let boots = field.test.farm.boots().ok()?;
            let boot = boots.iter().rfind(|boot| boot.mac == Some(self.mac))?;
            let reason = boot.reason.clone()?;
            (boot.phase == case.phase && reason.contains(case.reason)).then(|| boot.clone())
        });
        let boots = field.test.farm.boots().expect("boots");
        let latest = latest_boot(case.name, WallClock(0), &boots);
        let boot = known.unwrap_or_else(|| panic!("{}: {latest:#?}", case.name));
        assert!(
            boot.steps
                .iter()
                .any(|step| step.message.contains(case.reason)),
            "{}: not in its timeline: {boot:#?}",
            case.name
        );
        let table = field.test.farm.get(&["boots"]).expect("a table");
        assert!(table.contains(case.phase), "{table}");
    }

    /// Waits until it has begun `count` times in all.
    fn begins_again(&self, count: usize) {
        let again = until(TO_RESTART, || {
            (self.console().matches(BEGINS).count() >= count).then_some(())
        });
        let log = self.machine.console_log();
        assert!(
            again.is_some(),
            "{} does not restart; its console ends:\n{}",
            self.case.name,
            console::last_lines(&log, 30)
        );
    }
}

/// The lines of the large words, which have the same mark in front.
fn block(said: &str) -> String {
    let lines = said.lines().take_while(|line| !line.starts_with("====="));
    lines.collect::<Vec<_>>().join("\n")
}

/// The text of the large words without its line breaks.
fn flat(said: &str) -> String {
    let lines = block(said);
    let words = lines
        .lines()
        .flat_map(|line| line.trim_start_matches("==").split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

fn quick_cases(folder: &Path) -> Vec<Case> {
    vec![
        Case {
            name: "no-squashfs",
            root: Some(vec![0x5a; 1 << 20]),
            phase: "root",
            reason: "squashfs",
            by_firmware: true,
            ..Case::default()
        },
        Case {
            name: "no-init",
            root: Some(images::squashfs(
                folder,
                &[("usr/bin/tool", b"#!/bin/sh\n")],
                &[],
            )),
            words: "moonfarm.on-failure=wait",
            phase: "root",
            reason: "the image has no /sbin/init that can be run",
            ..Case::default()
        },
        Case {
            name: "image-damaged",
            root: Some(b"an image that will rot".repeat(4096)),
            phase: "image",
            reason: "digest",
            ..Case::default()
        },
        Case {
            name: "no-room",
            memory_mib: 384,
            phase: "config",
            reason: "not enough memory",
            ..Case::default()
        },
        Case {
            name: "panic",
            words: "moonfarm.drill=config",
            phase: "config",
            reason: "a mistake in node-agent itself: a drill",
            ..Case::default()
        },
    ]
}

#[test]
fn each_phase_that_fails_says_why_and_the_machine_restarts() {
    if !needs::has_virtual_machines() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let cases = quick_cases(scratch.path());
    let Some(field) = Field::start(&cases, &[]) else {
        return;
    };
    spoil_image(&field, &cases[2]);
    let mut tries: Vec<Try<'_>> = Vec::new();
    // The one that goes by firmware takes longest, and goes twice.
    for (at, case) in cases.iter().enumerate() {
        tries.push(field.power_on(at, case));
    }
    for failing in &mut tries[1..] {
        failing.stops(&field, TO_THE_END);
    }
    let waiting = tries[1].console();
    assert!(
        flat(waiting.split(LOUD).nth(1).unwrap_or_default())
            .contains("this machine waits for a person")
    );
    for restarting in &tries[2..] {
        restarting.begins_again(2);
    }
    assert_eq!(
        tries[1].console().matches(BEGINS).count(),
        1,
        "one that waits restarted"
    );
    tries.truncate(1);
    pauses_grow(&field, &mut tries[0]);
}

/// With each failure in a row, as boot-server counts them.
fn pauses_grow(field: &Field, failing: &mut Try<'_>) {
    failing.stops(field, TO_THE_END);
    failing.begins_again(2);
    let pause = |said: &str| -> Option<u32> {
        let words = flat(said);
        let rest = words.split("this machine restarts in ").nth(1)?;
        rest.split(' ').next()?.parse().ok()
    };
    let pauses = until(TO_THE_END, || {
        let text = failing.console();
        let all: Vec<u32> = text.split(LOUD).skip(1).filter_map(pause).collect();
        (all.len() >= 2).then_some(all)
    });
    let pauses = pauses.expect("it fails again");
    assert!(pauses[1] >= pauses[0] * 3 / 2, "{pauses:?} do not grow");
}

/// Changes the image of a case on boot-server's disk.
fn spoil_image(field: &Field, case: &Case) {
    let root = case.root.as_deref().expect("an image of its own");
    let digest = Digest::of(root).hex();
    let mut folders = vec![field.test.farm.layout().state()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder").map_while(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(&digest) {
                files.push(path);
            }
        }
    }
    assert_eq!(files.len(), 1, "{files:?}");
    fs::remove_file(&files[0]).expect("the link is removed");
    let spoiled: Vec<u8> = root.iter().map(|byte| byte ^ 1).collect();
    fs::write(&files[0], spoiled).expect("written");
}

/// Systemd is handed an armed watchdog: a root that hangs before it feeds it is
/// reset. And where init ends, so that the kernel panics, the kernel restarts.
#[test]
fn a_root_that_hangs_or_panics_is_a_restart() {
    if !needs::has_virtual_machines() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let root = |init: Vec<u8>| {
        images::squashfs(
            scratch.path(),
            &[("usr/lib/systemd/systemd", &init)],
            &[("sbin/init", "../usr/lib/systemd/systemd")],
        )
    };
    let cases = [
        Case {
            name: "hang",
            root: Some(root(images::hanging_program())),
            words: "moonfarm.watchdog=20",
            ..Case::default()
        },
        Case {
            name: "kernel-panic",
            root: Some(root(images::ending_program())),
            words: "moonfarm.watchdog=0",
            ..Case::default()
        },
    ];
    let Some(field) = Field::start(&cases, &[]) else {
        return;
    };
    let lost = [(0, "starting /sbin/init"), (1, "Kernel panic")]
        .map(|(at, words)| (field.power_on(at, &cases[at]), words));
    for (machine, words) in &lost {
        machine
            .machine
            .wait_for_console(words, TO_THE_END)
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }
    for (machine, _) in &lost {
        machine.begins_again(2);
    }
}

/// Links without carrier, nobody who answers DHCP, a boot config that is refused:
/// all of which may get better, so that they are waited for.
#[test]
fn what_is_waited_for_in_vain_ends_in_a_restart_too() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let cases = [
        Case {
            name: "no-link",
            phase: "links",
            reason: "carrier",
            is_heard: false,
            ..Case::default()
        },
        Case {
            name: "no-dhcp",
            phase: "address",
            reason: "no DHCP server answered",
            is_heard: false,
            ..Case::default()
        },
        Case {
            name: "refused",
            root: Some(b"an image that will be forgotten".repeat(4096)),
            phase: "config",
            reason: "image",
            ..Case::default()
        },
    ];
    let Some(field) = Field::start(&cases, &[]) else {
        return;
    };
    let farm = &field.test.farm;
    farm.namespace()
        .ip(&["link", "set", "fail1", "nomaster"])
        .expect("the port is taken off the network");
    let forget = farm.boot_server_command(&["image", "remove", "refused", "--force"]);
    forget.unwrap_or_else(|error| panic!("{}", error.chain()));
    let mut tries = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let mut failing = field.power_on(at, case);
        if case.name == "no-link" {
            failing
                .machine
                .set_link(0, false)
                .unwrap_or_else(|error| panic!("{}", error.chain()));
        }
        tries.push(failing);
    }
    for failing in &mut tries {
        failing.stops(&field, TO_THE_END_OF_WAITING);
    }
    for failing in &tries {
        failing.begins_again(2);
    }
}
