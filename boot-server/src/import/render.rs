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
        Resource::MatchboxGroup(object) => yaml(kind, object),
        Resource::MatchboxProfile(object) => yaml(kind, object),
    }
}

fn yaml<O: Serialize>(kind: &'static str, object: &O) -> Result<String, serde_yaml_ng::Error> {
    let text = serde_yaml_ng::to_string(&Document {
        api_version: API_VERSION,
        kind,
        object,
    })?;
    Ok(for_kubectl(&text))
}

/// Quotes the words that YAML 1.1, which kubectl reads, takes for `true` and
/// `false`: to YAML 1.2, which we read and write, they are text like any other.
pub(crate) fn for_kubectl(yaml: &str) -> String {
    const WORDS: [&str; 8] = ["y", "yes", "n", "no", "on", "off", "true", "false"];
    // Lines of a block of text, deeper than this, are text as they stand.
    let mut block: Option<usize> = None;
    let mut quoted = String::with_capacity(yaml.len());
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        let is_text = block.is_some_and(|block| indent > block || line.trim().is_empty());
        if !is_text {
            block = line
                .trim_end_matches(['-', '+'])
                .ends_with('|')
                .then_some(indent);
        }
        let at = line.rfind(' ').map_or(0, |space| space + 1);
        let (before, word) = line.split_at(at);
        let is_value = before.ends_with(": ") || before.ends_with("- ");
        let lower = word.to_ascii_lowercase();
        // What our own YAML calls a boolean is one.
        let is_boolean = matches!(word, "true" | "false");
        if !is_text && is_value && !is_boolean && WORDS.contains(&lower.as_str()) {
            let _ = writeln!(quoted, "{before}\"{word}\"");
        } else {
            let _ = writeln!(quoted, "{line}");
        }
    }
    quoted
}

/// A value's text may hold line ends, which would end the comment.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_kubectl_takes_for_booleans_are_quoted() {
        let text = "a: yes\npower: On\nlist:\n- off\n- office\nflag: true\nquoted: \"no\"\nfile: |-\n  key: yes\n\n  b: no\nafter: No\n";
        assert_eq!(
            for_kubectl(text),
            "a: \"yes\"\npower: \"On\"\nlist:\n- \"off\"\n- office\nflag: true\nquoted: \"no\"\nfile: |-\n  key: yes\n\n  b: no\nafter: \"No\"\n"
        );
    }
}
