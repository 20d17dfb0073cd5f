//! A machine that a MatchboxGroup takes: real iPXE by Matchbox's own way, from
//! `/boot.ipxe` to `/ipxe?…` with all that it says of itself, to a running kernel.

use std::time::Duration;

use boot_proto::image::ImageManifest;
use moonfarm_tests::lab::Firmware;
use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::{SERVER, STRAY_MAC};

use crate::loaders::{has_step, power_on};
use crate::support::{TestFarm, artefacts};

/// How long firmware, iPXE and the kernel's first lines may take.
const TO_KERNEL: Duration = Duration::from_secs(180);
/// Only the script of the group has it.
const ARGUMENT: &str = "matchbox.group=by-mac";

/// A profile with Debian's kernel and our initramfs out of the image's files.
fn manifest(image: &ImageManifest) -> String {
    let (kernel, initramfs) = (image.kernel.digest.hex(), image.initramfs.digest.hex());
    format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: MatchboxProfile\nmetadata: {{name: debian}}\n\
         spec:\n  boot:\n    kernel: http://{SERVER}:8080/blobs/sha256/{kernel}\n    initrd:\n    \
         - --name initramfs http://{SERVER}:8080/blobs/sha256/{initramfs}\n    args:\n    - \
         console=ttyS0\n    - {ARGUMENT}\n    - uuid=${{uuid}}\n---\n\
         apiVersion: moonfarm.dev/v1alpha1\nkind: MatchboxGroup\nmetadata: {{name: by-mac}}\n\
         spec:\n  profile: debian\n  selector: {{mac: '{STRAY_MAC}'}}\n---\n\
         apiVersion: moonfarm.dev/v1alpha1\nkind: MatchboxGroup\nmetadata: {{name: other}}\n\
         spec:\n  profile: debian\n  selector: {{mac: '02:00:00:00:00:99'}}\n"
    )
}

#[test]
fn a_machine_of_a_group_starts_the_kernel_of_its_profile() {
    let Some(artefacts) = artefacts() else { return };
    let text = std::fs::read(artefacts.image.join("manifest.json")).expect("an image");
    let image: ImageManifest = serde_json::from_slice(&text).expect("its manifest");
    let manifests = [("matchbox.yaml".to_owned(), manifest(&image))];
    let test = TestFarm::start(artefacts, Vec::new(), None, &|_| manifests.to_vec());
    let machine = power_on(&test, Firmware::Bios);
    for words in ["Linux version", ARGUMENT] {
        machine
            .wait_for_console(words, TO_KERNEL)
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }
    let boots = test.farm.boots().expect("boots");
    let since = boot_proto::time::WallClock(0);
    let boot = latest_boot(&STRAY_MAC.dashed(), since, &boots).expect("a boot");
    assert!(
        has_step(boot, "script of MatchboxProfile debian"),
        "{boot:#?}"
    );
}
