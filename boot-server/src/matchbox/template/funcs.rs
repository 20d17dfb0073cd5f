//! The built-in functions.

use super::compare;
use super::exec::Evaluated;
use super::format;
use super::value::Value;

/// Names of all functions there are.
const NAMES: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls any function but `and` and `or`, which do not take all their arguments.
pub(super) fn call(name: &str, arguments: &[Value]) -> Evaluated<Value> {
    match (name, arguments) {
        ("eq", [first, rest @ ..]) => compare::eq(first, rest).map(Value::Bool),
        ("ne", [first, second]) => {
            let same = compare::eq(first, std::slice::from_ref(second))?;
            Ok(Value::Bool(!same))
        }
        ("lt" | "le" | "gt" | "ge", [first, second]) => {
            compare::ordered(name, first, second).map(Value::Bool)
        }
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [value]) => length(value),
        ("index", [item, keys @ ..]) => index(item, keys),
        ("slice", [item, bounds @ ..]) => slice(item, bounds),
        ("print", values) => format::sprint(values).map(text),
        ("println", values) => format::sprintln(values).map(text),
        ("printf", [Value::Text(pattern), values @ ..]) => {
            format::sprintf(pattern, values).map(text)
        }
        ("html", values) => Ok(text(html(&joined(values)?))),
        ("js", values) => Ok(text(js(&joined(values)?))),
        ("urlquery", values) => Ok(text(query_escape(&joined(values)?))),
        ("call", _) => Err("call of a value that is no function".into()),
        _ => Err(format!("wrong number or type of args for {name}")),
    }
}

fn text(text: String) -> Value {
    Value::Text(text.into())
}

fn length(value: &Value) -> Evaluated<Value> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Texts(entries) => entries.len(),
        Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.go_type())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(item: &Value, keys: &[Value]) -> Evaluated<Value> {
    if *item == Value::Nil {
        return Err("index of untyped nil".into());
    }
    let mut value = item.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(entries), Value::Text(key)) => {
                entries.get(&**key).cloned().unwrap_or(Value::Nil)
            }
            (Value::Texts(entries), Value::Text(key)) => {
                Value::text(entries.get(&**key).map_or("", String::as_str))
            }
            (Value::List(items), Value::Int(at)) => {
                let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
                let item = item.ok_or_else(|| format!("index out of range: {at}"))?;
                item.clone()
            }
            (Value::Text(text), Value::Int(at)) => {
                let byte = usize::try_from(*at)
                    .ok()
                    .and_then(|at| text.as_bytes().get(at));
                let byte = byte.ok_or_else(|| format!("index out of range: {at}"))?;
                Value::Int(i64::from(*byte))
            }
            (item, key) => {
                return Err(format!(
                    "can't index {} with {}",
                    item.go_type(),
                    key.go_type()
                ));
            }
        };
    }
    Ok(value)
}

fn slice(item: &Value, bounds: &[Value]) -> Evaluated<Value> {
    let length = match item {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", other.go_type())),
    };
    if bounds.len() > 3 || (bounds.len() == 3 && matches!(item, Value::Text(_))) {
        return Err("too many slice indexes".into());
    }
    let bound = |at: usize, unset: usize| match bounds.get(at) {
        None => Ok(unset),
        Some(Value::Int(bound)) => usize::try_from(*bound)
            .ok()
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("index out of range: {bound}")),
        Some(other) => Err(format!("cannot index slice with {}", other.go_type())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to || bound(2, length)? < to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::List(items) => Value::List(items[from..to].to_vec().into()),
        Value::Text(whole) => text(String::from_utf8_lossy(&whole.as_bytes()[from..to]).into()),
        _ => Value::Nil,
    })
}

/// The arguments as one text, as the escaping functions take them.
fn joined(values: &[Value]) -> Evaluated<String> {
    if let [Value::Text(text)] = values {
        return Ok(text.to_string());
    }
    let shown = |value: &Value| match value {
        Value::Nil => Value::text("<no value>"),
        other => other.clone(),
    };
    format::sprint(&values.iter().map(shown).collect::<Vec<_>>())
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => escaped.push('\u{fffd}'),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn js(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\'' => escaped.push_str("\\'"),
            '"' => escaped.push_str("\\\""),
            '<' => escaped.push_str("\\u003C"),
            '>' => escaped.push_str("\\u003E"),
            '&' => escaped.push_str("\\u0026"),
            '=' => escaped.push_str("\\u003D"),
            c if c < ' ' || (!c.is_ascii() && (c.is_control() || c.is_whitespace())) => {
                let _ = write!(escaped, "\\u{:04X}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// As Go's `url.QueryEscape`: all but letters, digits and `-_.~`, a space as `+`.
fn query_escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                escaped.push(char::from(byte));
            }
            byte => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}
