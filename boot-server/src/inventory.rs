//! The view from a MAC to a machine and all that follows from it: pool, subnet,
//! image, cluster and merged profile. Pure: made anew from what is declared and
//! what is learned whenever either changes.

mod assign;
mod index;
mod learned;
mod pools;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;

use boot_proto::api::MachineView;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{
    ClusterSpec, DesiredPower, ImageSpec, MachineSpec, NodePoolSpec, Object, ProfileSpec,
    SubnetSpec,
};
use boot_proto::slot::Slot;

pub(crate) use assign::desired_power;
pub use learned::{Found, LearnedMachine};
pub use pools::PoolRule;

use crate::arch::Wish;
use crate::manifests::Declared;
use index::{Index, Machines};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// MAC of the NIC that asks.
    pub mac: MacAddr,
    /// SMBIOS UUID, lower case, where it is known and no placeholder.
    pub uuid: Option<String>,
}

/// All that is decided for one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The Machine's name.
    pub machine: String,
    /// Host name and node name.
    pub hostname: String,
    /// Whether a manifest declares it.
    pub declared: bool,
    /// How the client was recognised as this machine.
    pub matched: MatchedBy,
    /// MACs known of it; the asking one is among them.
    pub macs: Vec<MacAddr>,
    /// SMBIOS UUID, where known.
    pub uuid: Option<String>,
    /// Reserved address.
    pub address: Option<Ipv4Addr>,
    /// The pool, or none: then it gets no boot.
    pub pool: Option<String>,
    /// What decided for that pool.
    pub pool_rule: Option<PoolRule>,
    /// Subnet the pool names.
    pub subnet: Option<String>,
    /// Image the pool names: Image name, store name or digest.
    pub image: Option<String>,
    /// What its firmware is to load.
    pub loading: Wish,
    /// Cluster to join.
    pub cluster: Option<Object<ClusterSpec>>,
    /// Profiles of pool and machine merged in order, with pool's and machine's
    /// labels and taints on top.
    pub profile: ProfileSpec,
    /// Desired power.
    pub power: Option<DesiredPower>,
}

/// How a client was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// By one of its MACs.
    Mac,
    /// By its SMBIOS UUID; the MAC is new.
    Uuid,
    /// By the relay port that it asks through.
    RelayPort,
    /// By its DHCP client identifier; the MAC is new.
    ClientId,
    /// By the name of the Machine itself.
    Name,
    /// Not known before; a pool names its MAC.
    Pool,
    /// Not known before; a catch-all pool takes it.
    CatchAll,
}

/// Why a client is no machine of the farm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unassigned {
    /// Nobody declared it, it was not found before, and no pool takes all.
    #[error("no Machine has MAC {mac}, no NodePool names it, and none says catchAll: true")]
    Unknown {
        /// MAC that asked.
        mac: MacAddr,
    },
    /// The address cannot tell one NIC from another.
    #[error("{mac} is no address of one NIC (zero, broadcast or a group address)")]
    Placeholder {
        /// MAC that asked.
        mac: MacAddr,
    },
}

/// What is declared and learned, indexed. Cheap to ask, never changed.
#[derive(Clone, Debug)]
pub struct Inventory {
    declared: Arc<Declared>,
    machines: Machines,
    index: Index,
    catch_all: Option<String>,
}

/// One machine with all that identifies it: what is declared of it and what was
/// found out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub name: String,
    pub declared: bool,
    /// The declared spec, with found MACs, UUID and slot filled in.
    pub spec: MachineSpec,
    /// Labels of the Machine resource, for selectors.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Inventory {
    /// Joins what is declared with what is learned.
    #[must_use]
    pub fn new(declared: Arc<Declared>, learned: Vec<LearnedMachine>) -> Self {
        let machines = index::join(&declared, &learned);
        let index = Index::new(&machines);
        let catch_all = declared
            .pools
            .values()
            .find(|pool| pool.spec.catch_all)
            .map(|pool| pool.metadata.name.clone());
        Self {
            declared,
            machines,
            index,
            catch_all,
        }
    }

    /// The same with more found of one machine, known or new: what `machine` has
    /// now in place of what it had. `None` where it takes a look at all machines,
    /// since something of it is another's, or it has less than before.
    #[must_use]
    pub(crate) fn with(&self, machine: &LearnedMachine) -> Option<Self> {
        let at = self.index.by_name.get(&machine.name).copied();
        if !self.index.is_free(&machine.found, at) {
            return None;
        }
        let mut known = at
            .and_then(|at| self.known(at))
            .cloned()
            .unwrap_or_else(|| Known {
                name: machine.name.clone(),
                declared: false,
                spec: MachineSpec::default(),
                labels: std::collections::BTreeMap::new(),
            });
        let declared = self.declared.machines.get(&machine.name);
        let is_still = |mac: &MacAddr| {
            machine.found.macs.contains(mac)
                || declared.is_some_and(|declared| declared.spec.macs.contains(mac))
        };
        let before = &known.spec;
        let has_other = |before: &Option<String>, now: &Option<String>, told: bool| {
            !told && before.is_some() && before != now
        };
        let told = declared.map(|declared| &declared.spec);
        let is_less = !before.macs.iter().all(is_still)
            || has_other(
                &before.uuid,
                &machine.found.uuid,
                told.is_some_and(|spec| spec.uuid.is_some()),
            )
            || (told.is_none_or(|spec| spec.slot.is_none())
                && before.slot.is_some()
                && (&before.chassis, &before.slot)
                    != (&machine.found.chassis, &machine.found.slot));
        if is_less {
            return None;
        }
        index::fill_in(&mut known.spec, &machine.found);
        let mut next = self.clone();
        let at = at.unwrap_or(self.machines.len());
        next.index.add(at, &known);
        if !next.machines.set_mut(at, known.clone()) {
            next.machines.push_back_mut(known);
        }
        Some(next)
    }

    /// What is declared.
    #[must_use]
    pub fn declared(&self) -> &Arc<Declared> {
        &self.declared
    }

    /// The subnet of that name.
    #[must_use]
    pub fn subnet(&self, name: &str) -> Option<&Object<SubnetSpec>> {
        self.declared.subnets.get(name)
    }

    /// All subnets, sorted by name.
    pub fn subnets(&self) -> impl Iterator<Item = &Object<SubnetSpec>> {
        self.declared.subnets.values()
    }

    /// The subnet whose CIDR holds `address`.
    #[must_use]
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<&Object<SubnetSpec>> {
        self.subnets()
            .find(|subnet| subnet.spec.cidr.contains(&address))
    }

    /// The machine that has `address` reserved; such an address is never given
    /// to another.
    #[must_use]
    pub fn reservation_of(&self, address: Ipv4Addr) -> Option<&str> {
        self.known(*self.index.by_address.get(&address)?)
            .map(|known| known.name.as_str())
    }

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Object<NodePoolSpec>> {
        self.declared.pools.get(name)
    }

    /// The Image resource of that name.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&ImageSpec> {
        self.declared.images.get(name).map(|object| &object.spec)
    }

    /// Pools that name `image`, as it stands in their `image` field.
    #[must_use]
    pub fn pools_of_image(&self, image: &str) -> Vec<&str> {
        let names_it = |pool: &&Object<NodePoolSpec>| pool.spec.image == image;
        self.declared
            .pools
            .values()
            .filter(names_it)
            .map(Object::name)
            .collect()
    }

    /// The machine that one of its MACs tells.
    #[must_use]
    pub fn machine_of_mac(&self, mac: MacAddr) -> Option<&str> {
        self.known(*self.index.by_mac.get(&mac)?)
            .map(|known| known.name.as_str())
    }

    /// MACs of the machine of that name; none where there is no such machine.
    #[must_use]
    pub fn macs_of(&self, machine: &str) -> &[MacAddr] {
        self.named(machine)
            .map_or(&[], |known| known.spec.macs.as_slice())
    }

    /// The machine that its SMBIOS UUID tells.
    #[must_use]
    pub fn machine_of_uuid(&self, uuid: &str) -> Option<&str> {
        let uuid = boot_proto::uuid::usable(uuid)?;
        self.known(*self.index.by_uuid.get(&uuid)?)
            .map(|known| known.name.as_str())
    }

    /// The machine that is declared to have that host name, or has it for its own.
    #[must_use]
    pub fn machine_of_hostname(&self, hostname: &str) -> Option<&str> {
        let declared = || {
            let mut machines = self.declared.machines.values();
            machines.find(|machine| machine.spec.hostname.as_deref() == Some(hostname))
        };
        self.named(hostname)
            .map(|known| known.name.as_str())
            .or_else(|| declared().map(Object::name))
    }

    /// The machine in that slot of that chassis.
    #[must_use]
    pub fn machine_of_slot(&self, chassis: &str, slot: &Slot) -> Option<&str> {
        let place = (chassis.to_owned(), slot.clone());
        self.known(*self.index.by_place.get(&place)?)
            .map(|known| known.name.as_str())
    }

    /// Every machine with pool and host name, sorted by name. The status is
    /// empty here; the farm fills it in.
    #[must_use]
    pub fn machines(&self) -> Vec<MachineView> {
        let mut views: Vec<MachineView> = self
            .machines
            .iter()
            .map(|known| MachineView {
                name: known.name.clone(),
                hostname: self.hostname(known, self.pool_of(known).map(|(pool, _)| pool)),
                declared: known.declared,
                pool: self
                    .pool_of(known)
                    .map(|(pool, _)| pool.metadata.name.clone()),
                spec: known.spec.clone(),
                status: boot_proto::resources::MachineStatus::default(),
            })
            .collect();
        // Those met since the last look at all of them are at the end.
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub(crate) fn known(&self, index: usize) -> Option<&Known> {
        self.machines.get(index)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Known> {
        self.known(*self.index.by_name.get(name)?)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Known> {
        self.machines.iter()
    }
}
