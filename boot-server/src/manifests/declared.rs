//! What the manifests declare, by kind and name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use boot_proto::resources::{
    ChassisSpec, ClusterSpec, ImageSpec, MachineSpec, MatchboxGroupSpec, MatchboxProfileSpec,
    NodePoolSpec, Object, ProfileSpec, Resource, SubnetSpec,
};

/// All declared resources. Checked: every name that one of them uses is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// The folder they came from; relative paths in them start here.
    pub folder: PathBuf,
    /// Chassis managers and BMCs.
    pub chassis: BTreeMap<String, Object<ChassisSpec>>,
    /// Machines.
    pub machines: BTreeMap<String, Object<MachineSpec>>,
    /// Pools.
    pub pools: BTreeMap<String, Object<NodePoolSpec>>,
    /// Profiles.
    pub profiles: BTreeMap<String, Object<ProfileSpec>>,
    /// Clusters.
    pub clusters: BTreeMap<String, Object<ClusterSpec>>,
    /// Subnets.
    pub subnets: BTreeMap<String, Object<SubnetSpec>>,
    /// Images.
    pub images: BTreeMap<String, Object<ImageSpec>>,
    /// Groups of machines that are served as Matchbox does.
    pub matchbox_groups: BTreeMap<String, Object<MatchboxGroupSpec>>,
    /// What such machines boot.
    pub matchbox_profiles: BTreeMap<String, Object<MatchboxProfileSpec>>,
}

impl Declared {
    /// Sorts resources into their maps.
    #[must_use]
    pub fn new(folder: &Path, resources: Vec<Resource>) -> Self {
        let mut declared = Self {
            folder: folder.to_owned(),
            ..Self::default()
        };
        for resource in resources {
            declared.add(resource);
        }
        declared
    }

    fn add(&mut self, resource: Resource) {
        let name = resource.metadata().name.clone();
        match resource {
            Resource::Chassis(object) => drop(self.chassis.insert(name, object)),
            Resource::Machine(object) => drop(self.machines.insert(name, object)),
            Resource::NodePool(object) => drop(self.pools.insert(name, object)),
            Resource::Profile(object) => drop(self.profiles.insert(name, object)),
            Resource::Cluster(object) => drop(self.clusters.insert(name, object)),
            Resource::Subnet(object) => drop(self.subnets.insert(name, object)),
            Resource::Image(object) => drop(self.images.insert(name, object)),
            Resource::MatchboxGroup(object) => drop(self.matchbox_groups.insert(name, object)),
            Resource::MatchboxProfile(object) => drop(self.matchbox_profiles.insert(name, object)),
        }
    }

    /// A path out of a manifest: a relative one starts at the manifest folder.
    #[must_use]
    pub fn path_of(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// How many resources there are of each kind, in a line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let matchbox = self.matchbox_groups.len();
        let counts = [
            ("chassis", self.chassis.len()),
            ("machines", self.machines.len()),
            ("pools", self.pools.len()),
            ("profiles", self.profiles.len()),
            ("clusters", self.clusters.len()),
            ("subnets", self.subnets.len()),
            ("images", self.images.len()),
        ];
        // Few farms have any.
        let more = (matchbox > 0).then_some(("matchbox groups", matchbox));
        let parts: Vec<String> = counts
            .iter()
            .chain(&more)
            .map(|(what, count)| format!("{what}: {count}"))
            .collect();
        format!("no mistakes; {}", parts.join(", "))
    }
}
