//! The boot config of one machine from what is decided for it. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use boot_proto::boot_config::{
    BootConfig, ImageSource, JoinConfig, NetworkConfig, SignedManifest, SystemConfig, VERSION,
};
use boot_proto::ids::{Digest, MacAddr};
use boot_proto::quantity::ByteSize;
use boot_proto::resources::{ClusterSpec, Object, ProfileSpec, Script, SubnetSpec, TmpfsMount};

use crate::images::StoredImage;
use crate::inventory::Assignment;

/// What the boot config is made of beside the assignment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Boot-server's boot face, as this machine reaches it.
    pub server: &'a str,
    /// MAC of the NIC it boots from.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether the address is reserved for it.
    pub is_reserved: bool,
    /// The network that the address is in.
    pub subnet: Option<&'a SubnetSpec>,
    /// The image to run.
    pub image: &'a StoredImage,
    /// Its manifest as it was signed, where it was.
    pub signed: Option<&'a SignedManifest>,
}

/// Limits, not reservations: a tmpfs takes only what is written to it. Pods'
/// volumes and configuration come under `/var/lib/kubelet`; unpacked container
/// images and container layers under `/var/lib/containerd`, which must not be
/// on the root's overlay (overlay on overlay is refused by the kernel).
const DEFAULT_TMPFS: [(&str, u64); 2] = [
    ("/var/lib/kubelet", 1 << 30),
    ("/var/lib/containerd", 4 << 30),
];

/// Makes the boot config.
#[must_use]
pub fn make(assignment: &Assignment, facts: &Facts<'_>) -> BootConfig {
    let mut macs = vec![facts.mac];
    macs.extend(
        assignment
            .macs
            .iter()
            .copied()
            .filter(|mac| *mac != facts.mac),
    );
    BootConfig {
        version: VERSION,
        machine: assignment.machine.clone(),
        hostname: assignment.hostname.clone(),
        macs,
        server: facts.server.to_owned(),
        image: image_source(&assignment.profile, facts),
        network: network(&assignment.profile, facts),
        system: system(assignment, facts),
        join: assignment
            .cluster
            .as_ref()
            .map(|cluster| join(cluster, &assignment.profile)),
    }
}

fn image_source(profile: &ProfileSpec, facts: &Facts<'_>) -> ImageSource {
    let manifest = &facts.image.manifest;
    ImageSource {
        name: manifest.name.clone(),
        digest: facts.image.digest,
        kernel_release: manifest.kernel_release.clone(),
        url: format!(
            "{}/blobs/sha256/{}",
            facts.server,
            manifest.root.digest.hex()
        ),
        size: manifest.root.size,
        root_digest: manifest.root.digest,
        checks: manifest.root_checks.clone(),
        mirrors: mirrors(profile, &manifest.root.digest),
        signed: facts.signed.cloned(),
    }
}

fn mirrors(profile: &ProfileSpec, root: &Digest) -> Vec<String> {
    let servers = profile.image_servers.iter();
    servers
        .map(|server| {
            format!(
                "{}/blobs/sha256/{}",
                server.trim_end_matches('/'),
                root.hex()
            )
        })
        .collect()
}

fn network(profile: &ProfileSpec, facts: &Facts<'_>) -> NetworkConfig {
    let subnet = facts.subnet;
    NetworkConfig {
        address: Some(facts.address),
        prefix: subnet.map_or(32, |subnet| subnet.cidr.prefix_len()),
        gateway: subnet.and_then(|subnet| subnet.gateway),
        dns: subnet.map(|subnet| subnet.dns.clone()).unwrap_or_default(),
        search: subnet
            .map(|subnet| subnet.search.clone())
            .unwrap_or_default(),
        // Without a declared subnet the prefix is not known, so that only DHCP
        // can configure the link.
        dhcp: !facts.is_reserved || subnet.is_none(),
        mtu: profile.mtu,
        spec: profile.network.clone(),
    }
}

fn system(assignment: &Assignment, facts: &Facts<'_>) -> SystemConfig {
    let profile = &assignment.profile;
    SystemConfig {
        overlay_size: profile.overlay_size,
        overlay: profile.overlay.clone(),
        keep_image: profile.keep_image.clone(),
        tmpfs: tmpfs(profile),
        hosts: hosts(assignment, facts),
        users: profile.users.clone(),
        ssh_host_keys: Vec::new(),
        scripts: scripts(profile),
        fstab: profile.fstab.clone(),
        disks: profile.disks.clone(),
        module_options: profile.module_options.clone(),
        files: profile.files.clone(),
        units: profile.units.clone(),
        ssh_authorized_keys: profile.ssh_authorized_keys.clone(),
        modules: profile.modules.clone(),
        sysctls: profile.sysctls.clone(),
        time_zone: profile.time_zone.clone(),
    }
}

/// The defaults, then the profiles' own; one of the same path replaces a default.
fn tmpfs(profile: &ProfileSpec) -> Vec<TmpfsMount> {
    let defaults = DEFAULT_TMPFS
        .into_iter()
        .filter(|(path, _)| profile.tmpfs.iter().all(|mount| mount.path != *path))
        .map(|(path, size)| TmpfsMount {
            path: path.to_owned(),
            size: ByteSize(size),
            mode: None,
        });
    defaults.chain(profile.tmpfs.iter().cloned()).collect()
}

/// The machine's own name, so that it resolves without DNS. With a domain the
/// full name comes first, as `hostname --fqdn` wants it.
fn hosts(assignment: &Assignment, facts: &Facts<'_>) -> BTreeMap<IpAddr, Vec<String>> {
    let hostname = &assignment.hostname;
    let domain = facts.subnet.and_then(|subnet| subnet.search.first());
    let mut names = Vec::new();
    if let Some(domain) = domain.filter(|_| !hostname.contains('.')) {
        names.push(format!("{hostname}.{domain}"));
    }
    names.push(hostname.clone());
    let mut hosts = assignment.profile.hosts.clone();
    hosts
        .entry(facts.address.into())
        .or_default()
        .splice(0..0, names);
    hosts
}

/// In the order in which they run.
fn scripts(profile: &ProfileSpec) -> Vec<Script> {
    let mut scripts = profile.scripts.clone();
    scripts.sort_by(|a, b| (a.when, &a.name).cmp(&(b.when, &b.name)));
    scripts
}

fn join(cluster: &Object<ClusterSpec>, profile: &ProfileSpec) -> JoinConfig {
    JoinConfig {
        cluster: cluster.name().to_owned(),
        endpoint: cluster.spec.endpoint.clone(),
        ca_cert_hashes: cluster.spec.ca_cert_hashes.clone(),
        labels: profile
            .labels
            .iter()
            .filter(|(key, _)| kubelet_may_set(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        taints: profile.taints.clone(),
        kubelet_arguments: profile.kubelet_arguments.clone(),
    }
}

/// Label keys of Kubernetes' own that a kubelet may give its node (kubelet's
/// `--node-labels`, admission plugin NodeRestriction).
const KUBELET_LABELS: [&str; 13] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// Whether a kubelet may give its own node this label. It refuses to start with
/// a label of `kubernetes.io` or `k8s.io` that it may not.
#[must_use]
pub fn kubelet_may_set(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else {
        return true;
    };
    let is_in = |domain: &str| {
        namespace == domain
            || namespace
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if !is_in("kubernetes.io") && !is_in("k8s.io") {
        return true;
    }
    is_in("kubelet.kubernetes.io") || is_in("node.kubernetes.io") || KUBELET_LABELS.contains(&key)
}

#[cfg(test)]
mod tests {
    use boot_proto::image::{ImageFile, ImageManifest};
    use boot_proto::resources::{Metadata, Taint, TaintEffect};

    use super::*;

    const MAC: MacAddr = MacAddr::new([0x94, 0x57, 0xa5, 0xd3, 0xec, 0xf2]);
    const OTHER: MacAddr = MacAddr::new([0x94, 0x57, 0xa5, 0xd3, 0xec, 0xf3]);

    fn manifest() -> ImageManifest {
        let file = |file: &str, size| ImageFile {
            file: file.into(),
            size,
            digest: Digest::of(file.as_bytes()),
        };
        ImageManifest {
            version: 1,
            name: "debian-13".into(),
            architecture: "x86_64".into(),
            kernel_release: "6.12".into(),
            kernel: file("vmlinuz", 1),
            initramfs: file("initramfs.img", 2),
            root: file("root.squashfs", 3),
            root_checks: Default::default(),
            kernel_arguments: Vec::new(),
            recipe: serde_json::Value::Null,
        }
    }

    fn assignment() -> Assignment {
        let labels = [("rack", "r1"), ("node-role.kubernetes.io/worker", "")];
        Assignment {
            machine: "m1-c1n1".into(),
            hostname: "m1-c1n1".into(),
            declared: true,
            matched: crate::inventory::MatchedBy::Mac,
            pool_rule: None,
            macs: vec![OTHER, MAC],
            uuid: None,
            address: None,
            pool: Some("workers".into()),
            subnet: None,
            image: Some("debian-13".into()),
            loading: crate::arch::Wish::default(),
            cluster: Some(Object {
                metadata: Metadata {
                    name: "farm".into(),
                    ..Metadata::default()
                },
                spec: serde_json::from_value(serde_json::json!({
                    "endpoint": "10.0.0.1:6443",
                    "caCertHashes": ["sha256:ab"],
                }))
                .unwrap(),
            }),
            profile: ProfileSpec {
                labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
                taints: vec![Taint {
                    key: "farm".into(),
                    value: "yes".into(),
                    effect: TaintEffect::NoSchedule,
                }],
                mtu: Some(9000),
                image_servers: vec!["http://10.0.0.2:8080/".into()],
                ..ProfileSpec::default()
            },
            power: None,
        }
    }

    #[test]
    fn a_config_has_what_was_decided() {
        let image = crate::images::stored_for_tests(&manifest());
        let signed = SignedManifest {
            manifest: "{}".into(),
            signature: "untrusted comment: x".into(),
        };
        let subnet: SubnetSpec = serde_json::from_value(serde_json::json!({
            "cidr": "10.0.0.0/20", "gateway": "10.0.0.1", "dns": ["10.0.0.2"], "search": ["farm.test"],
        }))
        .unwrap();
        let facts = Facts {
            server: "http://10.0.0.1:8080",
            mac: MAC,
            address: "10.0.0.9".parse().unwrap(),
            is_reserved: false,
            subnet: Some(&subnet),
            image: &image,
            signed: Some(&signed),
        };
        let config = make(&assignment(), &facts);
        assert_eq!(config.macs, [MAC, OTHER]);
        assert_eq!(config.network.prefix, 20);
        assert!(config.network.dhcp);
        assert_eq!(config.network.mtu, Some(9000));
        assert_eq!(
            config.system.hosts[&facts.address.into()],
            ["m1-c1n1.farm.test".to_owned(), "m1-c1n1".to_owned()]
        );
        assert_eq!(config.system.tmpfs.len(), 2);
        assert_eq!(config.image.digest, image.digest);
        assert!(
            config
                .image
                .url
                .ends_with(&Digest::of(b"root.squashfs").hex())
        );
        assert_eq!(
            config.image.mirrors,
            [format!(
                "http://10.0.0.2:8080/blobs/sha256/{}",
                Digest::of(b"root.squashfs").hex()
            )]
        );
        assert_eq!(config.image.signed.as_ref(), Some(&signed));
        let join = config.join.as_ref().unwrap();
        assert_eq!(join.labels.keys().collect::<Vec<_>>(), ["rack"]);
        assert_eq!(join.taints.len(), 1);
        // The agent reads it strictly: nothing may be lost on the way.
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<BootConfig>(&text).unwrap(), config);

        let reserved = make(
            &assignment(),
            &Facts {
                is_reserved: true,
                ..facts
            },
        );
        assert!(!reserved.network.dhcp);
        let undeclared = Facts {
            is_reserved: true,
            subnet: None,
            ..facts
        };
        assert!(make(&assignment(), &undeclared).network.dhcp);
    }

    #[test]
    fn a_profiles_tmpfs_replaces_the_default_of_its_path() {
        let mount = |path: &str| TmpfsMount {
            path: path.into(),
            size: ByteSize(1),
            mode: None,
        };
        let own = vec![mount("/scratch"), mount("/var/lib/kubelet")];
        let mounts = tmpfs(&ProfileSpec {
            tmpfs: own,
            ..ProfileSpec::default()
        });
        let paths: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.path.as_str(), mount.size.0))
            .collect();
        assert_eq!(
            paths,
            [
                ("/var/lib/containerd", 4 << 30),
                ("/scratch", 1),
                ("/var/lib/kubelet", 1)
            ]
        );
    }

    #[test]
    fn labels_a_kubelet_may_not_set() {
        for (key, may) in [
            ("rack", true),
            ("example.com/rack", true),
            ("notkubernetes.io/rack", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/anything", true),
            ("x.kubelet.kubernetes.io/y", true),
            ("topology.kubernetes.io/zone", true),
            ("node-role.kubernetes.io/worker", false),
            ("node-restriction.kubernetes.io/x", false),
            ("kubernetes.io/role", false),
            ("cluster-api.k8s.io/x", false),
        ] {
            assert_eq!(kubelet_may_set(key), may, "{key}");
        }
    }
}
