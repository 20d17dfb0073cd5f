//! Resources as the YAML that a manifest folder takes, findings on top.

use std::fmt::Write as _;

use boot_proto::resources::{API_VERSION, Resource};
use serde::Serialize;

use super::Imported;

/// A resource with the two words that a manifest begins with.
#[derive(Serialize)]
struct Document<'a, O> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    object: &'a O,
}

/// One YAML text with every resource, and the findings as comments in front.
///
/// # Errors
/// When a resource cannot be written as YAML.
pub fn render(imported: &Imported, origin: &str) -> Result<String, serde_yaml_ng::Error> {
    let mut text = format!("# Made by `boot-server import {origin}`.\n");
    for finding in &imported.findings {
        let line = one_line(&finding.to_string());
        let _ = writeln!(text, "# {line}");
    }
    for resource in &imported.resources {
        text.push_str("---\n");
        text.push_str(&document(resource)?);
    }
    Ok(text)
}

fn document(resource: &Resource) -> Result<String, serde_yaml_ng::Error> {
    let kind = resource.kind().name();
    match resource {
        Resource::Chassis(object) => yaml(kind, object),
        Resource::Machine(object) => yaml(kind, object),
        Resource::NodePool(object) => yaml(kind, object),
        Resource::Profile(object) => yaml(kind, object),
        Resource::Cluster(object) => yaml(kind, object),
        Resource::Subnet(object) => yaml(kind, object),
        Resource::Image(object) => yaml(kind, object),
    }
}

fn yaml<O: Serialize>(kind: &'static str, object: &O) -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&Document {
        api_version: API_VERSION,
        kind,
        object,
    })
}

/// A value's text may hold line ends, which would end the comment.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
