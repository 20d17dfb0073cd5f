//! Thousands of machines that nobody declared, one after the other.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::farm::{Change, LearnedChassis, MachineStore};
use crate::inventory::{Inventory, LearnedMachine};
use crate::store::StoreError;

/// A store that keeps nothing, so that the farm's own work is what is seen.
#[derive(Debug)]
struct Nowhere;

impl MachineStore for Nowhere {
    fn load(&self) -> Result<Vec<LearnedMachine>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _: &[Change], _: Option<&LearnedChassis>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn stranger(number: u32) -> Client {
    let [_, a, b, c] = number.to_be_bytes();
    Client {
        mac: MacAddr::new([2, 0, 9, a, b, c]),
        uuid: Some(format!("{number:08x}-0000-4000-8000-0123456789ab")),
    }
}

fn farm() -> Farm {
    let declared = crate::manifests::tests::declared(FARM);
    Farm::open_shared(Arc::new(Nowhere), (*declared).clone()).unwrap()
}

/// The inventory made anew of all that is known.
fn anew(farm: &Farm) -> Inventory {
    let state = farm.lock();
    let learned = state.learned.values().cloned().collect();
    Inventory::new(Arc::clone(&state.declared), learned)
}

fn same(farm: &Farm, strangers: u32) {
    let (now, anew) = (farm.inventory(), anew(farm));
    assert_eq!(now.machines(), anew.machines());
    for number in 0..strangers {
        let client = stranger(number);
        let other_mac = Client {
            mac: MacAddr::new([2, 0, 8, 0, 0, 1]),
            ..client.clone()
        };
        assert_eq!(now.assign(&client), anew.assign(&client));
        assert_eq!(now.assign(&other_mac), anew.assign(&other_mac));
    }
}

#[test]
fn one_more_machine_is_not_a_look_at_all() {
    let farm = farm();
    for number in 0..5_000 {
        farm.met(&stranger(number), WallClock(1)).unwrap();
    }
    same(&farm, 5_000);
    // Met again, from another NIC, it is the machine it was.
    let again = Client {
        mac: MacAddr::new([2, 0, 7, 0, 0, 1]),
        ..stranger(7)
    };
    let met = farm.met(&again, WallClock(2)).unwrap();
    assert_eq!(met.machine, stranger(7).mac.dashed());
    assert_eq!(
        farm.inventory().machine_of_mac(again.mac),
        Some(&*met.machine)
    );
    same(&farm, 20);

    // Looking at all of them is what each one cost before. One alone has to be
    // far below that, on however slow a machine.
    let started = Instant::now();
    let _ = anew(&farm);
    let all = started.elapsed();
    let started = Instant::now();
    for number in 5_000..5_100 {
        farm.met(&stranger(number), WallClock(1)).unwrap();
    }
    let one = started.elapsed() / 100;
    println!("5,000 machines: {all:?} for all of them, {one:?} for one more");
    assert!(one * 10 < all, "{one:?} beside {all:?}");
}

#[test]
fn what_is_another_machines_takes_a_look_at_all() {
    let farm = farm();
    for number in 0..3 {
        farm.met(&stranger(number), WallClock(1)).unwrap();
    }
    // Two report one UUID: it tells neither from then on, nor a third.
    let shared = "12345678-0000-4000-8000-0123456789ab";
    for number in 0..3 {
        let facts = MachineFacts {
            uuid: Some(shared.into()),
            macs: vec![stranger(number).mac],
            ..MachineFacts::default()
        };
        let machine = stranger(number).mac.dashed();
        farm.learn_facts(&machine, &facts, WallClock(2)).unwrap();
        same(&farm, 3);
    }
    assert_eq!(farm.inventory().machine_of_uuid(shared), None);
}
