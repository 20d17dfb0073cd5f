//! How to reach chassis managers and clusters, and with which credentials.

use super::{Notes, Read, World, forms};
use crate::manifest::node::path;
use crate::resources::{ChassisSpec, ClusterSpec};

/// Shorter intervals keep a chassis manager busy with nothing else.
const LEAST_INTERVAL_SECS: u32 = 5;
/// kubeadm needs a moment between token and join.
const LEAST_TOKEN_SECS: u32 = 60;

/// All chassis and clusters.
pub(super) fn check(world: &World<'_>, notes: &mut Notes) {
    for chassis in world.chassis() {
        check_address(notes, chassis);
        check_credentials(notes, chassis);
        check_pins(notes, chassis);
        check_intervals(notes, chassis);
    }
    for cluster in world.clusters() {
        check_endpoint(notes, cluster);
        check_kubeconfig(notes, cluster);
    }
}

fn check_address(notes: &mut Notes, chassis: Read<'_, ChassisSpec>) {
    let address = &chassis.spec().address;
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let is_good = match rest {
        Some(rest) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            forms::is_host_port(host, false) && !path.contains(char::is_whitespace)
        }
        None => forms::is_host_port(address, false),
    };
    let path = path!["spec", "address"];
    if address.contains('@') {
        notes.add(
            chassis,
            &path,
            "the address holds a login",
            "move user name and password into credentials",
        );
    } else if !is_good {
        notes.add(
            chassis,
            &path,
            format!("{address:?} is no address of a chassis manager"),
            "write host, host:port, or https://host for Redfish",
        );
    }
    let profile = &chassis.spec().profile;
    let is_profile = !profile.is_empty()
        && profile
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_profile {
        notes.add(
            chassis,
            &path!["spec", "profile"],
            format!("{profile:?} is no hardware profile"),
            "write its name, such as hpe-moonshot-1500, or auto",
        );
    }
}

/// A Secret; or a user name with either a password or a key.
fn check_credentials(notes: &mut Notes, chassis: Read<'_, ChassisSpec>) {
    const HINT: &str =
        "give secret, or username with passwordFile, or username with privateKeyFile";
    let credentials = &chassis.spec().credentials;
    let path = path!["spec", "credentials"];
    let fields = ["username", "passwordFile", "privateKeyFile", "secret"];
    if fields
        .iter()
        .any(|field| !chassis.is_sound(&path!["spec", "credentials", *field]))
    {
        return;
    }
    let ways: Vec<&str> = [
        ("secret", &credentials.secret),
        ("passwordFile", &credentials.password_file),
        ("privateKeyFile", &credentials.private_key_file),
    ]
    .into_iter()
    .filter(|(_, value)| value.is_some())
    .map(|(name, _)| name)
    .collect();
    match ways.as_slice() {
        [] => notes.add(
            chassis,
            &path,
            "the credentials say neither password nor key",
            HINT,
        ),
        ["secret"] => {}
        [_] if credentials.username.is_none() => notes.add(
            chassis,
            &path,
            "the credentials have no user name",
            "add username:",
        ),
        [_] => {}
        _ => notes.add(
            chassis,
            &path,
            format!("the credentials say {} at once", ways.join(" and ")),
            HINT,
        ),
    }
    for (field, value) in [
        ("username", &credentials.username),
        ("passwordFile", &credentials.password_file),
        ("privateKeyFile", &credentials.private_key_file),
        ("secret", &credentials.secret),
    ] {
        if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
            notes.add(
                chassis,
                &path!["spec", "credentials", field],
                format!("{field} is empty"),
                "",
            );
        }
    }
}

fn check_pins(notes: &mut Notes, chassis: Read<'_, ChassisSpec>) {
    let spec = chassis.spec();
    if let Some(key) = &spec.host_key {
        // 32 bytes in base64 without padding, as ssh-keygen -l prints them.
        let is_fingerprint = key
            .strip_prefix("SHA256:")
            .is_some_and(|rest| rest.trim_end_matches('=').len() == 43 && forms::is_base64(rest));
        if !is_fingerprint {
            notes.add(chassis, &path!["spec", "hostKey"], format!("{key:?} is no host key fingerprint"), "write what `ssh-keyscan HOST | ssh-keygen -lf -` prints: SHA256: and 43 characters");
        }
    }
    if let Some(certificate) = &spec.certificate {
        let digits: String = certificate.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            notes.add(
                chassis,
                &path!["spec", "certificate"],
                format!("{certificate:?} is no SHA-256 fingerprint"),
                "write the 64 hex digits that `openssl x509 -fingerprint -sha256` prints",
            );
        }
    }
    if spec.insecure && (spec.host_key.is_some() || spec.certificate.is_some()) {
        notes.add(
            chassis,
            &path!["spec", "insecure"],
            "insecure takes any host key or certificate, but one is given",
            "take insecure out",
        );
    }
}

fn check_intervals(notes: &mut Notes, chassis: Read<'_, ChassisSpec>) {
    let spec = chassis.spec();
    for (field, interval) in [
        ("scanInterval", spec.scan_interval),
        ("powerInterval", spec.power_interval),
    ] {
        if interval.0 < LEAST_INTERVAL_SECS {
            notes.add(
                chassis,
                &path!["spec", field],
                format!("{field} of {interval} keeps the chassis manager busy all the time"),
                format!("write {LEAST_INTERVAL_SECS}s or more"),
            );
        }
    }
}

fn check_endpoint(notes: &mut Notes, cluster: Read<'_, ClusterSpec>) {
    let spec = cluster.spec();
    if !forms::is_host_port(&spec.endpoint, true) {
        notes.add(cluster, &path!["spec", "endpoint"], format!("{:?} is no endpoint", spec.endpoint), "write host:port as nodes reach the API server, without https://, such as 10.28.0.10:6443");
    }
    if spec.ca_cert_hashes.is_empty() {
        notes.add(cluster, &path!["spec", "caCertHashes"], "without a CA hash nodes would trust any API server", "write what `kubeadm token create --print-join-command` shows after --discovery-token-ca-cert-hash");
    }
    for (at, hash) in spec.ca_cert_hashes.iter().enumerate() {
        if !forms::is_digest(hash) {
            notes.add(
                cluster,
                &path!["spec", "caCertHashes", at],
                format!("{hash:?} is no CA hash"),
                "write sha256: and 64 hex digits",
            );
        }
    }
    if spec.token_lifetime.0 < LEAST_TOKEN_SECS {
        notes.add(
            cluster,
            &path!["spec", "tokenLifetime"],
            format!(
                "a token that lives {} is gone before the node has joined",
                spec.token_lifetime
            ),
            format!("write {LEAST_TOKEN_SECS}s or more"),
        );
    }
}

fn check_kubeconfig(notes: &mut Notes, cluster: Read<'_, ClusterSpec>) {
    let spec = cluster.spec();
    let fields = ["kubeconfigFile", "kubeconfigSecret"];
    if fields
        .iter()
        .any(|field| !cluster.is_sound(&path!["spec", *field]))
    {
        return;
    }
    match (&spec.kubeconfig_file, &spec.kubeconfig_secret) {
        (None, None) => notes.add(
            cluster,
            &path!["spec"],
            "no kubeconfig, so no join token can be made",
            "add kubeconfigFile or kubeconfigSecret",
        ),
        (Some(_), Some(_)) => notes.add(
            cluster,
            &path!["spec", "kubeconfigSecret"],
            "kubeconfigFile and kubeconfigSecret are given at once",
            "keep one of the two",
        ),
        _ => {}
    }
}
