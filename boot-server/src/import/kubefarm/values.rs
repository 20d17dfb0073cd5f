//! Values files: YAML to one tree, as Helm lays them over each other and over
//! the chart's own.

use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

/// The defaults of kubefarm's chart (0.13) that reach a node or the network.
const DEFAULTS: &str = r#"
ltsp:
  enabled: true
  config:
    disableAutoupdate: true
    sysctls:
      net.ipv4.ip_forward: 1
      net.ipv6.conf.all.forwarding: 1
    modules: [br_netfilter]
    options: {}
tags:
  ltspOptions:
    all:
      FSTAB_KUBELET: "tmpfs /var/lib/kubelet tmpfs x-systemd.wanted-by=kubelet.service 0 0"
      FSTAB_DOCKER: "tmpfs /var/lib/docker tmpfs x-systemd.wanted-by=docker.service 0 0"
      KUBELET_EXTRA_ARGS_CGROUP: --cgroup-driver=systemd
    debug:
      DEBUG_SHELL: "1"
"#;

/// Why a values file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// It is not YAML.
    #[error("the values are not YAML")]
    Yaml(#[source] serde_yaml_ng::Error),
    /// It is YAML, and not a map.
    #[error("values are a map of keys such as nodePools and tags, and this is {0}")]
    NoMap(&'static str),
}

/// Reads one values file.
///
/// # Errors
/// When it is not a YAML map.
pub fn parse(text: &str) -> Result<Value, ValuesError> {
    let yaml: Yaml = serde_yaml_ng::from_str(text).map_err(ValuesError::Yaml)?;
    match json(yaml) {
        map @ Value::Object(_) => Ok(map),
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Array(_) => Err(ValuesError::NoMap("a list")),
        _ => Err(ValuesError::NoMap("a single value")),
    }
}

/// Lays the files over the chart's defaults, a later one winning: maps merge,
/// lists and single values are replaced, `null` takes a default away.
pub(super) fn layered(files: &[Value]) -> Value {
    let mut whole = parse(DEFAULTS).unwrap_or_default();
    for file in files {
        lay_over(&mut whole, file);
    }
    whole
}

fn lay_over(below: &mut Value, above: &Value) {
    let (Value::Object(below), Value::Object(above)) = (below, above) else {
        return;
    };
    for (key, value) in above {
        match below.get_mut(key) {
            _ if value.is_null() => drop(below.remove(key)),
            Some(known) if known.is_object() && value.is_object() => lay_over(known, value),
            _ => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// Keys become text, as in Helm: `42:` under dhcpOptions is the key `"42"`.
fn json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(it) => Value::Bool(it),
        Yaml::Number(number) => {
            let whole = number.as_i64().map(Value::from);
            let whole = whole.or_else(|| number.as_u64().map(Value::from));
            whole.unwrap_or_else(|| number.as_f64().map_or(Value::Null, Value::from))
        }
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(json).collect()),
        Yaml::Mapping(map) => Value::Object(
            map.into_iter()
                .filter_map(|(key, value)| Some((text(&json(key))?, json(value))))
                .collect(),
        ),
        Yaml::Tagged(tagged) => json(tagged.value),
    }
}

/// A single value as a template prints it; nothing for maps, lists and null.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(it) => Some(it.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text at a path of keys.
pub(super) fn text_at(value: &Value, path: &[&str]) -> Option<String> {
    text(at(value, path)).filter(|text| !text.is_empty())
}

/// The value at a path of keys; null where there is none.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter()
        .try_fold(value, |value, key| value.get(key))
        .unwrap_or(&Value::Null)
}

/// Keys and values of a map, in order of keys; nothing for anything else.
pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Items of a list; a single text is a list of one.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::String(_) => std::slice::from_ref(value),
        _ => &[],
    }
}
