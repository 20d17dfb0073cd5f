//! What Kubernetes accepts as label and taint (`apimachinery`'s
//! `IsQualifiedName` and `IsValidLabelValue`; `ValidateTaints`).

use std::collections::BTreeMap;

use super::{Notes, Read};
use crate::manifest::node::Step;
use crate::resources::Taint;

const NAME_HINT: &str = "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, 63 at most; in front of it there may be a DNS name and '/'";
const VALUE_HINT: &str = "empty, or letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, 63 at most";

/// Why Kubernetes would refuse this label or taint key.
pub(super) fn key_mistake(key: &str) -> Option<&'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Some("the part before '/' is empty");
            }
            if crate::ids::name_mistake(prefix).is_some() {
                return Some("the part before '/' is not a DNS name in lower case");
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Some("the name is empty");
    }
    if name.len() > 63 {
        return Some("the name has more than 63 characters");
    }
    if is_plain(name) {
        None
    } else {
        Some("the name has characters that Kubernetes refuses")
    }
}

/// Why Kubernetes would refuse this label or taint value.
pub(super) fn value_mistake(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("the value has more than 63 characters");
    }
    if value.is_empty() || is_plain(value) {
        None
    } else {
        Some("the value has characters that Kubernetes refuses")
    }
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Checks node labels that stand at `path`.
pub(super) fn check_labels<S>(
    notes: &mut Notes,
    read: Read<'_, S>,
    path: &[Step<'_>],
    labels: &BTreeMap<String, String>,
) {
    for (key, value) in labels {
        let mut path = path.to_vec();
        path.push(Step::Key(key));
        if let Some(why) = key_mistake(key) {
            notes.add_key(read, &path, format!("label {key:?}: {why}"), NAME_HINT);
        }
        if let Some(why) = value_mistake(value) {
            notes.add(
                read,
                &path,
                format!("label {key}: {value:?}: {why}"),
                VALUE_HINT,
            );
        }
    }
}

/// Checks taints that stand at `path`.
pub(super) fn check_taints<S>(
    notes: &mut Notes,
    read: Read<'_, S>,
    path: &[Step<'_>],
    taints: &[Taint],
) {
    for (at, taint) in taints.iter().enumerate() {
        let within = |field: &'static str| [path, &[Step::Index(at), Step::Key(field)]].concat();
        if let Some(why) = key_mistake(&taint.key) {
            notes.add(
                read,
                &within("key"),
                format!("taint {:?}: {why}", taint.key),
                NAME_HINT,
            );
        }
        if let Some(why) = value_mistake(&taint.value) {
            let message = format!("taint {}: {:?}: {why}", taint.key, taint.value);
            notes.add(read, &within("value"), message, VALUE_HINT);
        }
        let same = |other: &Taint| other.key == taint.key && other.effect == taint.effect;
        if taints.iter().take(at).any(same) {
            let message = format!(
                "taint {} with effect {:?} is given twice",
                taint.key, taint.effect
            );
            let hint = "Kubernetes takes a key once for each effect; keep one of the two";
            notes.add(read, &within("key"), message, hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        for key in [
            "a",
            "storage.example.com/fast-disk",
            "A_b.c-1",
            "node-role.kubernetes.io/x",
        ] {
            assert_eq!(key_mistake(key), None, "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "-a",
            "a b",
            "EXAMPLE.com/a",
            &"a".repeat(64),
        ] {
            assert!(key_mistake(key).is_some(), "{key}");
        }
        for value in ["", "a", "v1.2_3-x"] {
            assert_eq!(value_mistake(value), None, "{value}");
        }
        for value in ["-a", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(value_mistake(value).is_some(), "{value}");
        }
    }
}
