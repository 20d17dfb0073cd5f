//! What is no mistake in the manifests themselves, and still will not work as
//! meant: the server serves, and an operator wants to know beforehand.

use std::path::Path;

use super::Declared;
use crate::dhcp::custom::{self, OptionMistake};
use crate::import::kubefarm::NO_HASH;
use crate::matchbox::Template;

/// Declared DHCP options that cannot be sent: kind and name of the resource, and
/// why. The server leaves them out.
pub fn option_mistakes(
    declared: &Declared,
) -> impl Iterator<Item = (&'static str, &str, OptionMistake)> {
    let subnets = declared.subnets.values();
    let subnets = subnets.map(|it| ("Subnet", it.name(), &it.spec.dhcp_options));
    let profiles = declared.profiles.values();
    let profiles = profiles.map(|it| ("Profile", it.name(), &it.spec.dhcp_options));
    let pools = declared.pools.values();
    let pools = pools.map(|it| ("NodePool", it.name(), &it.spec.dhcp_options));
    subnets
        .chain(profiles)
        .chain(pools)
        .flat_map(|(kind, resource, options)| {
            let mut mistakes = Vec::new();
            custom::encode_all(options, |mistake| mistakes.push(mistake));
            mistakes
                .into_iter()
                .map(move |mistake| (kind, resource, mistake))
        })
}

/// Everything worth a warning, a line each.
#[must_use]
pub fn warnings(declared: &Declared) -> Vec<String> {
    let mut warnings: Vec<String> = option_mistakes(declared)
        .map(|(kind, name, error)| format!("{kind}/{name}: spec.dhcpOptions: {error}"))
        .collect();
    let unset = declared
        .clusters
        .values()
        .filter(|it| it.spec.ca_cert_hashes.iter().any(|hash| hash == NO_HASH));
    warnings.extend(unset.map(|cluster| {
        format!(
            "Cluster/{}: spec.caCertHashes: no CA has a hash of zeros, so no node will join; \
             `kubeadm token create --print-join-command` shows the cluster's own",
            cluster.name()
        )
    }));
    for (name, path) in used_files(declared) {
        let path = declared.path_of(path);
        if let Err(error) = readable(&path) {
            warnings.push(format!("{name}: {}: {error}", path.display()));
        }
    }
    warnings.extend(matchbox(declared));
    if is_empty(declared) {
        warnings.push(format!(
            "nothing is declared in {}; its files that end in .yaml or .yml count, those in \
             sub-folders do not",
            declared.folder.display()
        ));
    }
    warnings
}

/// Templates that cannot be read, and groups that never get their turn.
fn matchbox(declared: &Declared) -> Vec<String> {
    let mut warnings = Vec::new();
    for profile in declared.matchbox_profiles.values() {
        for (field, template) in crate::matchbox::templates(&profile.spec) {
            if let Err(error) = Template::parse(&template.text) {
                let name = profile.name();
                warnings.push(format!("MatchboxProfile/{name}: spec.{field}: {error}"));
            }
        }
    }
    let catch_all = declared.pools.values().find(|pool| pool.spec.catch_all);
    let default = declared
        .matchbox_groups
        .values()
        .find(|group| group.spec.selector.is_empty());
    if let (Some(pool), Some(group)) = (catch_all, default) {
        warnings.push(format!(
            "MatchboxGroup/{} has no selector and NodePool/{} says catchAll; machines that \
             neither names boot from the NodePool",
            group.name(),
            pool.name()
        ));
    }
    warnings
}

/// Files that resources name, and which field names them.
fn used_files(declared: &Declared) -> Vec<(String, &str)> {
    let clusters = declared.clusters.values().map(|cluster| {
        let place = format!("Cluster/{}: spec.kubeconfigFile", cluster.name());
        (place, &cluster.spec.kubeconfig_file)
    });
    let chassis = declared.chassis.values().flat_map(|chassis| {
        let place = |field| format!("Chassis/{}: spec.credentials.{field}", chassis.name());
        let credentials = &chassis.spec.credentials;
        [
            (place("passwordFile"), &credentials.password_file),
            (place("privateKeyFile"), &credentials.private_key_file),
        ]
    });
    let images = declared.images.values().flat_map(|image| {
        let source = image.spec.source.as_ref();
        let place = |kind| format!("Image/{}: spec.source.{kind}.credentialsFile", image.name());
        let http = source.and_then(|source| source.http.as_ref());
        let oci = source.and_then(|source| source.oci.as_ref());
        [
            http.map(|http| (place("http"), &http.credentials_file)),
            oci.map(|oci| (place("oci"), &oci.credentials_file)),
        ]
    });
    let named = clusters.chain(chassis).chain(images.flatten());
    named
        .filter_map(|(place, path)| Some((place, path.as_deref()?)))
        .collect()
}

fn readable(path: &Path) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    std::fs::File::open(path).map(drop)
}

fn is_empty(declared: &Declared) -> bool {
    let Declared {
        folder: _,
        chassis,
        machines,
        pools,
        profiles,
        clusters,
        subnets,
        images,
        matchbox_groups,
        matchbox_profiles: _,
    } = declared;
    chassis.is_empty()
        && machines.is_empty()
        && pools.is_empty()
        && profiles.is_empty()
        && clusters.is_empty()
        && subnets.is_empty()
        && images.is_empty()
        && matchbox_groups.is_empty()
}
