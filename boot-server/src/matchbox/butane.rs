//! Butane configs to Ignition: names in the other spelling, and `inline` texts as
//! data URLs. That is what configs out of templates need; what Butane makes up
//! beyond it (mirrored disks, mount units, files of its own folder) is refused by
//! name, never left out in silence.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::ConfigError;
use super::ignition::{self, SchemaField, SchemaKind};

/// Variants and versions whose names are those of Ignition up to 3.4.
const KNOWN: [(&str, &[&str]); 2] = [
    ("flatcar", &["1.0.0", "1.1.0"]),
    (
        "fcos",
        &["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"],
    ),
];
/// Keys that Butane makes more of than a name in another spelling.
const SUGAR: [&str; 8] = [
    "boot_device",
    "grub",
    "trees",
    "local",
    "contents_local",
    "ssh_authorized_keys_local",
    "with_mount_unit",
    "extensions",
];
/// How deep a config may go; Ignition's types go less deep.
const MAX_DEPTH: usize = 32;

/// The Ignition config of a Butane config.
pub(super) fn translate(text: &str) -> Result<String, ConfigError> {
    let butane: Json = serde_yaml_ng::from_str(text)?;
    let word = |key: &str| butane[key].as_str().unwrap_or_default().to_owned();
    let (variant, version) = (word("variant"), word("version"));
    let is_known = KNOWN
        .iter()
        .any(|(known, versions)| *known == variant && versions.contains(&version.as_str()));
    if !is_known {
        return Err(ConfigError::Butane { variant, version });
    }
    refuse_sugar(&butane, "", 0)?;
    let mut config = object(&butane, ignition::SCHEMA);
    config["ignition"]["version"] = json!(ignition::VERSION);
    ignition::written(&config)
}

fn refuse_sugar(value: &Json, path: &str, depth: usize) -> Result<(), ConfigError> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    match value {
        Json::Object(entries) => {
            for (key, value) in entries {
                let is_unset = value.is_null() || *value == json!(false);
                if SUGAR.contains(&key.as_str()) && !is_unset {
                    return Err(ConfigError::Sugar {
                        path: path.to_owned(),
                        key: key.clone(),
                    });
                }
                refuse_sugar(value, &ignition::join(path, key), depth + 1)?;
            }
        }
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                refuse_sugar(item, &ignition::join(path, &at.to_string()), depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The fields of an object under Ignition's names. What is of the wrong kind
/// stays, and is refused when the config is written.
fn object(butane: &Json, fields: &[SchemaField]) -> Json {
    let Some(entries) = butane.as_object() else {
        return butane.clone();
    };
    let mut out = Map::new();
    for field in fields {
        if let Some(found) = entries.get(&snake_case(field.name)) {
            out.insert(field.name.to_owned(), value(found, &field.kind));
        }
    }
    let is_resource = fields.iter().any(|field| field.name == "source");
    if let Some(inline) = entries.get("inline").and_then(Json::as_str)
        && is_resource
    {
        out.insert("source".to_owned(), json!(data_url(inline)));
        out.entry("compression").or_insert_with(|| json!(""));
    }
    Json::Object(out)
}

fn value(butane: &Json, kind: &SchemaKind) -> Json {
    match (kind, butane) {
        (SchemaKind::One(fields), _) => object(butane, fields),
        (SchemaKind::Many(kind), Json::Array(items)) => {
            items.iter().map(|item| value(item, kind)).collect()
        }
        // YAML 1.1's octal numbers, which modes of files are written in.
        (SchemaKind::Whole, Json::String(text)) => {
            let octal = text.strip_prefix('0').filter(|digits| !digits.is_empty());
            let number = octal.and_then(|digits| i64::from_str_radix(digits, 8).ok());
            number.map_or_else(|| butane.clone(), |number| json!(number))
        }
        _ => butane.clone(),
    }
}

/// `sshAuthorizedKeys` as `ssh_authorized_keys`, `sizeMiB` as `size_mib`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.replace("MiB", "Mib").chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// A data URL (RFC 2397). Butane would pack a long text; what the machine gets of
/// it is the same.
fn data_url(text: &str) -> String {
    let mut url = String::with_capacity(text.len() + 6);
    url.push_str("data:,");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}
