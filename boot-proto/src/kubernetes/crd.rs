//! CustomResourceDefinitions of all kinds, as `cargo xtask crds` writes them
//! into `deploy/crds`.
//!
//! The schema comes from the types, what a type cannot say from
//! `rules`.

use kube_core::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::claim::{self, AddressClaim};
use super::columns;
use super::rules::{self, Patch};
use crate::resources::{Kind, crd_types as kinds};

/// One CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Plural name in the API's paths, and of the file.
    pub plural: String,
    /// The object, `apiVersion` and all.
    pub object: Value,
}

/// All definitions: the kinds of resources and [`AddressClaim`].
///
/// # Panics
/// When a rule names a field that its kind does not have; a test holds that off.
#[must_use]
pub fn definitions() -> Vec<Definition> {
    let kinds = [
        (Kind::Chassis, kinds::Chassis::crd()),
        (Kind::Machine, kinds::Machine::crd()),
        (Kind::NodePool, kinds::NodePool::crd()),
        (Kind::Profile, kinds::Profile::crd()),
        (Kind::Cluster, kinds::Cluster::crd()),
        (Kind::Subnet, kinds::Subnet::crd()),
        (Kind::Image, kinds::Image::crd()),
        (Kind::MatchboxGroup, kinds::MatchboxGroup::crd()),
        (Kind::MatchboxProfile, kinds::MatchboxProfile::crd()),
    ];
    let mut all: Vec<Definition> = kinds
        .into_iter()
        .map(|(kind, crd)| definition(super::plural(kind), json!(crd), &rules::of(kind)))
        .collect();
    all.push(definition(
        claim::PLURAL,
        json!(AddressClaim::crd()),
        &rules::of_claims(),
    ));
    all
}

fn definition(plural: &str, mut object: Value, patches: &[Patch]) -> Definition {
    let schema = object
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .unwrap_or_else(|| panic!("{plural} has no schema"));
    schema["properties"]["metadata"] = metadata();
    schema["description"] = schema["properties"]["spec"]["description"].clone();
    for patch in patches {
        let place = find(schema, patch.path)
            .unwrap_or_else(|| panic!("{plural} has no field {}", patch.path));
        merge(place, &patch.schema);
    }
    bound(schema);
    object["spec"]["versions"][0]["additionalPrinterColumns"] = columns::of(plural);
    Definition {
        plural: plural.to_owned(),
        object,
    }
}

/// Of the metadata a definition may only restrict the name. The API server takes
/// longer parts between dots than a host name may have.
fn metadata() -> Value {
    let mut name = rules::dns_name();
    name["type"] = json!("string");
    json!({"type": "object", "properties": {"name": name}})
}

/// The schema at a path such as `spec.taints[].key` or `spec.sysctls{}`; the
/// empty path is the object itself.
fn find<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut at = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches(['[', ']', '{', '}']);
        at = at.get_mut("properties")?.get_mut(name)?;
        // Marks behind the name, from the outer to the inner: `hosts{}[]`.
        let mut marks = &part[name.len()..];
        while !marks.is_empty() {
            let inner = if marks.starts_with("[]") {
                "items"
            } else {
                "additionalProperties"
            };
            at = at.get_mut(inner)?;
            marks = &marks[2..];
        }
    }
    Some(at)
}

/// Lays `more` over a schema; validation rules add up.
fn merge(schema: &mut Value, more: &Value) {
    const RULES: &str = "x-kubernetes-validations";
    let (Some(schema), Some(more)) = (schema.as_object_mut(), more.as_object()) else {
        return;
    };
    for (key, value) in more {
        match (key.as_str(), schema.get_mut(key)) {
            (RULES, Some(Value::Array(rules))) => {
                rules.extend(value.as_array().into_iter().flatten().cloned());
            }
            _ => drop(schema.insert(key.clone(), value.clone())),
        }
    }
}

/// Formats that Kubernetes knows and our types have (`SupportedFormats` of
/// `apiextensions`).
const FORMATS: [&str; 5] = ["int32", "int64", "double", "date-time", "ipv4"];

/// Bounds for everything that has none: without them the API server cannot tell
/// what a rule may cost, and refuses the definition.
fn bound(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    // What the API server does not know it takes with a warning, and leaves alone.
    let is_known = |format: &Value| {
        let format = format.as_str();
        format.is_some_and(|format| FORMATS.contains(&format))
    };
    let most = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(u64::from(u8::MAX)),
        Some("uint16") => Some(u64::from(u16::MAX)),
        Some("uint32") => Some(u64::from(u32::MAX)),
        _ => None,
    };
    if let Some(most) = most {
        or_insert(object, "maximum", most);
    }
    object.retain(|key, value| key != "format" || !value.is_string() || is_known(value));
    match object.get("type").and_then(Value::as_str) {
        Some("string") if !object.contains_key("enum") && !object.contains_key("format") => {
            or_insert(object, "maxLength", 1024);
        }
        Some("array") => or_insert(object, "maxItems", 256),
        Some("object") if object.contains_key("additionalProperties") => {
            or_insert(object, "maxProperties", 128);
        }
        _ => {}
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            bound(inner);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(bound);
    }
}

fn or_insert(object: &mut Map<String, Value>, key: &str, value: u64) {
    object.entry(key).or_insert_with(|| json!(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_strict_schema_and_a_status() {
        let all = definitions();
        assert_eq!(all.len(), 10);
        for Definition { plural, object } in all {
            let version = &object["spec"]["versions"][0];
            let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(spec["type"], "object", "{plural}");
            assert!(
                spec["properties"].as_object().is_some_and(|p| p.len() >= 2),
                "{plural}"
            );
            if plural != claim::PLURAL {
                assert_eq!(version["subresources"]["status"], json!({}), "{plural}");
            }
            assert_eq!(object["spec"]["names"]["categories"], json!(["moonfarm"]));
            assert!(!object.to_string().contains("$ref"), "{plural}");
        }
    }
}
