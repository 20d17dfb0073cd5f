//! From a client to all that is decided for it.

use std::collections::BTreeMap;

use boot_proto::ids::MacAddr;
use boot_proto::resources::{DesiredPower, MachineSpec, NodePoolSpec, Object, ProfileSpec};
use boot_proto::slot::Slot;
use boot_proto::uuid;

use crate::arch::Wish;

use super::{Assignment, Client, Inventory, Known, MatchedBy, PoolRule, Unassigned};

impl Inventory {
    /// Decides for a client: the machine that has its MAC, else the one that has
    /// its UUID and no declared MACs, else, where a pool names its MAC or takes
    /// all, a new machine named by its dashed MAC, which is what a MatchboxGroup's
    /// machine is, too.
    ///
    /// # Errors
    /// When it is no machine of this farm.
    pub fn assign(&self, client: &Client) -> Result<Assignment, Unassigned> {
        let mac = client.mac;
        if !mac.is_usable() {
            return Err(Unassigned::Placeholder { mac });
        }
        let by_mac = self.index.by_mac.get(&mac).map(|at| (*at, MatchedBy::Mac));
        let by_uuid = || {
            let uuid = uuid::usable(client.uuid.as_deref()?)?;
            let at = *self.index.by_uuid.get(&uuid)?;
            self.may_be_told_by_uuid(at)
                .then_some((at, MatchedBy::Uuid))
        };
        let by_name = || {
            self.index
                .by_name
                .get(&mac.dashed())
                .map(|at| (*at, MatchedBy::Name))
        };
        let met = by_mac.or_else(by_uuid).or_else(by_name);
        if let Some((known, matched)) = met.and_then(|(at, by)| Some((self.known(at)?, by))) {
            return Ok(self.decide(known, matched, Some(client)));
        }
        let matched = if self.is_named_by_a_pool(mac) {
            MatchedBy::Pool
        } else if self.catch_all.is_some() || self.is_in_matchbox_group(client) {
            MatchedBy::CatchAll
        } else {
            return Err(Unassigned::Unknown { mac });
        };
        let stranger = Known {
            name: mac.dashed(),
            declared: false,
            spec: MachineSpec::default(),
            labels: BTreeMap::new(),
        };
        Ok(self.decide(&stranger, matched, Some(client)))
    }

    /// Whether a pool says that the machine with this NIC is its own.
    fn is_named_by_a_pool(&self, mac: MacAddr) -> bool {
        let mut pools = self.declared.pools.values();
        pools.any(|pool| pool.spec.machines.macs.contains(&mac))
    }

    /// Whether a MatchboxGroup takes a client by its MAC and UUID, or takes all.
    fn is_in_matchbox_group(&self, client: &Client) -> bool {
        if self.declared.matchbox_groups.is_empty() {
            return false;
        }
        let mac = ("mac".to_owned(), client.mac.to_string());
        let uuid = client.uuid.clone().map(|uuid| ("uuid".to_owned(), uuid));
        let labels = [mac].into_iter().chain(uuid).collect();
        crate::matchbox::select(&self.declared, &labels).is_some()
    }

    /// The machine that hangs on a relay port (option 82), by circuit id and
    /// remote id.
    #[must_use]
    pub fn machine_of_port(&self, circuit: &[u8], remote: &[u8]) -> Option<&str> {
        if self.index.by_port.is_empty() {
            return None;
        }
        let (circuit, remote) = (Some(circuit.to_vec()), Some(remote.to_vec()));
        let ids = [
            (circuit.clone(), remote.clone()),
            (circuit, None),
            (None, remote),
        ];
        let at = ids.iter().find_map(|id| self.index.by_port.get(id))?;
        self.known(*at).map(|known| known.name.as_str())
    }

    /// Whether a machine is bound to a relay port.
    #[must_use]
    pub fn is_bound_to_port(&self, machine: &str) -> bool {
        let port = self.named(machine).map(|known| &known.spec.relay_port);
        port.and_then(|port| super::index::port_id(port.as_ref()?))
            .is_some()
    }

    /// The machine that a DHCP client identifier (option 61) tells.
    #[must_use]
    pub fn machine_of_client_id(&self, id: &[u8]) -> Option<&str> {
        self.known(*self.index.by_client_id.get(id)?)
            .map(|known| known.name.as_str())
    }

    /// Decides for a client that is known to be the machine of that name.
    #[must_use]
    pub fn assign_as(
        &self,
        machine: &str,
        matched: MatchedBy,
        client: &Client,
    ) -> Option<Assignment> {
        Some(self.decide(self.named(machine)?, matched, Some(client)))
    }

    /// Anybody on the wire can claim a UUID. A machine whose manifest lists its
    /// MACs is those: a further NIC is declared, shown by its chassis manager, or
    /// reported by the node itself once it has booted from a known one.
    fn may_be_told_by_uuid(&self, at: usize) -> bool {
        let declared = self
            .known(at)
            .and_then(|known| self.declared.machines.get(&known.name));
        declared.is_none_or(|machine| machine.spec.macs.is_empty())
    }

    /// Decides for the machine of that name.
    #[must_use]
    pub fn assignment_of(&self, machine: &str) -> Option<Assignment> {
        Some(self.decide(self.named(machine)?, MatchedBy::Name, None))
    }

    fn decide(&self, known: &Known, matched: MatchedBy, client: Option<&Client>) -> Assignment {
        // A pool may name a MAC that is new to the machine.
        let mut known = known.clone();
        if let Some(client) = client {
            complete(&mut known.spec, client);
        }
        let choice = self.pool_of(&known);
        let pool = choice.map(|(pool, _)| pool);
        Assignment {
            hostname: self.hostname(&known, pool),
            matched,
            pool: pool.map(|pool| pool.metadata.name.clone()),
            pool_rule: choice.map(|(_, rule)| rule),
            subnet: pool.and_then(|pool| pool.spec.subnet.clone()),
            image: pool.map(|pool| pool.spec.image.clone()),
            loading: pool.map(|pool| Wish::of(&pool.spec)).unwrap_or_default(),
            cluster: pool.and_then(|pool| {
                self.declared
                    .clusters
                    .get(pool.spec.cluster.as_ref()?)
                    .cloned()
            }),
            profile: self.profile(&known.spec, pool.map(|pool| &pool.spec)),
            power: desired_power(&known, choice),
            machine: known.name,
            declared: known.declared,
            macs: known.spec.macs,
            uuid: known.spec.uuid,
            address: known.spec.address,
        }
    }

    /// Profiles of the pool, then the machine's, each in order; then the pool's
    /// own labels and taints, then the machine's.
    fn profile(&self, machine: &MachineSpec, pool: Option<&NodePoolSpec>) -> ProfileSpec {
        let mut merged = ProfileSpec::default();
        let names = pool
            .into_iter()
            .flat_map(|pool| &pool.profiles)
            .chain(&machine.profiles);
        for object in names.filter_map(|name| self.declared.profiles.get(name)) {
            merged.merge(&object.spec);
        }
        if let Some(pool) = pool {
            merged.merge(&ProfileSpec {
                labels: pool.labels.clone(),
                taints: pool.taints.clone(),
                dhcp_options: pool.dhcp_options.clone(),
                ..ProfileSpec::default()
            });
        }
        merged.merge(&ProfileSpec {
            labels: machine.labels.clone(),
            taints: machine.taints.clone(),
            ..ProfileSpec::default()
        });
        merged
    }

    /// The machine's own host name, else what the pool's pattern makes, else the
    /// machine's name. A pattern that asks for what this machine does not have,
    /// such as a slot, or that makes no valid name, gives way to the name too.
    pub(crate) fn hostname(&self, known: &Known, pool: Option<&Object<NodePoolSpec>>) -> String {
        if let Some(hostname) = &known.spec.hostname {
            return hostname.clone();
        }
        pool.and_then(|pool| pool.spec.hostname.as_deref())
            .and_then(|pattern| fill_pattern(pattern, known))
            .filter(|name| boot_proto::ids::name_mistake(name).is_none())
            .unwrap_or_else(|| known.name.clone())
    }
}

/// What the client says of itself belongs to the machine it was recognised as.
fn complete(spec: &mut MachineSpec, client: &Client) {
    if !spec.macs.contains(&client.mac) {
        spec.macs.push(client.mac);
    }
    if spec.uuid.is_none() {
        spec.uuid = client.uuid.as_deref().and_then(uuid::usable);
    }
}

/// The machine's own wish, else its pool's. A machine that nobody declared and
/// that only the catch-all pool took is never switched: it may be anything.
pub(crate) fn desired_power(
    known: &Known,
    choice: Option<(&Object<NodePoolSpec>, PoolRule)>,
) -> Option<DesiredPower> {
    known.spec.power.or_else(|| {
        let (pool, rule) = choice?;
        let is_meant = known.declared || rule != PoolRule::CatchAll;
        pool.spec.power.filter(|_| is_meant)
    })
}

fn fill_pattern(pattern: &str, known: &Known) -> Option<String> {
    let mut name = pattern.to_owned();
    let parts = [
        ("{machine}", Some(known.name.clone())),
        ("{chassis}", known.spec.chassis.clone()),
        ("{slot}", known.spec.slot.as_ref().map(Slot::name_part)),
        (
            "{mac}",
            known.spec.macs.first().copied().map(MacAddr::dashed),
        ),
    ];
    for (placeholder, value) in parts {
        if name.contains(placeholder) {
            name = name.replace(placeholder, &value?);
        }
    }
    Some(name)
}
