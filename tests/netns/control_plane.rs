//! The control plane by itself: ready, joinable, gone when dropped.

use std::net::Ipv4Addr;
use std::time::Duration;

use moonfarm_tests::kube::{ControlPlane, Options};
use moonfarm_tests::lab::Namespace;
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[test]
fn a_cluster_that_nodes_can_join() {
    if !needs::has_namespaces() {
        return;
    }
    let Some(programs) = needs::folder("MOONFARM_KUBE_BIN") else {
        return;
    };
    let namespace = Namespace::create().unwrap_or_else(|error| panic!("{}", error.chain()));
    namespace.add_bridge("br0", "10.77.0.1/24").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(
        &programs,
        namespace.name(),
        folder.path(),
        Ipv4Addr::new(10, 77, 0, 1),
    );
    let started = std::time::Instant::now();
    let mut plane = ControlPlane::start(&options, &mut |step| {
        eprintln!("{:5.1} s {step}", started.elapsed().as_secs_f32())
    })
    .unwrap();

    assert_eq!(
        plane.kubectl_output(&["get", "--raw", "/readyz"]).unwrap(),
        "ok"
    );
    let secrets = [
        "--namespace",
        "kube-system",
        "get",
        "secrets",
        "--output",
        "name",
    ];
    assert_eq!(
        plane.kubectl_output(&secrets).unwrap(),
        "",
        "no token is left from the preparation"
    );

    let token = plane.create_token(Duration::from_secs(600)).unwrap();
    check_signature(&plane, &token);
    assert!(plane.ca_hash().starts_with("sha256:") && plane.ca_hash().len() == 71);
    // kubeadm's own view of the pin.
    let mut print = namespace.command(programs.join("kubeadm"));
    print.args([
        "token",
        "create",
        "--print-join-command",
        "--ttl",
        "60s",
        "--kubeconfig",
    ]);
    let join = moonfarm_tests::lab::process::output({
        print.arg(plane.kubeconfig());
        print
    })
    .unwrap();
    assert!(
        join.contains(plane.ca_hash()) && join.contains(&plane.endpoint()),
        "{join}"
    );
    plane.check().unwrap();
}

/// A joining node trusts cluster-info because a party that knows the token
/// signed it: a detached JWS (RFC 7515 appendix F) with HMAC-SHA-256.
fn check_signature(plane: &ControlPlane, token: &str) {
    let (id, secret) = token.split_once('.').unwrap();
    let entry = format!("jws-kubeconfig-{id}");
    let data = until(Duration::from_secs(30), || {
        let text = plane
            .kubectl_output(&[
                "--namespace",
                "kube-public",
                "get",
                "configmap",
                "cluster-info",
                "--output",
                "json",
            ])
            .unwrap();
        let data = serde_json::from_str::<Value>(&text).unwrap()["data"].take();
        data[&entry].is_string().then_some(data)
    });
    let data = data.expect("cluster-info is signed with the new token");
    let (header, signature) = data[&entry].as_str().unwrap().split_once("..").unwrap();
    let payload = base64url(data["kubeconfig"].as_str().unwrap().as_bytes());
    let expected = hmac_sha256(secret.as_bytes(), format!("{header}.{payload}").as_bytes());
    assert_eq!(signature, base64url(&expected));
}

/// RFC 2104; the key is shorter than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|b| b ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|b| b ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        (0..=chunk.len())
            .map(move |at| char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]))
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
