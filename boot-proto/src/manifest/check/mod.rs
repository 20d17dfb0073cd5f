//! What is wrong although it can be read: names that lead nowhere, things given
//! twice, values that Kubernetes, DHCP or systemd would refuse.
//!
//! Pure over all resources at once. One file a topic.

mod access;
mod accounts;
mod addresses;
mod forms;
mod identity;
mod kubernetes;
mod matchbox;
mod names;
mod network;
mod pools;
mod profiles;
mod storage;
mod subnets;

use std::collections::{BTreeMap, BTreeSet};

use super::Mistake;
use super::node::{Step, path_text};
use super::read::Document;
use super::words;
use crate::resources::{
    ChassisSpec, ClusterSpec, ImageSpec, Kind, MachineSpec, MatchboxGroupSpec, MatchboxProfileSpec,
    NodePoolSpec, Object, ProfileSpec, Resource, SubnetSpec,
};

/// Checks everything that could be read.
pub(super) fn run(documents: &[(&str, Document)]) -> Vec<Mistake> {
    let world = World::new(documents);
    let mut notes = Notes::default();
    names::check(&world, &mut notes);
    names::check_references(&world, &mut notes);
    names::check_hostnames(&world, &mut notes);
    identity::check(&world, &mut notes);
    identity::check_twice(&world, &mut notes);
    subnets::check(&world, &mut notes);
    subnets::check_overlaps(&world, &mut notes);
    addresses::check(&world, &mut notes);
    pools::check(&world, &mut notes);
    profiles::check(&world, &mut notes);
    access::check(&world, &mut notes);
    matchbox::check(&world, &mut notes);
    notes.mistakes
}

/// All that was read.
struct World<'a> {
    documents: &'a [(&'a str, Document)],
    /// Names of each kind, those of resources with mistakes among them: what
    /// refers to such a one refers to the right thing.
    names: BTreeMap<Kind, BTreeSet<&'a str>>,
}

/// A resource and where it was read from.
struct Read<'a, S> {
    file: &'a str,
    document: &'a Document,
    object: &'a Object<S>,
}

impl<S> Clone for Read<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Read<'_, S> {}

macro_rules! of_kind {
    ($method:ident, $kind:ident, $spec:ty) => {
        fn $method(&self) -> impl Iterator<Item = Read<'a, $spec>> + use<'a> {
            self.documents
                .iter()
                .filter_map(|(file, document)| match &document.resource {
                    Some(Resource::$kind(object)) => Some(Read {
                        file,
                        document,
                        object,
                    }),
                    _ => None,
                })
        }
    };
}

impl<'a> World<'a> {
    of_kind!(chassis, Chassis, ChassisSpec);
    of_kind!(machines, Machine, MachineSpec);
    of_kind!(pools, NodePool, NodePoolSpec);
    of_kind!(profiles, Profile, ProfileSpec);
    of_kind!(clusters, Cluster, ClusterSpec);
    of_kind!(subnets, Subnet, SubnetSpec);
    of_kind!(images, Image, ImageSpec);
    of_kind!(matchbox_groups, MatchboxGroup, MatchboxGroupSpec);
    of_kind!(matchbox_profiles, MatchboxProfile, MatchboxProfileSpec);

    fn new(documents: &'a [(&'a str, Document)]) -> Self {
        let mut names: BTreeMap<Kind, BTreeSet<&'a str>> = Kind::ALL
            .into_iter()
            .map(|kind| (kind, BTreeSet::new()))
            .collect();
        for (_, document) in documents {
            if let (Some(kind), Some(name)) = (document.kind, document.name.as_deref()) {
                names.entry(kind).or_default().insert(name);
            }
        }
        Self { documents, names }
    }

    /// Names of one kind.
    fn names(&self, kind: Kind) -> &BTreeSet<&'a str> {
        const NONE: &BTreeSet<&str> = &BTreeSet::new();
        self.names.get(&kind).unwrap_or(NONE)
    }
}

impl<'a, S> Read<'a, S> {
    fn name(&self) -> &'a str {
        &self.object.metadata.name
    }

    fn spec(&self) -> &'a S {
        &self.object.spec
    }

    /// `FILE:LINE` of a part, for a message about another one.
    fn line(&self, path: &[Step<'_>]) -> String {
        let line = self.document.root.place(path).map_or(0, |at| at.line);
        format!("{}:{line}", self.file)
    }

    /// Whether nothing was reported of that part when it was read.
    fn is_sound(&self, path: &[Step<'_>]) -> bool {
        self.document.root.place(path).is_some()
    }
}

/// Collects mistakes, leaving out what was reported when it was read.
#[derive(Default)]
struct Notes {
    mistakes: Vec<Mistake>,
}

impl Notes {
    /// Notes that the value at `path` is wrong.
    fn add<S>(
        &mut self,
        read: Read<'_, S>,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = read.document.root.place(path);
        self.push(
            read.file,
            read.document,
            at,
            path,
            message.into(),
            hint.into(),
        );
    }

    /// Notes that the key at the end of `path` is wrong.
    fn add_key<S>(
        &mut self,
        read: Read<'_, S>,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = read.document.root.key_place(path);
        self.push(
            read.file,
            read.document,
            at,
            path,
            message.into(),
            hint.into(),
        );
    }

    fn push(
        &mut self,
        file: &str,
        document: &Document,
        at: Option<super::node::Place>,
        path: &[Step<'_>],
        message: String,
        hint: String,
    ) {
        let Some(at) = at else { return };
        self.mistakes.push(Mistake {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            resource: document.label(),
            path: path_text(path),
            message,
            hint,
        });
    }

    /// Notes a name that leads nowhere.
    fn unknown<S>(
        &mut self,
        read: Read<'_, S>,
        path: &[Step<'_>],
        kind: Kind,
        name: &str,
        known: &BTreeSet<&str>,
    ) {
        let known: Vec<&str> = known.iter().copied().collect();
        let hint = words::choice(name, &format!("declared as {kind}"), &known);
        self.add(read, path, format!("there is no {kind} {name:?}"), hint);
    }
}
