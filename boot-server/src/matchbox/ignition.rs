//! Ignition configs: JSON brought into the form that Matchbox gives.
//!
//! Matchbox reads a config into its types and writes it anew, as version 3.4.
//! The types are data here, in `schema.rs`. A config of another version, which
//! Matchbox turns into an empty one, is given as it stands: the machine knows
//! better what it can read.

mod schema;

use serde_json::{Map, Value as Json};

use super::template::TemplateError;
pub(super) use schema::{CONFIG as SCHEMA, Field as SchemaField, Kind as SchemaKind};
use schema::{CONFIG, Field, Kind, Need};

/// Version that configs are given as.
pub(super) const VERSION: &str = "3.4.0";
/// Minor versions of 3 that are brought up to it.
const OLDER: [&str; 5] = ["3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0"];

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The template cannot be read or rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no YAML.
    #[error("it is no YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// It has no version.
    #[error("it is no Ignition config: ignition.version is missing")]
    NoVersion,
    /// A value is of the wrong kind.
    #[error("{path}: {expected} was expected")]
    Value {
        /// Where, such as `storage.files.0.mode`.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Neither a script nor a Cloud-Config.
    #[error("it begins with neither #cloud-config nor #!")]
    NotCloudConfig,
    /// A Butane config that is not known here.
    #[error("variant {variant:?}, version {version:?} of Butane is not known here; {CONVERT}")]
    Butane {
        /// Its variant.
        variant: String,
        /// Its version.
        version: String,
    },
    /// Butane would make more of this than is done here.
    #[error("{path}: Butane's {key} is not done here; {CONVERT}")]
    Sugar {
        /// Where.
        path: String,
        /// The key.
        key: String,
    },
}

const CONVERT: &str = "convert the config with butane and name the result FILE.ign";

/// Whether a file of that name is Ignition as it stands, not a template.
pub(crate) fn is_raw(name: &str) -> bool {
    [".ign", ".ignition"].iter().any(|end| name.ends_with(end))
}

/// An Ignition config as Matchbox gives it.
///
/// # Errors
/// When it is none.
pub fn ignition(text: &str) -> Result<String, ConfigError> {
    let mut config: Json = serde_json::from_str(text)?;
    let version = config.pointer("/ignition/version").and_then(Json::as_str);
    let version = version.ok_or(ConfigError::NoVersion)?.to_owned();
    if !OLDER.contains(&version.as_str()) {
        return Ok(serde_json::to_string(&config)?);
    }
    if version != VERSION {
        raise(&mut config);
    }
    written(&config)
}

/// The config in its written form, every field in its place.
pub(super) fn written(config: &Json) -> Result<String, ConfigError> {
    let mut text = String::new();
    write_fields(&mut text, config, CONFIG, "")?;
    Ok(text)
}

/// Before 3.4 the special mode bits had no effect.
fn raise(config: &mut Json) {
    config["ignition"]["version"] = VERSION.into();
    for list in ["files", "directories"] {
        let nodes = config.pointer_mut(&format!("/storage/{list}"));
        for node in nodes.and_then(Json::as_array_mut).into_iter().flatten() {
            if let Some(mode) = node.get("mode").and_then(Json::as_i64) {
                node["mode"] = (mode & !0o7000).into();
            }
        }
    }
}

fn write_fields(
    text: &mut String,
    object: &Json,
    fields: &[Field],
    path: &str,
) -> Result<(), ConfigError> {
    let empty = Map::new();
    let object = match object {
        Json::Null => &empty,
        Json::Object(object) => object,
        _ => return Err(wrong(path, "an object")),
    };
    text.push('{');
    let start = text.len();
    for field in fields {
        let path = join(path, field.name);
        let value = find(object, field.name);
        if is_left_out(field, value) {
            continue;
        }
        if text.len() > start {
            text.push(',');
        }
        write_text(text, field.name);
        text.push(':');
        write_value(text, value.unwrap_or(&Json::Null), &field.kind, &path)?;
    }
    text.push('}');
    Ok(())
}

/// As Go's decoder finds a field: by its name, else without regard to case.
fn find<'a>(object: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    let exact = object.get(name);
    let other = || {
        object
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    exact
        .or_else(|| other().map(|(_, value)| value))
        .filter(|value| !value.is_null())
}

fn is_left_out(field: &Field, value: Option<&Json>) -> bool {
    if matches!(field.kind, Kind::One(_)) || field.need == Need::Always {
        return false;
    }
    let Some(value) = value else { return true };
    let is_empty = match value {
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    is_empty && (field.need == Need::NotEmpty || matches!(field.kind, Kind::Many(_)))
}

fn write_value(
    text: &mut String,
    value: &Json,
    kind: &Kind,
    path: &str,
) -> Result<(), ConfigError> {
    match (kind, value) {
        (Kind::One(fields), value) => write_fields(text, value, fields, path)?,
        (Kind::Many(kind), Json::Array(items)) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_value(text, item, kind, &join(path, &at.to_string()))?;
            }
            text.push(']');
        }
        (Kind::Many(_), _) => return Err(wrong(path, "a list")),
        (Kind::Text, Json::String(value)) => write_text(text, value),
        (Kind::Text, Json::Null) => write_text(text, ""),
        (Kind::Text, _) => return Err(wrong(path, "a text")),
        (Kind::Whole, value) => match value.as_i64() {
            Some(number) => text.push_str(&number.to_string()),
            None => return Err(wrong(path, "a whole number")),
        },
        (Kind::Truth, Json::Bool(is_true)) => text.push_str(&is_true.to_string()),
        (Kind::Truth, _) => return Err(wrong(path, "true or false")),
    }
    Ok(())
}

/// As Go's encoder: what means something in HTML is escaped, too.
fn write_text(text: &mut String, value: &str) {
    let quoted = Json::String(value.to_owned()).to_string();
    for c in quoted.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            c => text.push(c),
        }
    }
}

pub(super) fn join(path: &str, part: &str) -> String {
    if path.is_empty() {
        part.to_owned()
    } else {
        format!("{path}.{part}")
    }
}

fn wrong(path: &str, expected: &'static str) -> ConfigError {
    ConfigError::Value {
        path: path.to_owned(),
        expected,
    }
}
