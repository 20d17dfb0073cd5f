//! A workload's pod template, and the words of a container's command.

use serde_json::Value;

use super::{items, text};
use crate::lab::LabError;

/// A pod template, and the claims that a StatefulSet makes for each pod.
pub(super) struct Template {
    pub spec: Value,
    /// Names of volumes that are claims of the pod's own.
    pub claims: Vec<String>,
}

impl Template {
    pub fn of(workload: &Value) -> Result<Self, LabError> {
        let spec = &workload["spec"];
        let job = &spec["jobTemplate"]["spec"];
        let template = if job.is_object() {
            &job["template"]
        } else {
            &spec["template"]
        };
        if !template["spec"].is_object() {
            return Err(LabError::Other(format!(
                "{} has no pod template",
                text(&workload["metadata"], "name")
            )));
        }
        let claims = items(spec, "volumeClaimTemplates").iter();
        Ok(Self {
            spec: template["spec"].clone(),
            claims: claims
                .map(|it| text(&it["metadata"], "name").to_owned())
                .collect(),
        })
    }

    pub fn container(&self, name: &str) -> Result<&Value, LabError> {
        let all = items(&self.spec, "initContainers").iter();
        all.chain(items(&self.spec, "containers"))
            .find(|container| text(container, "name") == name)
            .ok_or_else(|| LabError::Other(format!("there is no container {name}")))
    }
}

/// `NAME=VALUE` for each variable, then the command and its arguments, with
/// `$(NAME)` filled in as a kubelet does it.
pub(super) fn words(container: &Value, pod: &str, namespace: &str) -> Vec<String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in items(container, "env") {
        let value = match text(&variable["valueFrom"]["fieldRef"], "fieldPath") {
            "metadata.name" => pod.to_owned(),
            "metadata.namespace" => namespace.to_owned(),
            _ => fill(text(variable, "value"), &variables),
        };
        variables.push((text(variable, "name").to_owned(), value));
    }
    let command = items(container, "command").iter();
    let command = command.chain(items(container, "args"));
    let filled: Vec<String> = command
        .map(|word| fill(word.as_str().unwrap_or_default(), &variables))
        .collect();
    let set = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    set.chain(filled).collect()
}

fn fill(text: &str, variables: &[(String, String)]) -> String {
    variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("$({name})"), value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_filled_in() {
        let container = json!({
            "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "URL", "value": "https://$(POD).x"},
            ],
            "command": ["etcd", "--name=$(POD)"],
            "args": ["--url=$(URL)", "$(OTHER)"],
        });
        assert_eq!(
            words(&container, "e-0", "ns"),
            [
                "POD=e-0",
                "URL=https://e-0.x",
                "etcd",
                "--name=e-0",
                "--url=https://e-0.x",
                "$(OTHER)"
            ]
        );
    }
}
