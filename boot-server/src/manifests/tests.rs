//! Tests of the manifest folder, and a way for others to declare things in a test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use boot_proto::manifest::{SourceFile, load};

use super::{Declared, Fingerprint, ManifestErrors, check, read, warnings};

/// What this text declares; it must be right.
pub(crate) fn declared(text: &str) -> Arc<Declared> {
    let loaded = load(&[SourceFile {
        name: "test.yaml".into(),
        text: text.into(),
    }]);
    assert!(loaded.mistakes.is_empty(), "{:#?}", loaded.mistakes);
    Arc::new(Declared::new(Path::new("/farm"), loaded.resources))
}

const SUBNET: &str = "apiVersion: moonfarm.dev/v1alpha1\nkind: Subnet\nmetadata: {name: lan}\nspec: {cidr: 10.0.0.0/24}\n";
const PROFILE: &str =
    "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata: {name: base}\nspec: {mtu: 1500}\n";

#[test]
fn which_files_count() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("b.yaml", SUBNET);
    put("a.yml", PROFILE);
    put(".hidden.yaml", "not: [yaml");
    put("notes.txt", "not: [yaml");
    put("b.yaml~", "not: [yaml");
    fs::create_dir(folder.path().join("more.yaml")).unwrap();
    fs::write(folder.path().join("more.yaml/c.yaml"), "not: [yaml").unwrap();
    let declared = read(folder.path()).unwrap();
    assert!(declared.subnets.contains_key("lan") && declared.profiles.contains_key("base"));
    assert_eq!(declared.path_of("secret"), folder.path().join("secret"));
    assert_eq!(declared.path_of("/etc/secret"), Path::new("/etc/secret"));
    assert!(
        check(folder.path())
            .unwrap()
            .report
            .starts_with("no mistakes; chassis: 0, machines: 0")
    );
}

#[test]
fn every_mistake_of_every_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), SUBNET.replace("/24", "/99")).unwrap();
    fs::write(folder.path().join("b.yaml"), PROFILE.replace("mtu", "mut")).unwrap();
    let checked = check(folder.path()).unwrap();
    assert!(!checked.is_good);
    assert_eq!(checked.mistakes.len(), 2);
    assert!(
        checked
            .report
            .contains("a.yaml:4:14: Subnet/lan: spec.cidr"),
        "{}",
        checked.report
    );
    assert!(
        checked
            .report
            .contains("b.yaml:4:8: Profile/base: spec.mut"),
        "{}",
        checked.report
    );
    assert!(
        checked.report.ends_with("2 mistakes in the manifests"),
        "{}",
        checked.report
    );
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    assert!(matches!(
        check(&missing),
        Err(ManifestErrors::Folder { .. })
    ));
}

#[test]
fn a_file_that_cannot_be_read_hides_no_mistake_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let mode = nix::sys::stat::Mode::S_IRUSR;
    nix::unistd::mkfifo(&folder.path().join("a.yaml"), mode).unwrap();
    fs::write(folder.path().join("b.yaml"), PROFILE.replace("mtu", "mut")).unwrap();
    symlink("nowhere", folder.path().join("c.yaml")).unwrap();
    let told: Vec<String> = check(folder.path())
        .unwrap()
        .mistakes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].contains("a.yaml: the file cannot be read: it is no regular file"));
    assert!(told[1].contains("b.yaml:4:8"), "{told:#?}");
    assert!(told[2].contains("c.yaml: the file cannot be read"));
}

#[test]
fn what_will_not_work_as_meant_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let told = || warnings(&read(folder.path()).unwrap());
    assert!(
        told()[0].starts_with("nothing is declared in "),
        "{:?}",
        told()
    );
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("good.yaml", SUBNET);
    assert!(told().is_empty());
    put(
        "options.yaml",
        &PROFILE.replace(
            "mtu: 1500",
            "dhcpOptions: {nosuch: '1', ntp-servers: 10.0.0.1}",
        ),
    );
    let hash = "0".repeat(64);
    put(
        "cluster.yaml",
        &format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: main}}\nspec:\n  \
             endpoint: 10.0.0.2:6443\n  caCertHashes: ['sha256:{hash}']\n  kubeconfigFile: missing\n"
        ),
    );
    let told = told();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("Profile/base: spec.dhcpOptions: "));
    assert!(told[1].starts_with("Cluster/main: spec.caCertHashes: "));
    assert!(told[2].starts_with("Cluster/main: spec.kubeconfigFile: "));
}

#[test]
fn the_fingerprint_follows_content_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, SUBNET).unwrap();
    let first = Fingerprint::of(folder.path()).unwrap();
    assert_eq!(first, Fingerprint::of(folder.path()).unwrap());
    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    assert_eq!(first, Fingerprint::of(folder.path()).unwrap());
    fs::write(&file, format!("{SUBNET}\n")).unwrap();
    assert_ne!(first, Fingerprint::of(folder.path()).unwrap());

    // As a mounted ConfigMap: the file is a link through `..data`.
    let mount = tempfile::tempdir().unwrap();
    for version in ["..one", "..two"] {
        fs::create_dir(mount.path().join(version)).unwrap();
        fs::write(mount.path().join(version).join("a.yaml"), SUBNET).unwrap();
    }
    symlink("..one", mount.path().join("..data")).unwrap();
    symlink("..data/a.yaml", mount.path().join("a.yaml")).unwrap();
    let first = Fingerprint::of(mount.path()).unwrap();
    assert_eq!(read(mount.path()).unwrap().subnets.len(), 1);
    symlink("..two", mount.path().join("..new")).unwrap();
    fs::rename(mount.path().join("..new"), mount.path().join("..data")).unwrap();
    assert_ne!(first, Fingerprint::of(mount.path()).unwrap());
}

#[test]
fn the_example_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/quickstart");
    let checked = check(&folder).unwrap();
    assert!(checked.is_good, "{}", checked.report);
    let declared = read(&folder).unwrap();
    assert_eq!(
        (
            declared.chassis.len(),
            declared.machines.len(),
            declared.pools.len()
        ),
        (1, 2, 2)
    );
    assert!(declared.pools.values().any(|pool| pool.spec.catch_all));
    let workers = &declared.pools["workers"].spec;
    assert!(!workers.labels.is_empty() && !workers.taints.is_empty());
}

#[test]
fn every_example_is_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        count += 1;
        let checked = check(&folder).unwrap();
        assert!(checked.is_good, "{}: {}", folder.display(), checked.report);
        // Passwords and kubeconfigs are the reader's own; nothing else is amiss.
        for warning in warnings(&read(&folder).unwrap()) {
            assert!(warning.contains("No such file"), "{warning}");
        }
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(readme.starts_with("# "), "{}", folder.display());
    }
    assert!(count >= 6, "{count} examples");
}
