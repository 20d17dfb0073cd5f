//! What templates are rendered with, and the same as lines of `KEY=value`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use boot_proto::resources::MatchboxGroupSpec;

use super::select::normal_selector;
use super::template::{MAX_OUTPUT, float};
use super::{Labels, Value};

/// The group's metadata; over it its selectors, their keys in small letters; and
/// the request under a name that is kept for it.
#[must_use]
pub fn variables(group: &MatchboxGroupSpec, labels: &Labels, raw_query: &str) -> Value {
    let mut values = BTreeMap::new();
    for (key, value) in &group.metadata {
        values.insert(key.clone(), Value::from_json(value));
    }
    for (key, value) in normal_selector(group) {
        values.insert(key.to_lowercase(), Value::text(&value));
    }
    let request = BTreeMap::from([
        ("query".to_owned(), Value::texts(labels.clone())),
        ("raw_query".to_owned(), Value::text(raw_query)),
    ]);
    values.insert("request".to_owned(), Value::map(request));
    Value::map(values)
}

/// `KEY=value` lines of all texts, numbers and truth values; keys of mappings in
/// each other are joined with `_`. Lists have no place there. Matchbox's order is
/// by chance; ours is sorted. What goes beyond a bound is left out.
#[must_use]
pub fn environment(values: &Value) -> String {
    let mut text = String::new();
    write_lines(&mut text, "", values);
    text
}

fn write_lines(text: &mut String, prefix: &str, values: &Value) {
    match values {
        Value::Texts(entries) => {
            for (key, value) in entries.iter() {
                write_line(text, prefix, key, value);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries.iter() {
                match value {
                    Value::Bool(is_true) => write_line(text, prefix, key, &is_true.to_string()),
                    Value::Float(number) => write_line(text, prefix, key, &float(*number)),
                    Value::Text(value) => write_line(text, prefix, key, value),
                    Value::Map(_) | Value::Texts(_) => {
                        write_lines(text, &format!("{prefix}{key}_"), value);
                    }
                    Value::Nil | Value::Int(_) | Value::List(_) => {}
                }
            }
        }
        _ => {}
    }
}

fn write_line(text: &mut String, prefix: &str, key: &str, value: &str) {
    if text.len().saturating_add(value.len()) < MAX_OUTPUT {
        let _ = writeln!(text, "{}={value}", format!("{prefix}{key}").to_uppercase());
    }
}
