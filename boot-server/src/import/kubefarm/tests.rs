use std::fs;
use std::path::{Path, PathBuf};

use boot_proto::manifest::{self, SourceFile};

use super::*;
use crate::manifests::Declared;

/// Set, the golden files are written anew instead of compared.
const REWRITE: &str = "MOONFARM_REWRITE_GOLDEN";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kubefarm")
}

fn values(name: &str) -> Value {
    let file = fixtures().join(format!("{name}.values.yaml"));
    parse(&fs::read_to_string(&file).unwrap()).unwrap()
}

fn options() -> Options {
    Options {
        name: "farm".into(),
        image: "debian-13".into(),
        endpoint: None,
        ca_cert_hash: None,
    }
}

/// Renders, compares with the golden file, and reads it as the server would.
fn check(golden: &str, files: &[&str]) -> Declared {
    let files: Vec<Value> = files.iter().map(|name| values(name)).collect();
    let text = crate::import::render(&import(&files, &options()), "kubefarm").unwrap();
    let file = fixtures().join(format!("{golden}.manifests.yaml"));
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(text, expected, "{REWRITE}=1 writes {}", file.display());
    declared(&text)
}

fn declared(text: &str) -> Declared {
    let name = "import".to_owned();
    let text = text.as_bytes().to_vec();
    let loaded = manifest::load(&[SourceFile { name, text }]);
    assert_eq!(loaded.mistakes, []);
    Declared::new(Path::new("/farm"), loaded.resources)
}

/// The profile that the machine of that name ends up with.
fn merged(declared: &Declared, machine: &str) -> ProfileSpec {
    let pool = declared.machines[machine].spec.pool.as_ref().unwrap();
    let pool = &declared.pools[pool].spec;
    let mut merged = ProfileSpec::default();
    for name in &pool.profiles {
        merged.merge(&declared.profiles[name].spec);
    }
    merged
}

fn from(text: &str) -> Imported {
    import(&[parse(text).unwrap()], &options())
}

#[test]
fn a_generic_release() {
    let declared = check("generic", &["generic"]);
    let tagged = merged(&declared, "rack1-n3");
    assert_eq!(tagged.labels["example.com/disks"], "many");
    assert_eq!(tagged.dhcp_options["42"], "10.40.0.4");
    assert_eq!(tagged.dhcp_options["mtu"], "9000");
    assert_eq!(tagged.sysctls["vm.max_map_count"], "262144");
    assert_eq!(
        tagged.sysctls["net.ipv4.ip_forward"], "1",
        "the chart's own"
    );
    assert_eq!(tagged.modules, ["br_netfilter", "ip_vs", "ip_vs_rr"]);
    // DEBUG_SHELL of the tag and of the options is one variable.
    let debug = tagged
        .kernel_arguments
        .iter()
        .filter(|it| *it == "moonfarm.debug");
    assert_eq!(debug.count(), 1);
    assert!(merged(&declared, "rack1-n1").labels.is_empty());
    let subnet = &declared.subnets["farm"].spec;
    assert_eq!(subnet.gateway, Some([10, 40, 0, 1].into()));
    assert_eq!(subnet.lease_time.0, u32::MAX);
}

#[test]
fn a_catch_all_release() {
    let declared = check("catch-all", &["catch-all"]);
    assert!(declared.pools["farm-pool-1"].spec.catch_all);
    assert_eq!(declared.clusters["farm"].spec.endpoint, "10.40.0.11:6443");
    let arguments = &declared.profiles["farm-common"].spec.kernel_arguments;
    assert_eq!(arguments[0], "moonfarm.debug");
    assert_eq!(arguments[2], "note=\"two words\"");
}

#[test]
fn files_laid_over_a_generic_release() {
    check("dual-stack", &["generic", "dual-stack"]);
    let declared = check("advanced-network", &["generic", "advanced-network"]);
    let network = merged(&declared, "rack1-n1").network;
    assert_eq!(network.boot.as_deref(), Some("bond0"));
    let bond = network.interfaces["bond0"].bond.as_ref().unwrap();
    assert_eq!(bond.ports, ["eno1", "eno2"]);
    assert_eq!(
        (bond.miimon, bond.up_delay, bond.down_delay),
        (Some(100), Some(200), Some(200))
    );
    let vlan = &network.interfaces["bond0.2"].derived_addresses[0];
    assert_eq!(vlan.of([10, 40, 7, 9].into()).to_string(), "10.41.7.9/16");
}

#[test]
fn tags_that_contradict_each_other() {
    let declared = check("tags", &["tags"]);
    // Tags in the order zeta, beta.
    let one = merged(&declared, "one");
    // Assigned, not added up: the last tag of the list wins.
    assert_eq!(one.kernel_arguments, ["quiet", "panic=5"]);
    let kubelet: Vec<_> = one
        .tmpfs
        .iter()
        .filter(|it| it.path == "/var/lib/kubelet")
        .collect();
    assert_eq!((kubelet.len(), kubelet[0].size.0), (1, 3 << 30));
    // Put together by name of the variable: _A, _B, _PODS, and the kubelet takes
    // the last.
    assert_eq!(one.kubelet_arguments["max-pods"], "40");
    assert_eq!(one.kubelet_arguments["v"], "2");
    // _ALL, _BETA, _ZETA.
    assert_eq!(one.labels["tier"], "zeta");
    assert_eq!(one.labels["b"], "1");
    // dnsmasq takes what stands last in its file, which is sorted by tag.
    assert_eq!(one.dhcp_options["domain-name"], "zeta.example.com");
    assert_eq!(one.dhcp_options["ntp-server"], "10.50.0.2");
    let taints: Vec<_> = one.taints.iter().map(|it| (&*it.key, &*it.value)).collect();
    assert_eq!(taints, [("drain", ""), ("dedicated", "zeta")]);
    assert_eq!(declared.pools["farm-pool-1"].spec.image, "special");
    // Machines that nobody declared see no tag of the pool.
    let newcomers = &declared.pools["farm-newcomers"].spec;
    assert!(newcomers.catch_all && !declared.pools["farm-pool-1"].spec.catch_all);
    assert!(newcomers.profiles.iter().all(|name| !name.contains("beta")));
    let three = merged(&declared, "02-50-00-00-00-03");
    assert_eq!(three.labels["tier"], "beta");
    assert_eq!(three.taints[0].value, "beta");
}

#[test]
fn names_that_become_one_variable_are_assigned_in_order() {
    let imported = from(
        "nodePools: [{tags: [a.b, a-b], nodes: [{name: n, mac: '02:00:00:00:00:01'}]}]\n\
         tags: {kubernetesLabels: {a-b: {x: 1}, a.b: {x: 2, y: 2}}}",
    );
    let declared = declared(&crate::import::render(&imported, "kubefarm").unwrap());
    let labels = merged(&declared, "n").labels;
    // KUBERNETES_LABELS_A_B is assigned as a whole, by the later tag.
    assert_eq!(labels.get("x").map(String::as_str), Some("1"));
    assert!(!labels.contains_key("y"));
}

#[test]
fn nothing_is_dropped_in_silence() {
    let imported = from(
        "nodePools:\n\
         - range: 10.1.0.1,10.1.0.9\n\
         \x20 nodes:\n\
         \x20 - {name: a, mac: '02:00:00:00:00:01,nonsense', ip: fd00::1, color: red}\n\
         \x20 - {name: a, mac: '02:00:00:00:00:02'}\n\
         \x20 - {name: b, mac: '02:00:00:00:00:01'}\n\
         tags: {dhcpOptions: {all: {no-such: x, router: 0.0.0.0}}, ltspOptions: {all: {FOO: bar}}}\n\
         ltsp: {replicaCount: 2, config: {dockerConfig: {bridge: none}, misspelt: 1}}\n\
         tagz: {}\nother: 1\n",
    );
    for path in [
        "nodePools[0].range",
        "nodePools[0].nodes[0].mac",
        "nodePools[0].nodes[0].ip",
        "nodePools[0].nodes[0].color",
        "nodePools[0].nodes[1]",
        "nodePools[0].nodes[2]",
        "tags.dhcpOptions.all.no-such",
        "tags.dhcpOptions.all.router",
        "tags.ltspOptions.all.FOO",
        "ltsp.replicaCount",
        "ltsp.config.dockerConfig",
        "ltsp.config.misspelt",
        "other",
    ] {
        let is_told = imported.findings.iter().any(|finding| finding.path == path);
        assert!(is_told, "{path}: {:#?}", imported.findings);
    }
    declared(&crate::import::render(&imported, "kubefarm").unwrap());
}

#[test]
fn what_is_no_values_file() {
    for text in ["[]", "3", "a: [", "a: b: c"] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert_eq!(from("").resources.len(), 2, "the chart's own profiles");
}

#[test]
fn the_example_of_a_migration_is_what_the_import_makes() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/kubefarm-migration");
    let text = fs::read_to_string(folder.join("kubefarm/values.yaml")).unwrap();
    let options = Options {
        name: "cluster1".into(),
        // Any cluster's: the example says to put in one's own.
        ca_cert_hash: Some(format!("sha256:{}", "5f".repeat(32))),
        ..options()
    };
    let text =
        crate::import::render(&import(&[parse(&text).unwrap()], &options), "kubefarm").unwrap();
    let file = folder.join("cluster1.yaml");
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&file).unwrap());
}
