//! Reserved addresses of machines.

use super::identity::Claims;
use super::subnets::special;
use super::{Notes, Read, World};
use crate::manifest::node::path;
use crate::resources::{MachineSpec, SubnetSpec};

/// Each reserved address once, inside a subnet, and free to be given.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    let mut claims = Claims::new(
        "address",
        "two machines would fight for it; give one another address",
    );
    let subnets: Vec<Read<'_, SubnetSpec>> = world.subnets().collect();
    let has_unread = subnets
        .iter()
        .any(|subnet| !subnet.is_sound(&path!["spec", "cidr"]))
        || world.documents.iter().any(|(_, document)| {
            document.kind == Some(crate::resources::Kind::Subnet) && document.resource.is_none()
        });
    for machine in world.machines() {
        let Some(address) = machine.spec().address else {
            continue;
        };
        claims.claim(notes, machine, &path!["spec", "address"], address);
        let home = subnets
            .iter()
            .find(|subnet| subnet.spec().cidr.contains(&address));
        match home {
            Some(subnet) => check_free(notes, machine, *subnet),
            None if has_unread => {}
            None => {
                let known: Vec<String> = subnets
                    .iter()
                    .map(|subnet| format!("{} ({})", subnet.spec().cidr, subnet.name()))
                    .collect();
                let hint = if known.is_empty() {
                    "declare a Subnet that holds it".to_owned()
                } else {
                    format!("the subnets are: {}", known.join(", "))
                };
                notes.add(
                    machine,
                    &path!["spec", "address"],
                    format!("address {address} lies in no Subnet"),
                    hint,
                );
            }
        }
    }
    check_pool_subnets(world, notes, &subnets);
}

fn check_free(notes: &mut Notes, machine: Read<'_, MachineSpec>, subnet: Read<'_, SubnetSpec>) {
    let Some(address) = machine.spec().address else {
        return;
    };
    let spec = subnet.spec();
    let role = if spec.gateway == Some(address) {
        Some("gateway")
    } else {
        special(spec, address)
    };
    if let Some(role) = role {
        let message = format!(
            "address {address} is the {role} of Subnet {:?}",
            subnet.name()
        );
        notes.add(
            machine,
            &path!["spec", "address"],
            message,
            "give the machine another address",
        );
    }
}

/// A machine whose pool names a subnet has its reservation there, or nowhere.
fn check_pool_subnets(world: &World<'_>, notes: &mut Notes, subnets: &[Read<'_, SubnetSpec>]) {
    for machine in world.machines() {
        let spec = machine.spec();
        let (Some(address), Some(pool)) = (spec.address, &spec.pool) else {
            continue;
        };
        let wanted = world
            .pools()
            .find(|read| read.name() == pool)
            .and_then(|read| read.spec().subnet.as_deref());
        let Some(subnet) = subnets.iter().find(|subnet| Some(subnet.name()) == wanted) else {
            continue;
        };
        if subnet.is_sound(&path!["spec", "cidr"])
            && !subnet.spec().cidr.contains(&address)
            && subnets
                .iter()
                .any(|other| other.spec().cidr.contains(&address))
        {
            let message = format!(
                "address {address} lies outside of {}, Subnet {:?} of its pool {pool:?}",
                subnet.spec().cidr,
                subnet.name()
            );
            notes.add(
                machine,
                &path!["spec", "address"],
                message,
                "give it an address of that subnet, or put it into another pool",
            );
        }
    }
}
