//! The programs of a control plane with the flags kubeadm gives them, less what
//! only several of each would need.

use std::ffi::OsString;

use super::Options;
use super::config::{ETCD, POD_SUBNET, SERVICE_SUBNET};
use crate::lab::ProcessSpec;

/// What a joining node needs, and what people who look around expect:
/// namespaces that go away, service accounts, garbage collection. The first two
/// are not among the controllers that run by default.
const CONTROLLERS: [&str; 15] = [
    "bootstrap-signer-controller",
    "token-cleaner-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-cleaner-controller",
    "node-lifecycle-controller",
    "node-ipam-controller",
    "taint-eviction-controller",
    "ttl-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "pod-garbage-collector-controller",
];

pub(super) fn etcd(options: &Options) -> ProcessSpec {
    spec(options, "etcd").args([
        flag("name", "moonfarm"),
        path_flag("data-dir", options.folder.join("etcd")),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
        flag("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
        flag("initial-cluster", "moonfarm=http://127.0.0.1:2380"),
        // The data lives as long as the test.
        "--unsafe-no-fsync".into(),
    ])
}

pub(super) fn api_server(options: &Options) -> ProcessSpec {
    let pki = |name: &str, file: &str| path_flag(name, options.pki(file));
    spec(options, "kube-apiserver").args([
        flag("advertise-address", &options.address.to_string()),
        flag("secure-port", &options.port.to_string()),
        flag("etcd-servers", ETCD),
        flag("allow-privileged", "true"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("enable-bootstrap-token-auth", "true"),
        pki("client-ca-file", "ca.crt"),
        pki("tls-cert-file", "apiserver.crt"),
        pki("tls-private-key-file", "apiserver.key"),
        pki("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        pki("kubelet-client-key", "apiserver-kubelet-client.key"),
        flag(
            "kubelet-preferred-address-types",
            "InternalIP,ExternalIP,Hostname",
        ),
        pki("proxy-client-cert-file", "front-proxy-client.crt"),
        pki("proxy-client-key-file", "front-proxy-client.key"),
        flag("requestheader-allowed-names", "front-proxy-client"),
        pki("requestheader-client-ca-file", "front-proxy-ca.crt"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        ),
        pki("service-account-key-file", "sa.pub"),
        pki("service-account-signing-key-file", "sa.key"),
        flag("service-cluster-ip-range", SERVICE_SUBNET),
    ])
}

pub(super) fn controller_manager(options: &Options) -> ProcessSpec {
    let pki = |name: &str, file: &str| path_flag(name, options.pki(file));
    let kubeconfig = |name: &str| path_flag(name, options.folder.join("controller-manager.conf"));
    spec(options, "kube-controller-manager")
        .args([
            flag("bind-address", "127.0.0.1"),
            // There is one of it, and the lease costs seconds.
            flag("leader-elect", "false"),
            kubeconfig("kubeconfig"),
            kubeconfig("authentication-kubeconfig"),
            kubeconfig("authorization-kubeconfig"),
            pki("client-ca-file", "ca.crt"),
            pki("requestheader-client-ca-file", "front-proxy-ca.crt"),
            pki("root-ca-file", "ca.crt"),
            pki("service-account-private-key-file", "sa.key"),
            pki("cluster-signing-cert-file", "ca.crt"),
            pki("cluster-signing-key-file", "ca.key"),
            flag("use-service-account-credentials", "true"),
            flag("allocate-node-cidrs", "true"),
            flag("cluster-cidr", POD_SUBNET),
            flag("service-cluster-ip-range", SERVICE_SUBNET),
            flag("cluster-name", "moonfarm"),
            flag("controllers", &CONTROLLERS.join(",")),
        ])
        .args(options.node_grace.map(|grace| {
            flag(
                "node-monitor-grace-period",
                &format!("{}s", grace.as_secs()),
            )
        }))
}

fn spec(options: &Options, program: &str) -> ProcessSpec {
    ProcessSpec::new(program, options.programs.join(program), &options.folder)
        .within(&options.namespace)
        // A proxy of the user's must not stand between these programs.
        .env("NO_PROXY", "*")
}

fn flag(name: &str, value: &str) -> OsString {
    format!("--{name}={value}").into()
}

fn path_flag(name: &str, path: std::path::PathBuf) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}
