//! What kubeadm is told about the cluster.

use super::Options;

/// Addresses of pods. Each node is given a part; the node image's own network
/// does not use it, real network add-ons do.
pub(super) const POD_SUBNET: &str = "10.244.0.0/16";
/// Addresses of Services, kubeadm's default.
pub(super) const SERVICE_SUBNET: &str = "10.96.0.0/12";
/// etcd listens on the namespace's loopback only, so it needs no certificates.
pub(super) const ETCD: &str = "http://127.0.0.1:2379";

/// kubeadm's configuration file.
///
/// `certificates` names the certificate folder while there are certificates to
/// make. It must be left out of what is uploaded: every node's kubelet would
/// look for its CA in that folder.
pub(super) fn kubeadm(options: &Options, version: &str, token: &str, certificates: bool) -> String {
    let Options { address, port, .. } = options;
    let certificates_dir = match certificates {
        true => format!("certificatesDir: {:?}\n", options.folder.join("pki")),
        false => String::new(),
    };
    format!(
        r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: {token}
  ttl: 1h0m0s
  usages: [signing, authentication]
  groups: ["system:bootstrappers:kubeadm:default-node-token"]
localAPIEndpoint:
  advertiseAddress: {address}
  bindPort: {port}
nodeRegistration:
  name: control-plane
  criSocket: unix:///run/containerd/containerd.sock
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: moonfarm
kubernetesVersion: {version}
controlPlaneEndpoint: {address}:{port}
{certificates_dir}featureGates:
  # The container runtime's socket is written down on the node, not in the Node
  # object: there is none for this control plane.
  NodeLocalCRISocket: true
etcd:
  external:
    endpoints: ["{ETCD}"]
networking:
  podSubnet: {POD_SUBNET}
  serviceSubnet: {SERVICE_SUBNET}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
# The file systems are memory here; the defaults, 10 % and more of each, would
# evict pods from a node that is well.
evictionHard:
  memory.available: 50Mi
  nodefs.available: 16Mi
  nodefs.inodesFree: 1%
  imagefs.available: 16Mi
  imagefs.inodesFree: 1%
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::path::Path;

    #[test]
    fn the_certificate_folder_is_not_uploaded() {
        let options = Options::new(
            Path::new("/bin"),
            "ns",
            Path::new("/work dir"),
            Ipv4Addr::new(10, 1, 2, 3),
        );
        let local = kubeadm(&options, "v1.35.4", "abcdef.0123456789abcdef", true);
        let uploaded = kubeadm(&options, "v1.35.4", "abcdef.0123456789abcdef", false);
        assert!(
            local.contains("\ncertificatesDir: \"/work dir/pki\"\nfeatureGates:"),
            "{local}"
        );
        assert!(!uploaded.contains("work dir"), "{uploaded}");
        assert!(
            uploaded.contains("controlPlaneEndpoint: 10.1.2.3:6443\nfeatureGates:"),
            "{uploaded}"
        );
    }
}
