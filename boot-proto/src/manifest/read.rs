//! One document to one resource: `apiVersion`, `kind`, and then the kind's own type.

use crate::resources::{API_VERSION, Kind, Object, Resource};
use serde::de::DeserializeOwned;

use super::node::{Node, Value, path};
use super::typed::{self, Problem};
use super::words::{list, nearest};

/// What the API server writes into `metadata`. `kubectl get -o yaml` prints it,
/// and people put that back into a file.
const SERVER_METADATA: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A document as far as it could be read.
#[derive(Debug)]
pub(super) struct Document {
    pub root: Node,
    pub kind: Option<Kind>,
    pub name: Option<String>,
    /// There as soon as something could be made of it; has made-up parts where
    /// there are problems.
    pub resource: Option<Resource>,
    pub problems: Vec<Problem>,
}

impl Document {
    /// `Kind/name`, as far as known.
    pub fn label(&self) -> Option<String> {
        let kind = self.kind?;
        Some(
            self.name
                .as_ref()
                .map_or_else(|| kind.to_string(), |name| format!("{kind}/{name}")),
        )
    }
}

/// Reads one YAML document; several resources where it is a list of them.
pub(super) fn read(root: Node) -> Vec<Document> {
    if root.is_null() {
        return Vec::new();
    }
    let is_list = root.child("kind").and_then(Node::scalar) == Some("List");
    match root
        .entries()
        .iter()
        .find(|entry| is_list && entry.key == "items")
    {
        Some(items) => match &items.value.value {
            Value::List(items) => items.iter().cloned().map(read_one).collect(),
            _ => vec![wrong(
                root,
                "items is not a list",
                "write the resources as items, each after '- '",
            )],
        },
        None => vec![read_one(root)],
    }
}

/// The name of a document that broke off, so that nobody is told that it is not
/// there. What broke it was reported.
pub(super) fn torn(root: Node) -> Document {
    let kind = read_kind(&root, &mut Vec::new());
    let name = name_of(&root);
    Document {
        root,
        kind,
        name,
        resource: None,
        problems: Vec::new(),
    }
}

fn name_of(root: &Node) -> Option<String> {
    let name = root.child("metadata")?.child("name")?.scalar()?;
    Some(name.chars().take(253).collect())
}

fn wrong(root: Node, message: &str, hint: &str) -> Document {
    let problem = Problem {
        at: root.at,
        path: String::new(),
        message: message.into(),
        hint: hint.into(),
    };
    Document {
        root,
        kind: None,
        name: None,
        resource: None,
        problems: vec![problem],
    }
}

fn read_one(mut root: Node) -> Document {
    if !matches!(root.value, Value::Map(_)) {
        return wrong(
            root,
            "this is not a resource",
            "a resource is a mapping with apiVersion, kind, metadata and spec",
        );
    }
    let mut problems = Vec::new();
    check_version(&root, &mut problems);
    let kind = read_kind(&root, &mut problems);
    let name = name_of(&root);
    tidy(&mut root);
    let (resource, more) = kind.map_or((None, Vec::new()), |kind| read_kind_of(kind, &mut root));
    problems.extend(more);
    Document {
        root,
        kind,
        name,
        resource,
        problems,
    }
}

fn note(root: &Node, problems: &mut Vec<Problem>, field: &str, message: String, hint: String) {
    let at = root.place(&path![field]).unwrap_or(root.at);
    problems.push(Problem {
        at,
        path: field.to_owned(),
        message,
        hint,
    });
}

fn check_version(root: &Node, problems: &mut Vec<Problem>) {
    let Some(version) = root.child("apiVersion") else {
        let hint = format!("add apiVersion: {API_VERSION}");
        return note(
            root,
            problems,
            "apiVersion",
            "apiVersion is missing".into(),
            hint,
        );
    };
    let text = version.scalar().unwrap_or_default();
    if text == API_VERSION {
        return;
    }
    let group = API_VERSION.split('/').next().unwrap_or_default();
    let hint = if text.split('/').next() == Some(group) || nearest(text, [API_VERSION]).is_some() {
        format!("this release knows {API_VERSION}")
    } else {
        format!("write {API_VERSION}; keep resources of other API groups out of this folder")
    };
    let message = format!("apiVersion {text:?} is not one of Moonfarm's");
    note(root, problems, "apiVersion", message, hint);
}

fn read_kind(root: &Node, problems: &mut Vec<Problem>) -> Option<Kind> {
    let names = Kind::ALL.map(Kind::name);
    let Some(kind) = root.child("kind") else {
        let hint = format!("add kind: with one of {}", list(&names));
        note(root, problems, "kind", "kind is missing".into(), hint);
        return None;
    };
    let text = kind.scalar().unwrap_or_default();
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == text) {
        return Some(kind);
    }
    let near = nearest(text, names);
    let hint = match near {
        Some(near) => format!("did you mean {near}? The kinds are: {}", list(&names)),
        None => format!("the kinds are: {}", list(&names)),
    };
    let shown: String = text.chars().take(80).collect();
    note(
        root,
        problems,
        "kind",
        format!("there is no kind {shown:?}"),
        hint,
    );
    // Read on as what was meant, so that all is found in one go.
    Kind::ALL.into_iter().find(|kind| Some(kind.name()) == near)
}

/// Takes out what was looked at already, and what an API server added.
fn tidy(root: &mut Node) {
    root.retain(|key| !matches!(key, "apiVersion" | "kind" | "status"));
    if let Some(metadata) = root.child_mut("metadata".into()) {
        metadata.retain(|key| !SERVER_METADATA.contains(&key));
    }
}

fn read_kind_of(kind: Kind, root: &mut Node) -> (Option<Resource>, Vec<Problem>) {
    fn object<S: DeserializeOwned>(
        root: &mut Node,
        wrap: impl Fn(Object<S>) -> Resource,
    ) -> (Option<Resource>, Vec<Problem>) {
        let (object, problems) = typed::read::<Object<S>>(root);
        (object.map(wrap), problems)
    }
    match kind {
        Kind::Chassis => object(root, Resource::Chassis),
        Kind::Machine => object(root, Resource::Machine),
        Kind::NodePool => object(root, Resource::NodePool),
        Kind::Profile => object(root, Resource::Profile),
        Kind::Cluster => object(root, Resource::Cluster),
        Kind::Subnet => object(root, Resource::Subnet),
        Kind::Image => object(root, Resource::Image),
        Kind::MatchboxGroup => object(root, Resource::MatchboxGroup),
        Kind::MatchboxProfile => object(root, Resource::MatchboxProfile),
    }
}
