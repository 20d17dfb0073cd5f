//! The resources of `moonfarm.dev/v1alpha1`: what an operator declares and what
//! Moonfarm learns. One file a kind.

mod bond;
mod chassis;
mod cluster;
mod image;
mod machine;
mod matchbox;
mod network;
mod node_pool;
mod profile;
mod storage;
mod subnet;
mod system;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use bond::{
    AdSelect, ArpAllTargets, ArpValidate, BondMode, BondSpec, FailOverMac, LacpRate,
    PrimaryReselect, TransmitHashPolicy,
};
pub use chassis::{ChassisSpec, ChassisStatus, Credentials};
pub use cluster::{ClusterSpec, OldNode};
pub use image::{HttpOrigin, ImageOrigin, ImageSpec, OciOrigin};
pub use machine::{
    Condition, DesiredPower, JoinedNode, MachineSpec, MachineStatus, Membership, ObservedPower,
    RelayPort,
};
pub use matchbox::{
    MAX_TEMPLATE_BYTES, MatchboxBoot, MatchboxGroupSpec, MatchboxProfileSpec, MatchboxTemplate,
};
pub use network::{
    BridgeSpec, DerivedAddress, InterfaceSpec, LeaseUse, LinkMatch, MacChoice, NetworkSpec,
    RouteSpec, RouteTarget, VlanSpec,
};
pub use node_pool::{LoaderKind, MachineSelector, NodePoolSpec};
pub use profile::{FileEntry, ProfileSpec, Taint, TaintEffect, TmpfsMount, Unit};
pub use storage::{
    DiskFormat, DiskMatch, DiskSpec, FstabEntry, KeepImage, OnCorruption, OverlayPlace,
    OverlaySpec, PartitionKind, PartitionSpec,
};
pub use subnet::{AddressRange, DhcpMode, StrangerLimit, SubnetSpec};
pub use system::{OnFailure, RecoverySpec, Script, ScriptFailure, ScriptMoment, SshHostKeys, User};

/// The `apiVersion` of every resource.
pub const API_VERSION: &str = "moonfarm.dev/v1alpha1";

/// `metadata` of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// Name, unique within its kind.
    pub name: String,
    /// Namespace; kept so that one manifest serves both stores, not used by the
    /// embedded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the resource, which selectors match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations, for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A resource: what is wanted of a thing of one kind, under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Object<S> {
    /// Name and labels.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
}

impl<S> Object<S> {
    /// The resource's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A chassis manager or BMC.
    Chassis,
    /// A physical server.
    Machine,
    /// A set of machines that become the same kind of node.
    NodePool,
    /// A named fragment of node configuration.
    Profile,
    /// A Kubernetes cluster to join.
    Cluster,
    /// A network that boot-server serves.
    Subnet,
    /// A bootable image.
    Image,
    /// Machines that are served as Matchbox does.
    MatchboxGroup,
    /// What such machines boot.
    MatchboxProfile,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Chassis,
        Self::Machine,
        Self::NodePool,
        Self::Profile,
        Self::Cluster,
        Self::Subnet,
        Self::Image,
        Self::MatchboxGroup,
        Self::MatchboxProfile,
    ];

    /// The word in a manifest's `kind:`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chassis => "Chassis",
            Self::Machine => "Machine",
            Self::NodePool => "NodePool",
            Self::Profile => "Profile",
            Self::Cluster => "Cluster",
            Self::Subnet => "Subnet",
            Self::Image => "Image",
            Self::MatchboxGroup => "MatchboxGroup",
            Self::MatchboxProfile => "MatchboxProfile",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Any resource.
#[allow(
    clippy::large_enum_variant,
    reason = "there are as many as manifests, for as long as they are read"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A chassis manager or BMC.
    Chassis(Object<ChassisSpec>),
    /// A physical server.
    Machine(Object<MachineSpec>),
    /// A set of machines.
    NodePool(Object<NodePoolSpec>),
    /// A fragment of node configuration.
    Profile(Object<ProfileSpec>),
    /// A Kubernetes cluster.
    Cluster(Object<ClusterSpec>),
    /// A network.
    Subnet(Object<SubnetSpec>),
    /// A bootable image.
    Image(Object<ImageSpec>),
    /// Machines that are served as Matchbox does.
    MatchboxGroup(Object<MatchboxGroupSpec>),
    /// What such machines boot.
    MatchboxProfile(Object<MatchboxProfileSpec>),
}

impl Resource {
    /// Which of the kinds it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Chassis(_) => Kind::Chassis,
            Self::Machine(_) => Kind::Machine,
            Self::NodePool(_) => Kind::NodePool,
            Self::Profile(_) => Kind::Profile,
            Self::Cluster(_) => Kind::Cluster,
            Self::Subnet(_) => Kind::Subnet,
            Self::Image(_) => Kind::Image,
            Self::MatchboxGroup(_) => Kind::MatchboxGroup,
            Self::MatchboxProfile(_) => Kind::MatchboxProfile,
        }
    }

    /// Name and labels.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        match self {
            Self::Chassis(object) => &object.metadata,
            Self::Machine(object) => &object.metadata,
            Self::NodePool(object) => &object.metadata,
            Self::Profile(object) => &object.metadata,
            Self::Cluster(object) => &object.metadata,
            Self::Subnet(object) => &object.metadata,
            Self::Image(object) => &object.metadata,
            Self::MatchboxGroup(object) => &object.metadata,
            Self::MatchboxProfile(object) => &object.metadata,
        }
    }
}

/// The kinds as objects of a Kubernetes API server.
#[cfg(feature = "crd")]
pub mod crd_types {
    pub use super::chassis::Chassis;
    pub use super::cluster::Cluster;
    pub use super::image::Image;
    pub use super::machine::Machine;
    pub use super::matchbox::{MatchboxGroup, MatchboxProfile};
    pub use super::node_pool::NodePool;
    pub use super::profile::Profile;
    pub use super::subnet::Subnet;
}
