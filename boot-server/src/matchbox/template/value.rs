//! Values: what JSON can say, and whole numbers, which only templates have.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A value in a template. Numbers of JSON are floating point, as Go reads them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number: a constant or a length.
    Int(i64),
    /// A number out of JSON.
    Float(f64),
    /// A text.
    Text(Rc<str>),
    /// A list.
    List(Rc<Vec<Value>>),
    /// A mapping to anything.
    Map(Rc<BTreeMap<String, Value>>),
    /// A mapping to texts alone: what is not in it is the empty text to `index`.
    Texts(Rc<BTreeMap<String, String>>),
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A mapping to anything.
    #[must_use]
    pub fn map(entries: BTreeMap<String, Self>) -> Self {
        Self::Map(Rc::new(entries))
    }

    /// A mapping to texts.
    #[must_use]
    pub fn texts(entries: BTreeMap<String, String>) -> Self {
        Self::Texts(Rc::new(entries))
    }

    /// What JSON says.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(is_true) => Self::Bool(*is_true),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::MAX)),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::List(Rc::new(items.iter().map(Self::from_json).collect())),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| (key.clone(), Self::from_json(value));
                Self::map(entries.iter().map(entry).collect())
            }
        }
    }

    /// Whether `if` takes it for true: it is there, and neither zero nor empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(is_true) => *is_true,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Texts(entries) => !entries.is_empty(),
        }
    }

    /// Its type in Go's words, as `%T` and mistakes of `printf` show it.
    pub(super) const fn go_type(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Texts(_) => "map[string]string",
        }
    }
}
