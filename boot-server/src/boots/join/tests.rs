use std::net::Ipv4Addr;

use super::*;
use crate::boots::{Given, Script};
use crate::events::BootEvent;

const FIRST: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const SECOND: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4e4d31";

fn at(seconds: u64) -> WallClock {
    WallClock(1_700_000_000_000 + seconds * 1000)
}

fn offered(mac: MacAddr, firmware: Firmware, uuid: Option<&str>, name: Option<&str>) -> BootEvent {
    BootEvent::Offered {
        mac,
        address: Some(ADDRESS),
        firmware,
        uuid: uuid.map(str::to_owned),
        machine: name.map(str::to_owned),
        boot_file: Ok("undionly.kpxe".into()),
    }
}

fn script(mac: MacAddr, machine: &str) -> Script<'_> {
    Script {
        mac,
        address: ADDRESS,
        machine,
        firmware: Some("bios"),
        given: Given::Profile("p".into()),
    }
}

fn machines(book: &Book) -> Vec<(u64, Vec<MacAddr>)> {
    let view = |boot: &Boot| {
        let first = boot.view.mac.into_iter();
        let macs = first.chain(boot.more_macs.clone()).collect();
        (boot.view.id, macs)
    };
    book.boots().map(view).collect()
}

#[test]
fn a_loader_on_the_second_nic_is_the_same_boot() {
    let mut book = Book::default();
    book.event(at(0), offered(FIRST, Firmware::Bios, Some(UUID), None));
    book.event(at(5), offered(SECOND, Firmware::Ipxe, Some(UUID), None));
    assert_eq!(machines(&book), [(1, vec![FIRST, SECOND])]);
    book.script(at(6), &script(SECOND, "one"));
    assert_eq!(machines(&book).len(), 1);
    let boot = book.latest(FIRST).unwrap();
    assert_eq!(
        (boot.view.phase.as_str(), boot.view.machine.as_deref()),
        ("script", Some("one"))
    );
    let lines: Vec<&str> = boot
        .view
        .steps
        .iter()
        .map(|step| step.message.as_str())
        .collect();
    assert!(
        lines.contains(&"goes on from 02:00:00:00:00:02"),
        "{lines:?}"
    );

    // It is known by both after a restart, and goes as one.
    let (kept, _) = book.take_changes();
    let mut book = Book::new(kept);
    assert_eq!(book.latest(SECOND).map(|boot| boot.view.id), Some(1));
    book.event(at(200), offered(FIRST, Firmware::Bios, Some(UUID), None));
    assert_eq!(book.latest(FIRST).map(|boot| boot.view.id), Some(2));
    assert_eq!(book.latest(SECOND).map(|boot| boot.view.id), Some(1));
}

#[test]
fn a_script_from_another_nic_of_a_known_machine_is_the_same_boot() {
    let mut book = Book::default();
    book.event(at(0), offered(FIRST, Firmware::Uefi, None, Some("one")));
    book.script(at(9), &script(SECOND, "one"));
    assert_eq!(machines(&book), [(1, vec![FIRST, SECOND])]);
    book.script(at(10), &script(MacAddr::new([2, 0, 0, 0, 0, 3]), "two"));
    assert_eq!(machines(&book).len(), 2);
}

#[test]
fn a_borrowed_uuid_neither_ends_a_boot_nor_joins_another_machines() {
    let mut book = Book::default();
    book.event(
        at(0),
        offered(FIRST, Firmware::Bios, Some(UUID), Some("one")),
    );
    book.script(at(1), &script(FIRST, "one"));
    // Firmware starts from the front, while that boot is past it.
    book.event(at(2), offered(SECOND, Firmware::Bios, Some(UUID), None));
    assert_eq!(machines(&book), [(1, vec![FIRST]), (2, vec![SECOND])]);
    assert!(book.latest(FIRST).unwrap().is_running());
    // Known as another machine.
    let third = MacAddr::new([2, 0, 0, 0, 0, 3]);
    book.event(
        at(3),
        offered(third, Firmware::Ipxe, Some(UUID), Some("three")),
    );
    assert_eq!(book.latest(third).map(|boot| boot.view.id), Some(3));
}

#[test]
fn one_boot_has_a_bounded_number_of_nics_and_is_forgotten_whole() {
    let mut book = Book::default();
    book.event(at(0), offered(FIRST, Firmware::Ipxe, Some(UUID), None));
    for number in 0..100 {
        let mac = MacAddr::new([2, 0, 1, 0, 0, number]);
        book.event(at(1), offered(mac, Firmware::Ipxe, Some(UUID), None));
    }
    assert!(book.boots().all(|boot| boot.more_macs.len() <= MAX_MACS));
    for round in 1..40 {
        book.event(
            at(round * 1_000),
            offered(FIRST, Firmware::Bios, None, None),
        );
    }
    assert_eq!(
        book.latest(MacAddr::new([2, 0, 1, 0, 0, 0]))
            .map(|boot| boot.view.id),
        None
    );
}

#[test]
fn a_node_agent_begins_a_boot_only_where_the_last_is_over() {
    let mut book = Book::default();
    let asks = |mac, name: &str| BootEvent::AgentAsked {
        mac,
        machine: Some(name.to_owned()),
    };
    // Of a machine that never booted from here nothing is said.
    book.event(at(0), asks(FIRST, "one"));
    assert!(machines(&book).is_empty());
    book.event(at(1), offered(FIRST, Firmware::Bios, None, Some("one")));
    book.script(at(2), &script(FIRST, "one"));
    // In the course of a boot it goes on, also from another NIC.
    book.event(at(3), asks(FIRST, "one"));
    book.event(at(4), asks(SECOND, "one"));
    assert_eq!(machines(&book), [(1, vec![FIRST])]);
    book.ready(at(9), 1, "ready");
    let before = book.latest(FIRST).unwrap().asked;
    book.event(at(20), asks(SECOND, "one"));
    book.event(at(21), asks(SECOND, "one"));
    book.event(at(22), asks(FIRST, "one"));
    assert_eq!(machines(&book), [(1, vec![FIRST]), (2, vec![SECOND])]);
    let boot = book.latest(SECOND).unwrap();
    assert!(boot.is_running());
    assert_eq!((boot.asked, boot.view.started), (before, at(20)));
    assert!(boot.view.steps[0].message.contains("kexec"));
}
