//! A rack's life: power-on to Ready, servers that die, a node that is reset.

use std::time::Duration;

use boot_proto::api::{BootView, LeaseView, MachineView};
use boot_proto::image::ImageManifest;
use boot_proto::time::WallClock;
use moonfarm_tests::lab::console;
use moonfarm_tests::lab::farm::layout::Cartridge;
use moonfarm_tests::lab::farm::manifests::{self, Facts, Manifest, Pool};
use moonfarm_tests::lab::farm::{ClusterOptions, latest_boot};
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::facts::{self, NodeFacts};
use crate::minted::MintedTokens;
use crate::support::{TO_READY, TestFarm, artefacts, cartridge, internal_address, now};

/// How long nodes are left alone: longer than Kubernetes by itself waits before
/// it calls a silent node NotReady (40 s in older releases, 50 s in current ones).
const ALONE: Duration = Duration::from_secs(65);
/// How long a node may be silent here: longer than it takes to boot, so that a
/// reset node meets its old Node object as Ready.
const GRACE: Duration = Duration::from_secs(600);
const RESERVED: &str = "10.77.0.11";
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// What may be in files in memory that no mount has: less than half of the initramfs
/// as it is unpacked.
const HIDDEN: u64 = 6 * MIB;

/// Two declared cartridges: the first by slot, MAC and address, the second by
/// its slot alone, its MACs known from the chassis manager.
fn declared(facts: &Facts<'_>, first: &Cartridge, second: &Cartridge) -> Vec<Manifest> {
    let spec = format!("  macs: [\"{}\"]\n  address: {RESERVED}\n", first.mac(0));
    let names = format!("names: [{}, {}]", first.name(), second.name());
    let pool = Pool {
        name: "web",
        machines: Some(&names),
        is_powered: true,
        profiles: &[facts::PROFILE],
        // A kubelet may not give itself a role (NodeRestriction): boot-server does.
        labels: &["example.org/rack: r7", "node-role.kubernetes.io/web: \"\""],
        taints: &["{ key: example.org/dedicated, value: web, effect: NoSchedule }"],
        ..Pool::default()
    };
    vec![
        facts::manifest(),
        manifests::pool(facts, &pool),
        manifests::machine(first, &spec),
        manifests::machine(second, ""),
    ]
}

#[test]
fn a_rack_from_power_on_to_ready_and_through_failures() {
    let Some(artefacts) = artefacts() else { return };
    let (first, second) = (cartridge(1), cartridge(2));
    let image_size = image_size(&artefacts.image);
    let since = now();
    let cluster = ClusterOptions {
        node_grace: Some(GRACE),
        ..ClusterOptions::default()
    };
    let mut test = TestFarm::start(artefacts, vec![first, second], Some(cluster), &|facts| {
        declared(facts, &first, &second)
    });
    let mut minted = MintedTokens::watch(test.farm.control_plane());
    for cartridge in [first, second] {
        let console = test.console(&cartridge);
        test.wait_until_ready(&cartridge.name(), since, &console);
        check_node(&test, &cartridge.name());
        let told = console::text(&console);
        assert!(told.contains("moonfarm: joined cluster farm"), "not told");
    }
    assert_eq!(
        internal_address(&test.node(&first.name())).as_deref(),
        Some(RESERVED)
    );
    let facts = NodeFacts::read(&test.console(&first));
    test.say(&format!("{} KiB in no mount's files", facts.hidden() / KIB));
    check_root(&facts, image_size);
    servers_may_die(&mut test, &[first.name(), second.name()]);
    a_reset_node_rejoins(&mut test, &second);
    minted.are_kept_nowhere(&test, 3, &first.name());
}

fn image_size(folder: &std::path::Path) -> u64 {
    let bytes = std::fs::read(folder.join("manifest.json")).expect("a manifest");
    serde_json::from_slice::<ImageManifest>(&bytes)
        .expect("an image manifest")
        .root
        .size
}

/// The pool's label and taint, and the profile's label.
fn check_node(test: &TestFarm, name: &str) {
    let node = test.node(name);
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels["node-role.kubernetes.io/web"], "", "{node:#}");
    assert_eq!(labels["example.org/rack"], "r7", "{node:#}");
    assert_eq!(labels["moonfarm.dev/farm"], "virtual", "{node:#}");
    let taints = node["spec"]["taints"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let has_taint = taints.iter().any(|taint| {
        taint["key"] == "example.org/dedicated"
            && taint["value"] == "web"
            && taint["effect"] == "NoSchedule"
    });
    assert!(has_taint, "{taints:#?}");
}

/// Root is an overlay over squashfs over loop, the kubelet's folder a tmpfs with
/// a size, no disk is mounted, and the image is in memory once.
fn check_root(node: &NodeFacts, image_size: u64) {
    let [_, _, kind, options] = node.mount("/");
    assert_eq!(kind, "overlay", "{options}");
    assert!(options.contains("lowerdir="), "{options}");
    assert!(
        node.loops().iter().any(|file| !file.is_empty()),
        "no loop device has a file"
    );
    let [_, _, kind, options] = node.mount("/var/lib/kubelet");
    assert_eq!(kind, "tmpfs");
    assert!(
        options
            .split(',')
            .any(|option| option == format!("size={}k", 128 * MIB / KIB)),
        "{options}"
    );
    for [source, point, kind, _] in node.mounts() {
        let is_device = source.starts_with("/dev/") && !source.starts_with("/dev/loop");
        assert!(
            !is_device || kind == "devtmpfs",
            "{source} is mounted at {point}"
        );
    }
    // With caches dropped, Cached is tmpfs, ramfs, and what running programs
    // have mapped. A second copy would be there as well.
    let held = node.memory("Cached").saturating_sub(node.memory("Mapped"));
    assert!(
        node.memory("Shmem") >= image_size,
        "the image is not in a tmpfs: {node:#?}"
    );
    assert!(
        held < image_size + image_size / 2,
        "{held} bytes are held for an image of {image_size}"
    );
    assert!(
        node.hidden() < HIDDEN,
        "{} bytes are in files that no mount has; is the initramfs emptied? {:#?} {node:#?}",
        node.hidden(),
        node.held()
    );
}

/// Killed with `-9`, boot-server and chassis-agent are missed by no node, and
/// know all they knew when they are back.
fn servers_may_die(test: &mut TestFarm, nodes: &[String]) {
    let before = Records::of(test);
    test.say("killing boot-server and chassis-agent");
    test.farm.boot_server().kill();
    test.farm.chassis_agent().kill();
    // Time is what is tried here: nothing tells earlier that nodes stay Ready.
    std::thread::sleep(ALONE / 2);
    let heartbeats: Vec<String> = nodes.iter().map(|node| test.last_heartbeat(node)).collect();
    std::thread::sleep(ALONE / 2);
    for (node, earlier) in nodes.iter().zip(&heartbeats) {
        assert!(test.is_ready(node), "{node} is not Ready any more");
        let latest = test.last_heartbeat(node);
        assert!(latest > *earlier, "{node} is silent since {earlier}");
    }
    test.say("starting them again");
    test.farm
        .restart_boot_server()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    assert_eq!(Records::of(test), before);
    test.farm
        .chassis_agent()
        .restart()
        .expect("chassis-agent starts");
}

/// What boot-server knows, without what changes by the minute.
#[derive(Debug, PartialEq)]
struct Records {
    leases: Vec<LeaseView>,
    machines: Vec<MachineView>,
    boots: Vec<BootView>,
}

impl Records {
    fn of(test: &TestFarm) -> Self {
        let mut records = Self {
            leases: test.farm.leases().expect("leases"),
            machines: test.farm.machines().expect("machines"),
            boots: test.farm.boots().expect("boots"),
        };
        records
            .leases
            .iter_mut()
            .for_each(|lease| lease.expires = None);
        for machine in &mut records.machines {
            machine.status.observed_at = None;
            machine.status.conditions.clear();
        }
        records
    }
}

/// A reset node comes back under its name and address, although Kubernetes
/// still has it as Ready when it asks.
fn a_reset_node_rejoins(test: &mut TestFarm, cartridge: &Cartridge) {
    let name = cartridge.name();
    let address = internal_address(&test.node(&name)).expect("an address");
    let since = now();
    test.say(&format!("resetting {name}"));
    let boot_id = test.node(&name)["status"]["nodeInfo"]["bootID"].clone();
    test.farm
        .chassis_command(&["power", "reset", &cartridge.slot.to_string()])
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    meets_its_old_node(test, &name, since, &boot_id);
    let console = test.console(cartridge);
    test.wait_until_ready(&name, since, &console);
    let node = test.node(&name);
    assert_ne!(
        node["status"]["nodeInfo"]["bootID"], boot_id,
        "it was not reset"
    );
    assert_eq!(internal_address(&node), Some(address));
    check_node(test, &name);
}

/// Just before it asks to join, its old Node is there and Ready.
fn meets_its_old_node(test: &TestFarm, name: &str, since: WallClock, boot_id: &Value) {
    let is_about_to_join = until(TO_READY, || {
        let boots = test.farm.boots().ok()?;
        (latest_boot(name, since, &boots)?.phase == "switch-root").then_some(())
    });
    assert!(is_about_to_join.is_some(), "{name} does not boot again");
    let old = test.node(name);
    assert_eq!(
        old["status"]["nodeInfo"]["bootID"], *boot_id,
        "the old Node is gone already"
    );
    assert!(test.is_ready(name), "the old Node is NotReady already");
}
