//! Two NICs as one: a cable pulled while the image is on its way and again when
//! the machine is up, a switch that speaks LACP, a network with a VLAN tag.

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::cmdline::BootArguments;
use boot_proto::ids::MacAddr;
use boot_proto::resources::NetworkSpec;
use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::{Firmware, MachineSpec, NicSpec, QemuMachine, Switch, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images;
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts, now};

const TO_SHELL: Duration = Duration::from_secs(120);
/// How long a bond may take to move to the other NIC: its monitor looks ten times
/// a second.
const TO_MOVE: Duration = Duration::from_secs(20);
const MACS: [MacAddr; 2] = [
    MacAddr::new([0x52, 0x54, 0, 0xb0, 0x0d, 1]),
    MacAddr::new([0x52, 0x54, 0, 0xb0, 0x0d, 2]),
];
const TAPS: [&str; 2] = ["port1", "port2"];
const VLAN: u16 = 77;

/// A farm with one machine of two NICs whose profile has this network, as a YAML
/// flow mapping.
struct Bench {
    test: TestFarm,
    shell: Shell,
    network: NetworkSpec,
    _scratch: tempfile::TempDir,
}

impl Bench {
    fn start(network: &str) -> Option<Self> {
        let artefacts = artefacts()?;
        let scratch = tempfile::tempdir().expect("a folder");
        let mut shell = Shell::new(scratch.path());
        let key = shell.public_key();
        let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
            let profile = format!(
                "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata:\n  name: cabled\n\
                 spec:\n  sshAuthorizedKeys: [\"{key}\"]\n  network: {network}\n"
            );
            let pool = Pool {
                name: "cabled",
                machines: Some("names: [cabled]"),
                profiles: &["cabled"],
                ..Pool::default()
            };
            vec![
                ("profile-cabled.yaml".into(), profile),
                manifests::machine_by_macs("cabled", &MACS),
                manifests::pool(facts, &pool),
            ]
        });
        shell.within(test.farm.namespace());
        let network = serde_yaml_ng::from_str(network).expect("a network");
        Some(Self {
            test,
            shell,
            network,
            _scratch: scratch,
        })
    }

    fn spec(&self, model: &str) -> MachineSpec {
        let nic = |at: usize| NicSpec {
            model: model.into(),
            ..NicSpec::new(MACS[at], TAPS[at])
        };
        MachineSpec {
            name: "cabled".into(),
            firmware: Firmware::Bios,
            nics: vec![nic(0), nic(1)],
            memory_mib: 2048,
            cpus: 2,
            folder: self.test.farm.layout().machine("cabled"),
            ..MachineSpec::default()
        }
    }

    /// The machine with its kernel loaded already: the loader cannot do what the
    /// switch asks for.
    fn spec_without_firmware(&self, model: &str) -> MachineSpec {
        let image = needs::folder("MOONFARM_IMAGE").expect("an image");
        let own = BootArguments {
            network: self.network.clone(),
            ..BootArguments::default()
        };
        MachineSpec {
            kernel: Some(images::direct_kernel(&image, MACS[0], &own.render())),
            ..self.spec(model)
        }
    }

    fn power_on(&self, spec: MachineSpec) -> QemuMachine {
        let mut machine = self.test.farm.machine(spec);
        machine
            .power_on()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        machine
    }

    /// Waits for a phase and returns the machine's address.
    fn wait_for(&self, phase: &str, machine: &QemuMachine, since: WallClock) -> Ipv4Addr {
        let mut shown = String::new();
        let address = until(TO_READY, || {
            let boots = self.test.farm.boots().ok()?;
            let boot = latest_boot("cabled", since, &boots)?;
            if boot.phase != shown {
                self.test.say(&format!("{}: {:?}", boot.phase, boot.reason));
                shown.clone_from(&boot.phase);
            }
            let is_there = boot.phase == phase
                || ["image", "root", "configure", "switch-root", "ready"]
                    .iter()
                    .skip_while(|own| **own != phase)
                    .any(|own| boot.phase == *own);
            is_there.then_some(boot.address)?
        });
        address.unwrap_or_else(|| {
            let log = machine.console_log();
            self.test.explain("cabled", since, &log);
            panic!("it does not get to {phase}");
        })
    }

    fn ask(&self, at: Ipv4Addr, script: &str) -> String {
        self.shell.wait_and_run(at, TO_SHELL, script)
    }
}

/// What a bond of the booted machine says of itself, and how often it lost its
/// carrier since systemd-networkd looks.
const LOOK: &str = "cat /proc/sys/kernel/random/boot_id; cat /proc/net/bonding/bond0; \
    ip -4 -o address show dev bond0; \
    echo lost $(journalctl -b -o cat -u systemd-networkd | grep -c 'bond0: Lost carrier'); \
    /usr/libexec/netplan/generate && echo netplan is content; \
    networkctl --no-pager list bond0 2>/dev/null | tail -n +2; true";

fn set_link(machine: &mut QemuMachine, nic: usize, up: bool) {
    machine
        .set_link(nic, up)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}

#[test]
fn a_bond_boots_and_lives_on_whichever_cable_is_left() {
    if !needs::has_virtual_machines() {
        return;
    }
    let network = "{interfaces: {nic0: {match: {boot: true}}, nic1: {match: {boot: false}}, \
                   bond0: {bond: {ports: [nic0, nic1], mode: active-backup, miimon: 100}, \
                   lease: static}}}";
    let Some(bench) = Bench::start(network) else {
        return;
    };
    for tap in TAPS {
        let namespace = bench.test.farm.namespace();
        namespace.add_tap(tap, BRIDGE).expect("a tap");
    }
    let since = now();
    let mut machine = bench.power_on(bench.spec(NicSpec::VIRTIO));
    bench.wait_for("image", &machine, since);
    set_link(&mut machine, 0, false);
    bench.test.say("pulled the first cable during the download");
    let at = bench.wait_for("switch-root", &machine, since);
    let log = console::text(&machine.console_log());
    let position = |text: &str| {
        log.find(text)
            .unwrap_or_else(|| panic!("{text:?} is not on the console"))
    };
    let pulled = position("link status definitely down");
    assert!(
        pulled < position(" is right"),
        "the cable was pulled after the download"
    );
    let first = bench.ask(at, LOOK);
    bench.test.say(&first);
    assert!(first.contains(&format!("inet {at}/24")), "{first}");
    assert!(first.contains("netplan is content"), "{first}");
    assert!(
        first.contains("lost 0"),
        "the bond lost its carrier: {first}"
    );

    set_link(&mut machine, 0, true);
    let has_port = |mac: MacAddr, state: &str| {
        let seen = bench.ask(at, LOOK);
        let ports = seen.split("Slave Interface:").skip(1);
        let mut own = ports.filter(|port| port.contains(&mac.to_string()));
        own.any(|port| port.contains(&format!("MII Status: {state}")))
            .then_some(seen)
    };
    until(TO_MOVE, || has_port(MACS[0], "up")).expect("the first cable is seen");
    set_link(&mut machine, 1, false);
    bench
        .test
        .say("pulled the second cable in the booted system");
    let second = until(TO_MOVE, || has_port(MACS[1], "down"));
    let second = second.expect("the second cable is missed");
    bench.test.say(&second);
    assert_eq!(
        second.lines().next(),
        first.lines().next(),
        "it booted anew"
    );
    assert!(second.contains(&format!("inet {at}/24")), "{second}");
    assert!(second.contains("lost 0"), "{second}");
}

/// Open vSwitch is the partner, and passes nothing where LACP has not come about.
#[test]
fn a_bond_with_lacp_boots_through_a_switch_that_insists() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let network = "{interfaces: {nic0: {match: {boot: true}}, nic1: {match: {boot: false}}, \
                   bond0: {bond: {ports: [nic0, nic1], mode: 802.3ad, lacpRate: fast, \
                   miimon: 100, transmitHashPolicy: layer3+4}, lease: static}}}";
    let Some(bench) = Bench::start(network) else {
        return;
    };
    let switch = Switch::start(bench.test.farm.namespace(), BRIDGE, None)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    switch
        .add_lacp_bond("lag", &TAPS)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let since = now();
    let mut machine = bench.power_on(bench.spec_without_firmware("e1000"));
    let at = bench.wait_for("switch-root", &machine, since);
    let shown = switch
        .lacp()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    bench.test.say(&shown);
    assert!(shown.contains("status: active negotiated"), "{shown}");
    assert_eq!(shown.matches("current attached").count(), 2, "{shown}");
    let seen = bench.ask(at, LOOK);
    bench.test.say(&seen);
    assert!(seen.contains("IEEE 802.3ad"), "{seen}");
    assert!(seen.contains("Number of ports: 2"), "{seen}");
    assert!(seen.contains(&format!("inet {at}/24")), "{seen}");
    assert!(seen.contains("lost 0"), "{seen}");
    set_link(&mut machine, 0, false);
    let after = until(TO_MOVE, || {
        let seen = bench.ask(at, LOOK);
        seen.contains("Number of ports: 1").then_some(seen)
    });
    let after = after.expect("the bond goes on with one port");
    assert_eq!(after.lines().next(), seen.lines().next(), "it booted anew");
}

#[test]
fn a_network_with_a_vlan_tag_is_booted_over() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let network = "{interfaces: {nic0: {match: {boot: true}}, \
                   tagged: {vlan: {link: nic0, id: 77}, lease: static}}}";
    let Some(bench) = Bench::start(network) else {
        return;
    };
    let switch = Switch::start(bench.test.farm.namespace(), BRIDGE, Some(VLAN))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    for tap in TAPS {
        switch
            .add_trunk(tap, VLAN)
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }
    let since = now();
    let machine = bench.power_on(bench.spec_without_firmware("e1000"));
    let at = bench.wait_for("switch-root", &machine, since);
    let seen = bench.ask(
        at,
        "ip -d -o link show dev tagged; ip -4 -o address show dev tagged; \
         networkctl --no-pager list tagged; journalctl -b -o cat -u systemd-networkd | grep -c 'tagged: Lost carrier'; true",
    );
    bench.test.say(&seen);
    assert!(seen.contains("vlan protocol 802.1Q id 77"), "{seen}");
    assert!(seen.contains(&format!("inet {at}/24")), "{seen}");
    assert!(seen.contains("configured"), "{seen}");
    assert!(seen.trim_end().ends_with('0'), "{seen}");
}
