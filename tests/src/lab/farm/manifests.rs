//! The manifests of a farm. Pure: values in, YAML out.

use std::fmt::Write;

use boot_proto::ids::MacAddr;

use super::layout::{CHASSIS, CHASSIS_NAME, Cartridge, Layout, NETWORK, SERVER};

/// What the manifests depend on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Where the files they name are.
    pub layout: &'a Layout,
    /// The cluster to join: `host:port`, CA hash and kubeconfig; none for machines
    /// that stay plain machines.
    pub cluster: Option<ClusterFacts>,
    /// Name of the image in the store.
    pub image: &'a str,
    /// Whether logins are Secrets of an API server, not files.
    pub has_secrets: bool,
}

/// A cluster to join.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// `host:port` of its API server.
    pub endpoint: String,
    /// Pin of its CA.
    pub ca_hash: String,
    /// Kubeconfig of an account that may mint tokens.
    pub kubeconfig: String,
}

/// The Secret with the chassis manager's login.
pub(super) const CHASSIS_LOGIN: &str = "m1-login";
/// The cluster, and the Secret with its kubeconfig.
pub(super) const CLUSTER_NAME: &str = "farm";

/// A manifest file: its name and its text.
pub type Manifest = (String, String);

/// A resource's head, up to `spec:`.
fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: moonfarm.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n")
}

/// The manifests every farm has: chassis, subnet, cluster, base profile.
#[must_use]
pub fn common(facts: &Facts<'_>) -> Vec<Manifest> {
    let mut manifests = vec![
        ("chassis.yaml".to_owned(), chassis(facts)),
        ("subnet.yaml".to_owned(), subnet()),
        ("profiles.yaml".to_owned(), base_profile()),
    ];
    if let Some(cluster) = &facts.cluster {
        manifests.push((
            "cluster.yaml".to_owned(),
            cluster_manifest(cluster, facts.has_secrets),
        ));
    }
    manifests
}

fn chassis(facts: &Facts<'_>) -> String {
    let credentials = if facts.has_secrets {
        format!("secret: {CHASSIS_LOGIN}")
    } else {
        let password = facts.layout.password();
        format!(
            "username: Administrator\n    passwordFile: {}",
            password.display()
        )
    };
    format!(
        "{}  address: {CHASSIS}\n  profile: hpe-moonshot-1500\n  credentials:\n    \
         {credentials}\n  scanInterval: 60s\n  powerInterval: 5s\n",
        head("Chassis", CHASSIS_NAME),
    )
}

fn subnet() -> String {
    format!(
        "{}  cidr: {NETWORK}\n  gateway: {SERVER}\n  dns: [{SERVER}]\n  ranges:\n    - from: \
         10.77.0.100\n      to: 10.77.0.199\n  leaseTime: 1h\n",
        head("Subnet", "provisioning"),
    )
}

fn cluster_manifest(cluster: &ClusterFacts, has_secrets: bool) -> String {
    let kubeconfig = if has_secrets {
        format!("kubeconfigSecret: {CLUSTER_NAME}")
    } else {
        format!("kubeconfigFile: {}", cluster.kubeconfig)
    };
    format!(
        "{}  endpoint: {}\n  caCertHashes:\n    - {}\n  {kubeconfig}\n",
        head("Cluster", CLUSTER_NAME),
        cluster.endpoint,
        cluster.ca_hash,
    )
}

fn base_profile() -> String {
    format!(
        "{}  overlaySize: 256Mi\n  tmpfs:\n    - path: /var/lib/kubelet\n      size: 128Mi\n    - \
         path: /var/lib/containerd\n      size: 512Mi\n  labels:\n    moonfarm.dev/farm: \
         virtual\n",
        head("Profile", "base"),
    )
}

/// A pool.
#[derive(Clone, Debug, Default)]
pub struct Pool<'a> {
    /// Name.
    pub name: &'a str,
    /// Which machines, as YAML below `machines:`, or all that no other pool takes.
    pub machines: Option<&'a str>,
    /// Whether its machines are to be powered on.
    pub is_powered: bool,
    /// Further profiles after `base`.
    pub profiles: &'a [&'a str],
    /// Node labels, `key: value` each.
    pub labels: &'a [&'a str],
    /// Node taints as YAML flow mappings.
    pub taints: &'a [&'a str],
    /// Further lines of its spec.
    pub lines: &'a [&'a str],
}

/// The manifest of a pool.
#[must_use]
pub fn pool(facts: &Facts<'_>, pool: &Pool<'_>) -> Manifest {
    let mut text = head("NodePool", pool.name);
    let _ = match pool.machines {
        Some(machines) => writeln!(text, "  machines:\n    {machines}"),
        None => writeln!(text, "  catchAll: true"),
    };
    let _ = writeln!(text, "  image: {}", facts.image);
    if facts.cluster.is_some() {
        let _ = writeln!(text, "  cluster: {CLUSTER_NAME}");
    }
    let profiles: Vec<&str> = std::iter::once("base")
        .chain(pool.profiles.iter().copied())
        .collect();
    let _ = writeln!(
        text,
        "  subnet: provisioning\n  profiles: [{}]",
        profiles.join(", ")
    );
    if pool.is_powered {
        let _ = writeln!(text, "  power: \"On\"");
    }
    for line in pool.lines {
        let _ = writeln!(text, "  {line}");
    }
    for (key, lines) in [("labels", pool.labels), ("taints", pool.taints)] {
        if !lines.is_empty() {
            let dash = if key == "taints" { "- " } else { "" };
            let _ = writeln!(text, "  {key}:");
            for line in lines {
                let _ = writeln!(text, "    {dash}{line}");
            }
        }
    }
    (format!("pool-{}.yaml", pool.name), text)
}

/// A declared machine with more lines of its spec, indented by two.
#[must_use]
pub fn machine(cartridge: &Cartridge, spec: &str) -> Manifest {
    let text = format!(
        "{}  chassis: {CHASSIS_NAME}\n  slot: {}\n{spec}",
        head("Machine", &cartridge.name()),
        cartridge.slot
    );
    (format!("machine-{}.yaml", cartridge.name()), text)
}

/// A declared machine outside of any chassis, by its MACs.
#[must_use]
pub fn machine_by_macs(name: &str, macs: &[MacAddr]) -> Manifest {
    let macs: Vec<String> = macs.iter().map(|mac| format!("\"{mac}\"")).collect();
    let text = format!("{}  macs: [{}]\n", head("Machine", name), macs.join(", "));
    (format!("machine-{name}.yaml"), text)
}
