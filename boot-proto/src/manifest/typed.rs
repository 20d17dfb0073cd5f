//! A tree to a typed value, with every mistake on the way.
//!
//! serde stops at the first mistake. So each one is noted, the wrong part is
//! pruned (or what is missing is made up), and the tree is read again, until
//! nothing is wrong any more. What follows from a part that was pruned or made
//! up is not reported again.

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use serde_path_to_error::Segment;

use super::node::{Node, Place, Step, Value, path_text};
use super::words::{Complaint, list, nearest};

/// Attempts for one document, and so the mistakes found in it.
const MAX_ROUNDS: usize = 400;

/// A mistake in one document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub at: Place,
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// Reads `root` as a `T`. The value is there as soon as something could be made
/// of the document; it must not be used where there are problems.
pub(super) fn read<T: DeserializeOwned>(root: &mut Node) -> (Option<T>, Vec<Problem>) {
    let mut reader = Reader::default();
    for _ in 0..MAX_ROUNDS {
        let json = root.to_json().unwrap_or(Json::Null);
        match serde_path_to_error::deserialize::<_, T>(json) {
            Ok(value) => return (Some(value), reader.problems),
            Err(error) => {
                let path = owned_path(error.path());
                if !reader.mend(root, &path, &error.inner().to_string()) {
                    break;
                }
            }
        }
    }
    (None, reader.problems)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum OwnedStep {
    Key(String),
    Index(usize),
}

fn owned_path(path: &serde_path_to_error::Path) -> Vec<OwnedStep> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(OwnedStep::Index(*index)),
            Segment::Map { key } => Some(OwnedStep::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn steps(path: &[OwnedStep]) -> Vec<Step<'_>> {
    path.iter()
        .map(|step| match step {
            OwnedStep::Key(key) => Step::Key(key),
            OwnedStep::Index(index) => Step::Index(*index),
        })
        .collect()
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    /// How many of the candidates were tried for a missing field.
    tried: HashMap<Vec<OwnedStep>, usize>,
    /// Numbers and truth values that were taken as text, as if quoted.
    quoted: HashSet<Vec<OwnedStep>>,
}

impl Reader {
    /// Notes what is wrong and takes it out of the way; `false` where reading
    /// cannot go on.
    fn mend(&mut self, root: &mut Node, path: &[OwnedStep], message: &str) -> bool {
        if let Some(made_up) = placeholder_on(root, path) {
            return self.make_up(root, &made_up);
        }
        match Complaint::read(message) {
            Complaint::UnknownField(field, known) => {
                let mut path = path.to_vec();
                if path.last() != Some(&OwnedStep::Key(field.to_owned())) {
                    path.push(OwnedStep::Key(field.to_owned()));
                }
                let hint = unknown_field_hint(field, &known);
                self.note(
                    root,
                    &path,
                    format!("there is no field {:?}", shorten(field)),
                    hint,
                );
                prune(root, &path)
            }
            Complaint::MissingField(field) => {
                let mut path = path.to_vec();
                path.push(OwnedStep::Key(field.to_owned()));
                // A field that was pruned is there, only wrong.
                if !is_pruned(root, &path) {
                    self.note(
                        root,
                        &path,
                        format!("{field} is missing"),
                        format!("add {field}:"),
                    );
                }
                self.make_up(root, &path)
            }
            Complaint::UnknownWord(word, known) => {
                let message = format!("{:?} is not known here", shorten(word));
                let hint = match nearest(word, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}? Write one of: {}", list(&known)),
                    None => format!("write one of: {}", list(&known)),
                };
                self.note(root, path, message, hint);
                prune(root, path)
            }
            Complaint::Other(message) => self.mend_value(root, path, message),
        }
    }

    /// A value of the wrong kind or form.
    fn mend_value(&mut self, root: &mut Node, path: &[OwnedStep], message: &str) -> bool {
        let node = part(root, path);
        let in_map = matches!(path.last(), Some(OwnedStep::Key(_)));
        if in_map && node.is_some_and(Node::is_null) {
            // A key without a value is a field left out.
            return remove(root, path);
        }
        let (text, hint) = explain(message, node);
        if self.quoted.remove(path) {
            // Quotes alone do not mend it: say what is really meant.
            let shown = path_text(&steps(path));
            if let Some(problem) = self
                .problems
                .iter_mut()
                .rfind(|problem| problem.path == shown)
            {
                (problem.message, problem.hint) = (text, hint);
            }
            return prune(root, path);
        }
        let raw = node
            .filter(|node| matches!(node.value, Value::Plain(..)))
            .and_then(Node::scalar)
            .map(str::to_owned);
        self.note(root, path, text, hint);
        match (raw, part_mut(root, path)) {
            (Some(raw), Some(node)) if message.contains("expected a string") => {
                self.quoted.insert(path.to_vec());
                node.value = Value::Text(raw);
                true
            }
            _ => prune(root, path),
        }
    }

    fn note(&mut self, root: &Node, path: &[OwnedStep], message: String, hint: String) {
        let path = steps(path);
        let is_unknown = message.starts_with("there is no field");
        let at = if is_unknown {
            root.key_place(&path)
        } else {
            root.place(&path)
        };
        if let Some(at) = at {
            self.problems.push(Problem {
                at,
                path: path_text(&path),
                message,
                hint,
            });
        }
    }

    /// Puts the next candidate in for a missing field; where none fits, the whole
    /// part that misses it goes.
    fn make_up(&mut self, root: &mut Node, path: &[OwnedStep]) -> bool {
        let Some((OwnedStep::Key(field), parent)) = path.split_last() else {
            return false;
        };
        let tried = self.tried.entry(path.to_vec()).or_insert(0);
        let Some(candidate) = candidates().into_iter().nth(*tried) else {
            return prune(root, parent);
        };
        *tried += 1;
        let Some(Node {
            at,
            value: Value::Map(entries),
            ..
        }) = part_mut(root, parent)
        else {
            return false;
        };
        entries.retain(|entry| &entry.key != field);
        let value = Node::new(*at, Value::Placeholder(candidate));
        entries.push(super::node::Entry {
            key: field.clone(),
            key_at: *at,
            value,
        });
        true
    }
}

/// Values that between them fit every kind of field.
fn candidates() -> Vec<Json> {
    vec![
        json!("10.0.0.1"),
        json!("10.0.0.0/8"),
        json!(crate::ids::Digest::new([0; 32]).to_string()),
        json!("1Mi"),
        json!("1m"),
        json!("c1n1"),
        json!("00:00:00:00:00:00"),
        json!("NoSchedule"),
        json!("inRoot"),
        json!("default"),
        json!([]),
        json!({}),
        json!(false),
        json!(0),
    ]
}

fn part<'a>(root: &'a Node, path: &[OwnedStep]) -> Option<&'a Node> {
    match root.find(&steps(path)) {
        super::node::Target::Here(node, _) => Some(node),
        _ => None,
    }
}

fn part_mut<'a>(root: &'a mut Node, path: &[OwnedStep]) -> Option<&'a mut Node> {
    let mut node = root;
    for step in steps(path) {
        node = node.child_mut(step)?;
    }
    Some(node)
}

fn is_pruned(root: &Node, path: &[OwnedStep]) -> bool {
    matches!(root.find(&steps(path)), super::node::Target::Void)
}

/// The made-up part that `path` leads to or into.
fn placeholder_on(root: &Node, path: &[OwnedStep]) -> Option<Vec<OwnedStep>> {
    let mut node = root;
    for (at, step) in steps(path).into_iter().enumerate() {
        node = node.step(step)?;
        if matches!(node.value, Value::Placeholder(_)) {
            return Some(path[..=at].to_vec());
        }
    }
    None
}

fn prune(root: &mut Node, path: &[OwnedStep]) -> bool {
    match part_mut(root, path) {
        Some(node) if !path.is_empty() && node.value != Value::Pruned => {
            node.value = Value::Pruned;
            true
        }
        _ => false,
    }
}

fn remove(root: &mut Node, path: &[OwnedStep]) -> bool {
    let Some((OwnedStep::Key(key), parent)) = path.split_last() else {
        return false;
    };
    match part_mut(root, parent).map(|node| &mut node.value) {
        Some(Value::Map(entries)) => {
            let before = entries.len();
            entries.retain(|entry| &entry.key != key);
            entries.len() != before
        }
        _ => false,
    }
}

fn unknown_field_hint(field: &str, known: &[&str]) -> String {
    match nearest(field, known.iter().copied()) {
        Some(near) => format!("did you mean {near}? The fields here are: {}", list(known)),
        None => format!("the fields here are: {}", list(known)),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Makes a message for people of serde's, and says what to do.
fn explain(message: &str, node: Option<&Node>) -> (String, String) {
    let raw = node.and_then(Node::scalar);
    let shown = shorten(raw.unwrap_or_default());
    let is_text = matches!(node.map(|node| &node.value), Some(Value::Text(_)));
    if node.is_some_and(Node::is_null) {
        return (
            "this item is empty".into(),
            "write a value after the dash, or take the dash out".into(),
        );
    }
    if message == "invalid IPv4 address syntax" {
        return (
            format!("{shown:?} is not an IPv4 address"),
            "write an address such as 10.28.0.5".into(),
        );
    }
    if message == "invalid IP address syntax" {
        return (
            format!("{shown:?} is not a network"),
            "write a network and its prefix length, such as 10.28.0.0/16".into(),
        );
    }
    if message.starts_with("data did not match any variant") {
        return (
            format!("{shown:?} is not a size"),
            "write a size such as 512Mi, 2Gi or 1500000 (bytes)".into(),
        );
    }
    let expected = message
        .split_once("expected ")
        .map_or("", |(_, expected)| expected);
    let hint = match (raw, node.map(|node| &node.value)) {
        (Some(raw), Some(Value::Plain(..))) if expected.contains("string") => {
            format!("YAML reads this as a number or truth value; put it in quotes: \"{raw}\"")
        }
        (_, _) if expected.contains("boolean") => "write true or false".into(),
        (Some(_), _) if expected.contains("sequence") => {
            "write a list: one item a line, each after '- '".into()
        }
        (_, Some(Value::List(_))) => "this is a list; write a single value or a mapping".into(),
        (_, Some(Value::Map(_))) if expected.contains("sequence") => {
            "write a list: one item a line, each after '- '".into()
        }
        (_, Some(Value::Map(_))) => "this is a mapping; write a single value".into(),
        (Some(_), _) if expected.contains("struct") || expected.contains("map") => {
            "write the fields below it, indented by two blanks".into()
        }
        _ => String::new(),
    };
    let message = if is_text || !message.starts_with("invalid ") {
        message.to_owned()
    } else {
        plain_words(message)
    };
    (message, hint)
}

/// serde speaks of Rust's types; people write YAML.
fn plain_words(message: &str) -> String {
    let mut text = message.to_owned();
    for (word, plain) in [
        ("invalid type: ", "wrong kind of value: "),
        ("sequence", "list"),
        ("map", "mapping"),
        ("u32", "whole number from 0 to 4294967295"),
        ("u8", "whole number from 0 to 255"),
    ] {
        text = text.replace(word, plain);
    }
    match text.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a mapping with fields"),
        None => text,
    }
}
