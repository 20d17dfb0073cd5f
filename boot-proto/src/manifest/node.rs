//! A YAML document as a tree that knows where every part of it stands.

use serde_json::{Map, Value as Json};

/// Line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// One step from a part to a part of it. An index counts what [`Node::to_json`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(key: &'a String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// Null, a boolean or a number, and how it was written.
    Plain(Json, String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Wrong, and reported: stands for nothing any more.
    Pruned,
    /// Put in for what is missing, so that reading can go on.
    Placeholder(Json),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Place,
    pub value: Node,
}

/// Where a path leads.
pub(super) enum Target<'a> {
    /// To this part; the place of its key where it has one.
    Here(&'a Node, Option<Place>),
    /// To something pruned or made up: what is said of it was said already.
    Void,
    /// The part is not there; this is the key or item that should hold it.
    Inside(Place),
}

impl Node {
    pub const fn new(at: Place, value: Value) -> Self {
        Self { at, value }
    }

    pub const fn is_null(&self) -> bool {
        matches!(self.value, Value::Plain(Json::Null, _))
    }

    /// The text of a scalar, as it was written.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Plain(_, text) => Some(text),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub fn child(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Takes entries out that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|entry| keep(&entry.key));
        }
    }

    /// The value for serde; what is pruned is left out.
    pub fn to_json(&self) -> Option<Json> {
        Some(match &self.value {
            Value::Text(text) => Json::String(text.clone()),
            Value::Plain(json, _) | Value::Placeholder(json) => json.clone(),
            Value::List(items) => Json::Array(items.iter().filter_map(Self::to_json).collect()),
            Value::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    if let Some(value) = entry.value.to_json() {
                        map.insert(entry.key.clone(), value);
                    }
                }
                Json::Object(map)
            }
            Value::Pruned => return None,
        })
    }

    pub fn step(&self, step: Step<'_>) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Map(_), Step::Key(key)) => self.child(key),
            (Value::List(items), Step::Index(index)) => items
                .iter()
                .filter(|item| item.value != Value::Pruned)
                .nth(index),
            _ => None,
        }
    }

    pub fn child_mut(&mut self, step: Step<'_>) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Map(entries), Step::Key(key)) => entries
                .iter_mut()
                .find(|entry| entry.key == key)
                .map(|entry| &mut entry.value),
            (Value::List(items), Step::Index(index)) => items
                .iter_mut()
                .filter(|item| item.value != Value::Pruned)
                .nth(index),
            _ => None,
        }
    }

    pub fn find(&self, path: &[Step<'_>]) -> Target<'_> {
        let mut node = self;
        let mut key_at = None;
        for step in path {
            let next = match (&node.value, step) {
                (Value::Pruned | Value::Placeholder(_), _) => return Target::Void,
                (Value::Map(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|entry| entry.key == *key)
                    .map(|entry| (&entry.value, Some(entry.key_at))),
                (Value::List(items), Step::Index(index)) => items
                    .iter()
                    .filter(|item| item.value != Value::Pruned)
                    .nth(*index)
                    .map(|item| (item, None)),
                _ => None,
            };
            match next {
                Some((next, at)) => (node, key_at) = (next, at),
                None => return Target::Inside(key_at.unwrap_or(node.at)),
            }
        }
        match node.value {
            Value::Pruned | Value::Placeholder(_) => Target::Void,
            _ => Target::Here(node, key_at),
        }
    }

    /// Where to point for `path`: at a scalar itself, at the key of anything
    /// larger, at what should hold it where it is missing. `None` for what was
    /// reported already.
    pub fn place(&self, path: &[Step<'_>]) -> Option<Place> {
        match self.find(path) {
            Target::Void => None,
            Target::Inside(at) => Some(at),
            Target::Here(node, key_at) => match node.value {
                Value::List(_) | Value::Map(_) => Some(key_at.unwrap_or(node.at)),
                _ => Some(node.at),
            },
        }
    }

    /// Where the key stands that `path` ends with.
    pub fn key_place(&self, path: &[Step<'_>]) -> Option<Place> {
        match self.find(path) {
            Target::Void => None,
            Target::Inside(at) => Some(at),
            Target::Here(node, key_at) => Some(key_at.unwrap_or(node.at)),
        }
    }
}

/// The path as people write it: `spec.ranges[0].from`, `spec.labels["a.b/c"]`.
pub(super) fn path_text(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                let is_word = key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                if is_word && !key.is_empty() {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                } else {
                    let short: String = key.chars().take(80).collect();
                    text.push_str(&format!("[{short:?}]"));
                }
            }
        }
    }
    text
}

/// A path out of keys and indexes.
macro_rules! steps {
    ($($step:expr),* $(,)?) => { [$($crate::manifest::node::Step::from($step)),*] };
}
pub(super) use steps as path;
