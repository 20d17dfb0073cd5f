//! The Debian release before: kernel 6.1 with modules that are not packed, and a
//! root without netplan.

use std::time::Duration;

use moonfarm_tests::lab::farm::layout::{self, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::Pool;
use moonfarm_tests::lab::farm::{latest_boot, manifests};
use moonfarm_tests::lab::{Firmware, MachineSpec};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images;
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts, now};

const TO_SHELL: Duration = Duration::from_secs(120);

#[test]
fn debian_12_boots_with_its_own_kernel() {
    if !needs::is_long_run() || !needs::has_virtual_machines() {
        return;
    }
    let (Some(mut artefacts), Some(image)) = (artefacts(), needs::folder("MOONFARM_OLDER_IMAGE"))
    else {
        return;
    };
    artefacts.image.clone_from(&image);
    let scratch = tempfile::tempdir().expect("a folder");
    let mut shell = Shell::new(scratch.path());
    let key = shell.public_key();
    let test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let profile = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: Profile\nmetadata:\n  name: older\n\
             spec:\n  sshAuthorizedKeys: [\"{key}\"]\n  network: {{interfaces: {{nic0: {{match: \
             {{boot: true}}, lease: static}}}}}}\n"
        );
        let pool = Pool {
            name: "strays",
            profiles: &["older"],
            ..Pool::default()
        };
        vec![
            ("profile-older.yaml".into(), profile),
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
    let at = until(TO_READY, || {
        let boots = test.farm.boots().ok()?;
        let boot = latest_boot(&name, since, &boots)?;
        matches!(boot.phase.as_str(), "switch-root" | "ready").then_some(boot.address)?
    });
    let at = at.unwrap_or_else(|| {
        test.explain(&name, since, &machine.console_log());
        panic!("it does not get to its image");
    });
    let seen = shell.wait_and_run(
        at,
        TO_SHELL,
        "grep VERSION_ID /etc/os-release; uname -r; systemctl is-system-running --wait; \
         systemctl --failed --no-legend --plain; networkctl --no-pager list; \
         ip -4 -o address show scope global; true",
    );
    test.say(&seen);
    assert!(seen.contains("VERSION_ID=\"12\""), "{seen}");
    assert!(seen.contains("\n6.1."), "{seen}");
    assert!(seen.contains("\nrunning\n"), "{seen}");
    assert!(seen.contains("configured"), "{seen}");
    assert!(seen.contains(&format!("inet {at}/24")), "{seen}");
}
