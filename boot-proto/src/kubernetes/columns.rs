//! The columns that `kubectl get` prints; those of machines are the columns of
//! `boot-server get machines`.

use serde_json::{Value, json};

/// Heading, type and JSONPath.
type Column = (&'static str, &'static str, &'static str);

const ACCEPTED: Column = (
    "Accepted",
    "string",
    ".status.conditions[?(@.type=='Accepted')].status",
);
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");

fn columns(plural: &str) -> Vec<Column> {
    let spec = |name, path| (name, "string", path);
    match plural {
        "chassis" => vec![
            spec("Address", ".spec.address"),
            spec("Profile", ".spec.profile"),
            spec(
                "Reachable",
                ".status.conditions[?(@.type=='Reachable')].status",
            ),
            ("Machines", "integer", ".status.machines"),
            ("Last Seen", "date", ".status.lastSeen"),
        ],
        "machines" => vec![
            spec("Pool", ".status.pool"),
            spec("Power", ".status.power"),
            spec("Phase", ".status.phase"),
            spec("Address", ".status.address"),
        ],
        "nodepools" => vec![
            spec("Image", ".spec.image"),
            spec("Cluster", ".spec.cluster"),
            spec("Subnet", ".spec.subnet"),
            ("Catch All", "boolean", ".spec.catchAll"),
            ACCEPTED,
        ],
        "clusters" => vec![spec("Endpoint", ".spec.endpoint"), ACCEPTED, AGE],
        "subnets" => vec![
            spec("CIDR", ".spec.cidr"),
            spec("Gateway", ".spec.gateway"),
            spec("Mode", ".spec.mode"),
            ACCEPTED,
        ],
        "matchboxgroups" => vec![spec("Profile", ".spec.profile"), ACCEPTED, AGE],
        "matchboxprofiles" => vec![spec("Kernel", ".spec.boot.kernel"), ACCEPTED, AGE],
        "images" => vec![spec("Digest", ".spec.digest"), ACCEPTED, AGE],
        "addressclaims" => vec![
            spec("Address", ".spec.address"),
            spec("MAC", ".spec.mac"),
            spec("Machine", ".spec.machine"),
            spec("Subnet", ".spec.subnet"),
            spec("Kind", ".spec.kind"),
            spec("Expires", ".spec.expires"),
        ],
        _ => vec![ACCEPTED, AGE],
    }
}

/// `additionalPrinterColumns` of a kind.
pub(super) fn of(plural: &str) -> Value {
    columns(plural)
        .into_iter()
        .map(|(name, of_type, path)| json!({"name": name, "type": of_type, "jsonPath": path}))
        .collect()
}
