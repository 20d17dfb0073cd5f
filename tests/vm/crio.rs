//! A node whose container runtime is CRI-O.

use moonfarm_tests::lab::farm::layout::{self, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::{self, Pool};
use moonfarm_tests::lab::farm::{ClusterOptions, latest_boot};
use moonfarm_tests::lab::{Firmware, MachineSpec};
use moonfarm_tests::needs;

use crate::images;
use crate::pods;
use crate::seen::{Seen, script};
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts, now};

const LOOKS: &[(&str, &str)] = &[
    ("crio", "systemctl is-active crio.service"),
    (
        "images",
        "systemctl is-active moonfarm-images.service; journalctl -o cat -u moonfarm-images.service | grep imported",
    ),
    ("containers", "findmnt -no FSTYPE /var/lib/containers"),
    (
        "socket",
        "grep -rho 'unix:.*sock' /var/lib/kubelet/instance-config.yaml",
    ),
    ("containerd", "command -v containerd || echo none"),
    ("failed", "systemctl --failed --no-legend --plain"),
];

#[test]
fn a_node_with_cri_o_runs_pods() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let (Some(mut artefacts), Some(image)) = (artefacts(), needs::folder("MOONFARM_CRIO_IMAGE"))
    else {
        return;
    };
    artefacts.image.clone_from(&image);
    let scratch = tempfile::tempdir().expect("a folder");
    let mut shell = Shell::new(scratch.path());
    let key = shell.public_key();
    let cluster = Some(ClusterOptions::default());
    let mut test = TestFarm::start(artefacts, Vec::new(), cluster, &|facts| {
        let profile = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata:\n  name: reached\n\
             spec:\n  sshAuthorizedKeys: [\"{key}\"]\n"
        );
        let pool = Pool {
            name: "strays",
            profiles: &["reached"],
            ..Pool::default()
        };
        vec![
            ("profile-reached.yaml".into(), profile),
            manifests::pool(facts, &pool),
        ]
    });
    shell.within(test.farm.namespace());
    let spec = MachineSpec {
        kernel: Some(images::direct_kernel(&image, STRAY_MAC, "")),
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    let since = now();
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let name = STRAY_MAC.dashed();
    test.wait_until_ready(&name, since, &machine.console_log());
    let node = test.node(&name);
    let runtime = &node["status"]["nodeInfo"]["containerRuntimeVersion"];
    test.say(&runtime.to_string());
    let is_crio = |text: &str| text.starts_with("cri-o://");
    assert!(runtime.as_str().is_some_and(is_crio), "{node:#}");
    pods::run_on(&test, &name);
    let boots = test.farm.boots().expect("boots");
    let address = latest_boot(&name, since, &boots).and_then(|boot| boot.address);
    let text = shell.wait_and_run(address.expect("an address"), TO_READY, &script(LOOKS));
    test.say(&text);
    let seen = Seen::of(&text);
    seen.is("crio", "active");
    seen.is("images", "active\nimported localhost/moonfarm/pause:1");
    seen.is("containers", "tmpfs");
    seen.is("socket", "unix:///run/crio/crio.sock");
    seen.is("containerd", "none");
    seen.is("failed", "");
}
