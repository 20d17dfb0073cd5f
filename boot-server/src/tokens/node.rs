//! What a Node object tells and what it lacks. Pure.

use std::collections::BTreeMap;

use boot_proto::resources::{OldNode, Taint, TaintEffect};
use boot_proto::uuid;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

/// What to do with a Node of the name under which a machine wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// It is the machine's own of a former start, or nobody's any more.
    Delete,
    /// It is the machine's own of a former start and stays; nobody answers for it
    /// any more, so that it does not stand in the way.
    Keep,
    /// The same while it still counts as Ready.
    Await(String),
    /// Another machine lives under it.
    Refuse(String),
}

/// A machine that asks for a token has nothing left of an earlier start, so its
/// old Node object goes, Ready or not. A Ready one with the UUID of another
/// machine stays until it is NotReady: then nobody lives there.
pub(super) fn fence(node: &Node, asking: Option<&str>, policy: OldNode) -> Fence {
    if let Some(other) = another(node, asking) {
        return Fence::Refuse(other);
    }
    match (policy, readiness(node)) {
        (OldNode::Delete, _) => Fence::Delete,
        (OldNode::Await, Readiness::Ready) => {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            Fence::Await(format!(
                "Node {name} from before the restart still counts as Ready, and its Cluster says \
                 oldNode: await; Kubernetes misses its heartbeats after 40 to 50 s"
            ))
        }
        (OldNode::Await, _) => Fence::Keep,
    }
}

/// In words, that another machine lives under this Node's name.
fn another(node: &Node, asking: Option<&str>) -> Option<String> {
    let asking = asking.and_then(uuid::usable);
    let info = node
        .status
        .as_ref()
        .and_then(|status| status.node_info.as_ref());
    let living = info.and_then(|info| uuid::usable(&info.system_uuid));
    let (asking, living) = (asking?, living?);
    let is_same = asking == living || swap_fields(&asking) == living;
    if is_same || readiness(node) != Readiness::Ready {
        return None;
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    Some(format!(
        "Node {name} is Ready and runs on another machine (SMBIOS UUID {living}, this one has \
         {asking}); give one of the two another hostname, or stop the other"
    ))
}

/// The UUID with its first three fields in the other byte order: firmware does
/// not agree on it (RFC 4122 network order against SMBIOS 2.6 §7.2.1).
fn swap_fields(uuid: &str) -> String {
    let swap = |field: &str| -> String {
        field
            .as_bytes()
            .rchunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect()
    };
    let fields: Vec<String> = uuid
        .split('-')
        .enumerate()
        .map(|(index, field)| {
            if index < 3 {
                swap(field)
            } else {
                field.to_owned()
            }
        })
        .collect();
    fields.join("-")
}

/// Whether a Node is Ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Its kubelet says so.
    Ready,
    /// It does not; why, in its words.
    NotReady(String),
}

pub(super) fn readiness(node: &Node) -> Readiness {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    match ready {
        Some(condition) if condition.status == "True" => Readiness::Ready,
        Some(condition) => {
            let message = condition
                .message
                .clone()
                .filter(|message| !message.is_empty());
            let reason = message.or_else(|| condition.reason.clone());
            Readiness::NotReady(reason.unwrap_or_else(|| "the kubelet does not say why".into()))
        }
        None => Readiness::NotReady("its kubelet has not reported yet".into()),
    }
}

/// The merge patch that gives a Node the labels and taints it lacks, or `None`
/// where it lacks none. Labels that a kubelet may not give itself come this way.
pub(super) fn missing(
    node: &Node,
    labels: &BTreeMap<String, String>,
    taints: &[Taint],
) -> Option<Value> {
    let has = node.metadata.labels.as_ref();
    let lacking: BTreeMap<_, _> = labels
        .iter()
        .filter(|(key, value)| has.and_then(|has| has.get(*key)) != Some(value))
        .collect();
    let mut patch = json!({});
    if !lacking.is_empty() {
        patch["metadata"] = json!({ "labels": lacking });
    }
    let present = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let is_there = |taint: &Taint| {
        present
            .iter()
            .any(|known| known.key == taint.key && known.effect == effect(taint.effect))
    };
    let new: Vec<Value> = taints
        .iter()
        .filter(|taint| !is_there(taint))
        .map(taint_json)
        .collect();
    if !new.is_empty() {
        // A merge patch replaces the whole list; the version keeps it from
        // undoing a change that somebody else makes meanwhile.
        let mut all: Vec<Value> = present
            .iter()
            .filter_map(|taint| serde_json::to_value(taint).ok())
            .collect();
        all.extend(new);
        patch["spec"] = json!({ "taints": all });
        patch["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
    }
    (patch != json!({})).then_some(patch)
}

fn taint_json(taint: &Taint) -> Value {
    let mut object = json!({ "key": taint.key, "effect": effect(taint.effect) });
    if !taint.value.is_empty() {
        object["value"] = json!(taint.value);
    }
    object
}

const fn effect(effect: TaintEffect) -> &'static str {
    match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, uuid: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {
                "name": "n1", "uid": "u", "resourceVersion": "7",
                "labels": { "rack": "r1", "kubernetes.io/hostname": "n1" },
            },
            "spec": { "taints": [{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }] },
            "status": {
                "conditions": [{ "type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "cni plugin not initialized" }],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "c",
                    "kernelVersion": "k", "kubeProxyVersion": "", "kubeletVersion": "v",
                    "machineID": "m", "operatingSystem": "linux", "osImage": "o", "systemUUID": uuid,
                },
            },
        }))
        .unwrap()
    }

    const UUID: &str = "31393736-3935-584d-5137-343630314d58";
    const SWAPPED: &str = "36373931-3539-4d58-5137-343630314d58";
    const OTHER: &str = "41393736-3935-584d-5137-343630314d58";

    #[test]
    fn whose_node_it_is() {
        for (what, ready, living, asking, deletes) in [
            ("own and still Ready", "True", UUID, Some(UUID), true),
            ("own, other byte order", "True", SWAPPED, Some(UUID), true),
            (
                "own in capitals",
                "True",
                "31393736-3935-584D-5137-343630314D58",
                Some(UUID),
                true,
            ),
            ("nothing known of the asker", "True", UUID, None, true),
            (
                "placeholder",
                "True",
                "00000000-0000-0000-0000-000000000000",
                Some(UUID),
                true,
            ),
            ("another's that is gone", "Unknown", OTHER, Some(UUID), true),
            ("another's that lives", "True", OTHER, Some(UUID), false),
        ] {
            let fence = |policy| fence(&node(ready, living), asking, policy);
            assert_eq!(fence(OldNode::Delete) == Fence::Delete, deletes, "{what}");
            match fence(OldNode::Await) {
                Fence::Refuse(_) => assert!(!deletes, "{what}"),
                Fence::Keep => assert!(deletes && ready != "True", "{what}"),
                Fence::Await(_) => assert!(deletes && ready == "True", "{what}"),
                Fence::Delete => panic!("{what}: deleted all the same"),
            }
        }
        let nothing = fence(&Node::default(), Some(UUID), OldNode::Delete);
        assert_eq!(nothing, Fence::Delete);
    }

    #[test]
    fn readiness_tells_why_not() {
        assert_eq!(readiness(&node("True", UUID)), Readiness::Ready);
        assert_eq!(
            readiness(&node("False", UUID)),
            Readiness::NotReady("cni plugin not initialized".into())
        );
        assert!(matches!(
            readiness(&Node::default()),
            Readiness::NotReady(_)
        ));
    }

    #[test]
    fn only_what_is_missing_is_patched() {
        let node = node("True", UUID);
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert_eq!(missing(&node, &labels(&[("rack", "r1")]), &[]), None);
        let wanted = labels(&[("rack", "r1"), ("node-role.kubernetes.io/worker", "")]);
        let taint = Taint {
            key: "farm".into(),
            value: "yes".into(),
            effect: TaintEffect::NoExecute,
        };
        let patch = missing(&node, &wanted, &[taint]).unwrap();
        assert_eq!(
            patch,
            json!({
                "metadata": {
                    "labels": { "node-role.kubernetes.io/worker": "" },
                    "resourceVersion": "7",
                },
                "spec": { "taints": [
                    { "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" },
                    { "key": "farm", "value": "yes", "effect": "NoExecute" },
                ] },
            })
        );
    }
}
