//! Two NICs as one: a cable pulled while the image is on its way and again when
//! the machine is up, a switch that speaks LACP, a network with a VLAN tag.

use std::time::Duration;

use boot_proto::ids::MacAddr;
use moonfarm_tests::lab::farm::layout::BRIDGE;
use moonfarm_tests::lab::{NicSpec, QemuMachine, Switch, console};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::cabling::{Bench, mac, tap};
use crate::support::now;

/// How long a bond may take to move to the other NIC: its monitor looks ten times
/// a second.
const TO_MOVE: Duration = Duration::from_secs(20);
const VLAN: u16 = 77;

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
    let Some(bench) = Bench::start(network, 2) else {
        return;
    };
    for at in 0..2 {
        let namespace = bench.test.farm.namespace();
        namespace.add_tap(&tap(at), BRIDGE).expect("a tap");
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
    until(TO_MOVE, || has_port(mac(0), "up")).expect("the first cable is seen");
    set_link(&mut machine, 1, false);
    bench
        .test
        .say("pulled the second cable in the booted system");
    let second = until(TO_MOVE, || has_port(mac(1), "down"));
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
                   miimon: 100, transmitHashPolicy: layer3+4, adActorSystemPriority: 7, \
                   adActorSystem: 02:00:00:00:0a:09, adUserPortKey: 3, gratuitousArp: 2, \
                   peerNotifyDelay: 200}, lease: static}}}";
    let Some(bench) = Bench::start(network, 2) else {
        return;
    };
    let switch = Switch::start(bench.test.farm.namespace(), BRIDGE, None)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    switch
        .add_lacp_bond("lag", &[&tap(0), &tap(1)])
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
    // What the partner hears is what the initramfs said to the driver.
    for part in [
        "partner sys_id: 02:00:00:00:0a:09",
        "partner sys_priority: 7",
    ] {
        assert_eq!(shown.matches(part).count(), 2, "{part}: {shown}");
    }
    let keys = shown
        .lines()
        .filter_map(|line| line.trim().strip_prefix("partner key: "));
    let keys: Vec<u16> = keys.filter_map(|key| key.parse().ok()).collect();
    assert!(
        keys.len() == 2 && keys.iter().all(|key| key >> 6 == 3),
        "{keys:?}"
    );
    let seen = bench.ask(at, LOOK);
    bench.test.say(&seen);
    assert!(seen.contains("IEEE 802.3ad"), "{seen}");
    assert!(seen.contains("Peer Notification Delay (ms): 200"), "{seen}");
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
    let Some(bench) = Bench::start(network, 2) else {
        return;
    };
    let switch = Switch::start(bench.test.farm.namespace(), BRIDGE, Some(VLAN))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    for at in 0..2 {
        switch
            .add_trunk(&tap(at), VLAN)
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
