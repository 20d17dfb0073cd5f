//! kubefarm's values to manifests: a tag becomes a Profile, a node a Machine, a
//! range a Subnet, the release a Cluster.

mod cluster;
mod common;
mod dhcp;
mod layers;
mod netplan;
mod nodes;
mod ranges;
mod rest;
mod settle;
mod values;
mod variables;

use boot_proto::dhcp::code;
use boot_proto::resources::{
    ClusterSpec, MachineSpec, Metadata, NodePoolSpec, Object, ProfileSpec, Resource, SubnetSpec,
};
use serde_json::Value;

use super::{Findings, Imported};
use nodes::{Networks, Pool};
use settle::Tags;

pub use cluster::NO_HASH;
pub use values::{ValuesError, parse};

/// What the values do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of the release; every resource's name begins with it.
    pub name: String,
    /// Image of pools whose values name none.
    pub image: String,
    /// `HOST:PORT` of the API server; without it what the values say.
    pub endpoint: Option<String>,
    /// `sha256:…` of the cluster's CA.
    pub ca_cert_hash: Option<String>,
}

/// Turns values files, a later one laid over the ones before, into manifests.
#[must_use]
pub fn import(files: &[Value], options: &Options) -> Imported {
    let mut findings = Findings::default();
    for file in files {
        rest::report(file, &mut findings);
    }
    let values = values::layered(files);
    let (pools, mut networks) = nodes::read(&values, &mut findings);
    let mut dhcp = dhcp::DhcpOptions::read(&values, &mut findings);
    move_to_subnets(&mut dhcp, &mut networks);
    let cluster = cluster::read(&values, options, &mut findings);
    let tags = Tags::read(&values, &pools, dhcp, &mut findings);
    let mut import = Import {
        options,
        subnets: subnet_names(&options.name, networks.len()),
        networks: &networks,
        has_cluster: cluster.is_some(),
        tags,
        resources: Vec::new(),
        has_catch_all: false,
    };
    import.tags.report_unused(&pools, &mut findings);
    for (index, pool) in pools.iter().enumerate() {
        import.pool(pool, index + 1, &mut findings);
    }
    let mut resources = Vec::new();
    resources.extend(cluster.map(|spec| of::<ClusterSpec>(Resource::Cluster, &options.name, spec)));
    let profiles = import.tags.profiles(&options.name, &pools);
    resources.extend(
        profiles
            .into_iter()
            .map(|(name, spec)| of::<ProfileSpec>(Resource::Profile, &name, spec)),
    );
    let Import {
        subnets,
        resources: pool_resources,
        ..
    } = import;
    let specs = networks.into_specs().zip(subnets);
    resources.extend(specs.map(|(spec, name)| of::<SubnetSpec>(Resource::Subnet, &name, spec)));
    resources.extend(pool_resources);
    Imported {
        resources,
        findings: findings.sorted(),
    }
}

fn of<S>(kind: fn(Object<S>) -> Resource, name: &str, spec: S) -> Resource {
    let metadata = Metadata {
        name: name.to_owned(),
        ..Metadata::default()
    };
    kind(Object { metadata, spec })
}

fn subnet_names(name: &str, count: usize) -> Vec<String> {
    if count == 1 {
        return vec![name.to_owned()];
    }
    (1..=count).map(|at| format!("{name}-{at}")).collect()
}

/// Router, name servers and search list of all clients belong to the subnets.
fn move_to_subnets(dhcp: &mut dhcp::DhcpOptions, networks: &mut Networks) {
    if networks.is_empty() {
        return;
    }
    dhcp.take_from_all(code::ROUTER, |value| {
        let Ok(gateway) = value.trim().parse() else {
            return false;
        };
        let is_free = |subnet: &SubnetSpec| {
            subnet.cidr.contains(&gateway)
                && !subnet.ranges.iter().any(|range| range.contains(gateway))
        };
        let is_for_all = networks.specs_mut().all(|subnet| is_free(subnet));
        networks
            .specs_mut()
            .filter(|_| is_for_all)
            .for_each(|subnet| subnet.gateway = Some(gateway));
        is_for_all
    });
    dhcp.take_from_all(code::DNS, |value| {
        let servers: Result<Vec<_>, _> = value.split(',').map(|it| it.trim().parse()).collect();
        let Ok(servers) = servers else { return false };
        networks
            .specs_mut()
            .for_each(|subnet| subnet.dns.clone_from(&servers));
        true
    });
    dhcp.take_from_all(code::BROADCAST, |value| {
        let broadcast = value.trim().parse();
        networks
            .specs_mut()
            .all(|subnet| broadcast == Ok(subnet.cidr.broadcast()))
    });
}

/// The manifests as they are put together.
struct Import<'a> {
    options: &'a Options,
    networks: &'a Networks,
    subnets: Vec<String>,
    has_cluster: bool,
    tags: Tags,
    resources: Vec<Resource>,
    has_catch_all: bool,
}

impl Import<'_> {
    /// A pool and its machines; machines that nobody declared see no tag of it,
    /// so they are a pool of their own where it has some.
    fn pool(&mut self, pool: &Pool, number: usize, findings: &mut Findings) {
        let name = format!("{}-pool-{number}", self.options.name);
        let tags = self.tags.of_pool(pool, findings);
        let has_own = !pool.machines.is_empty();
        if pool.takes_newcomers && self.has_catch_all {
            findings.left_out(
                format!("{}.range", pool.path),
                "one pool takes the machines that nobody declared; the addresses are in the subnet",
            );
        }
        let is_catch_all = pool.takes_newcomers && !self.has_catch_all;
        self.has_catch_all |= is_catch_all;
        let is_split = is_catch_all && !tags.is_empty();
        if has_own || (is_catch_all && !is_split) {
            self.push_pool(pool, &name, &tags, is_catch_all && !is_split, findings);
        }
        if is_split {
            findings.changed(
                format!("{}.tags", pool.path),
                "tags hold for the pool's nodes, not for machines that nobody declared, which are \
                 a pool of their own",
            );
            let name = format!("{}-newcomers", self.options.name);
            self.push_pool(pool, &name, &[], true, findings);
        }
        for (machine, spec) in &pool.machines {
            let spec = MachineSpec {
                pool: Some(name.clone()),
                ..spec.clone()
            };
            self.resources
                .push(of::<MachineSpec>(Resource::Machine, machine, spec));
        }
    }

    fn push_pool(
        &mut self,
        pool: &Pool,
        name: &str,
        tags: &[String],
        catch_all: bool,
        findings: &mut Findings,
    ) {
        let release = &self.options.name;
        let settled = self.tags.settle(tags, &pool.path, findings);
        let mut profiles = self.tags.names(release, tags);
        if settled.profile != ProfileSpec::default() {
            let spec = settled.profile;
            self.resources
                .push(of::<ProfileSpec>(Resource::Profile, name, spec));
            profiles.push(name.to_owned());
        }
        let subnet = match pool.networks.as_slice() {
            [network] => self.networks.index_of(network),
            _ => None,
        };
        let spec = NodePoolSpec {
            catch_all,
            image: settled.image.unwrap_or_else(|| self.options.image.clone()),
            cluster: self.has_cluster.then(|| release.clone()),
            subnet: subnet.and_then(|at| self.subnets.get(at).cloned()),
            profiles,
            ..NodePoolSpec::default()
        };
        self.resources
            .push(of::<NodePoolSpec>(Resource::NodePool, name, spec));
    }
}

#[cfg(test)]
mod tests;
