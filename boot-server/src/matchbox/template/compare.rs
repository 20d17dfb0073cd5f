//! `eq` and the orders, as strict as Go's: a whole number and one out of JSON
//! are of two types, and asking whether they are the same is an error.

use std::cmp::Ordering;

use super::exec::Evaluated;
use super::value::Value;

const INCOMPATIBLE: &str = "incompatible types for comparison";
const WRONG_TYPE: &str = "invalid type for comparison";

/// Whether `first` is one of the others.
pub(super) fn eq(first: &Value, others: &[Value]) -> Evaluated<bool> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if is_same(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_same(first: &Value, second: &Value) -> Evaluated<bool> {
    match (first, second) {
        (Value::Bool(first), Value::Bool(second)) => Ok(first == second),
        (Value::Int(first), Value::Int(second)) => Ok(first == second),
        #[allow(clippy::float_cmp, reason = "it is what the template asks for")]
        (Value::Float(first), Value::Float(second)) => Ok(first == second),
        (Value::Text(first), Value::Text(second)) => Ok(first == second),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        _ if is_basic(first) || is_basic(second) => Err(INCOMPATIBLE.into()),
        _ => Err("non-comparable types".into()),
    }
}

const fn is_basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)
    )
}

/// `lt`, `le`, `gt` or `ge`.
pub(super) fn ordered(name: &str, first: &Value, second: &Value) -> Evaluated<bool> {
    let order = match (first, second) {
        (Value::Int(first), Value::Int(second)) => Some(first.cmp(second)),
        (Value::Float(first), Value::Float(second)) => first.partial_cmp(second),
        (Value::Text(first), Value::Text(second)) => Some(first.cmp(second)),
        (Value::Bool(_), Value::Bool(_)) => return Err(WRONG_TYPE.into()),
        _ if is_basic(first) && is_basic(second) => return Err(INCOMPATIBLE.into()),
        _ => return Err(WRONG_TYPE.into()),
    };
    let is_less = order == Some(Ordering::Less);
    let is_at_most = is_less || order == Some(Ordering::Equal);
    Ok(match name {
        "lt" => is_less,
        "le" => is_at_most,
        "gt" => !is_at_most,
        _ => !is_less,
    })
}
