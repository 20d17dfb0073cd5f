//! Boots that keep the image, or the overlay, on a local disk.

use boot_proto::resources::{KeepImage, OverlayPlace, OverlaySpec};

use super::*;

pub(super) const LABEL: &str = "images";

/// A disk with a file system of that label, as mkfs.ext4 begins it.
pub(super) fn plug_in(bench: &Bench) {
    let base = bench.base.path();
    fs::create_dir_all(base.join("sys/class/block/vda1")).unwrap();
    fs::create_dir_all(base.join("dev")).unwrap();
    let mut octets = vec![0; 4096];
    octets[1080..1082].copy_from_slice(&[0x53, 0xef]);
    octets[1144..1144 + LABEL.len()].copy_from_slice(LABEL.as_bytes());
    fs::write(base.join("dev/vda1"), octets).unwrap();
}

fn keep(config: &mut BootConfig) {
    let label = LABEL.to_owned();
    config.system.keep_image = Some(KeepImage {
        label,
        verity: false,
        on_corruption: None,
    });
}

fn kept(bench: &Bench) -> PathBuf {
    let name = format!("{}.squashfs", Digest::of(IMAGE).hex());
    let folder = bench.base.path().join("run/moonfarm/disk-images");
    folder.join("moonfarm/images").join(name)
}

/// Boots with what an earlier boot left on the disk; the image is where it should be.
fn boot(earlier: Option<&[u8]>, served: &'static [u8]) -> Bench {
    let mut bench = Bench::new("", &boot_server(keep, served));
    plug_in(&bench);
    let file = kept(&bench);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file.with_file_name("broken.part"), b"half of").unwrap();
    if let Some(content) = earlier {
        fs::write(&file, content).unwrap();
    }
    let failure = bench.run();
    assert_eq!(failure.phase, Phase::SwitchRoot, "{failure:?}");
    assert_eq!(fs::read(&file).unwrap(), IMAGE);
    let calls = &bench.kernel.calls;
    let has = |call: &str| calls.iter().any(|note| note.starts_with(call));
    assert!(has("mount ext4 /run/moonfarm/disk-images"), "{calls:#?}");
    assert!(
        has("loop /run/moonfarm/disk-images/moonfarm/images/"),
        "{calls:#?}"
    );
    assert!(!has("mount tmpfs /run/moonfarm/image"), "{calls:#?}");
    bench
}

#[test]
fn the_image_is_downloaded_to_the_disk_once() {
    let bench = boot(None, IMAGE);
    assert!(!kept(&bench).with_file_name("broken.part").exists());
    // No server has it any more.
    let bench = boot(Some(IMAGE), b"another!!!!!");
    let log = bench.log.tail();
    assert!(log.contains("not downloaded, SHA-256 is right"), "{log}");
}

#[test]
fn a_kept_image_that_changed_is_downloaded_anew() {
    let mut damaged = IMAGE.to_vec();
    damaged[3] ^= 1;
    for earlier in [&damaged[..], &IMAGE[..5]] {
        let bench = boot(Some(earlier), IMAGE);
        let log = bench.log.tail();
        assert!(log.contains("the image on the disk is not used"), "{log}");
    }
}

#[test]
fn without_the_disk_all_is_in_ram() {
    let both = |config: &mut BootConfig| {
        keep(config);
        config.system.overlay = Some(OverlaySpec {
            place: OverlayPlace::Disk,
            label: Some("scratch".to_owned()),
        });
    };
    let mut bench = Bench::new("", &boot_server(both, IMAGE));
    let failure = bench.run();
    assert_eq!(failure.phase, Phase::SwitchRoot, "{failure:?}");
    let log = bench.log.tail();
    for label in ["images", "scratch"] {
        assert!(
            log.contains(&format!("with the label {label}; RAM")),
            "{log}"
        );
    }
    assert!(
        bench
            .kernel
            .position("mount tmpfs /run/moonfarm/image")
            .is_some()
    );
    assert!(
        bench
            .kernel
            .position("mount tmpfs /run/moonfarm/overlay")
            .is_some()
    );
}

#[test]
fn a_missing_disk_is_no_excuse_for_too_little_memory() {
    let large = |config: &mut BootConfig| {
        keep(config);
        config.image.size = 4 << 30;
    };
    let mut bench = Bench::new("", &boot_server(large, IMAGE));
    let failure = bench.run();
    assert_eq!(failure.phase, Phase::Image, "{failure:?}");
    assert!(failure.reason.contains("not enough memory"), "{failure:?}");
}

#[test]
fn the_overlay_on_a_disk_begins_empty() {
    let overlay = |config: &mut BootConfig| {
        config.system.overlay = Some(OverlaySpec {
            place: OverlayPlace::Disk,
            label: Some(LABEL.to_owned()),
        });
    };
    let mut bench = Bench::new("", &boot_server(overlay, IMAGE));
    plug_in(&bench);
    let upper = bench
        .base
        .path()
        .join("run/moonfarm/disk-images/moonfarm/overlay/upper");
    fs::create_dir_all(&upper).unwrap();
    fs::write(upper.join("left-behind"), b"x").unwrap();
    let failure = bench.run();
    assert_eq!(failure.phase, Phase::SwitchRoot, "{failure:?}");
    assert_eq!(fs::read_dir(&upper).unwrap().count(), 0);
    let mounted = bench.kernel.position("mount overlay /newroot").unwrap();
    assert!(bench.kernel.calls[mounted].contains("disk-images/moonfarm/overlay/upper"));
}

#[test]
fn the_overlay_on_zram_has_a_file_system_of_the_image() {
    let overlay = |config: &mut BootConfig| {
        config.system.overlay = Some(OverlaySpec {
            place: OverlayPlace::Zram,
            label: None,
        });
        config.system.overlay_size = Some("64Mi".parse().unwrap());
    };
    for has_zram in [true, false] {
        let mut bench = Bench::new("", &boot_server(overlay, IMAGE));
        let zram = bench.base.path().join("sys/block/zram0");
        if has_zram {
            fs::create_dir_all(&zram).unwrap();
        }
        let failure = bench.run();
        assert_eq!(failure.phase, Phase::SwitchRoot, "{failure:?}");
        let position = |call: &str| bench.kernel.position(call);
        let on_zram = position("mount ext4 /run/moonfarm/overlay discard");
        if has_zram {
            assert_eq!(
                fs::read_to_string(zram.join("disksize")).unwrap(),
                "67108864"
            );
            let made = position("run /sbin/mkfs.ext4 in /run/moonfarm/rootfs").unwrap();
            assert!(made < on_zram.unwrap() && on_zram < position("mount overlay /newroot"));
        } else {
            assert_eq!(on_zram, None);
            assert!(position("mount tmpfs /run/moonfarm/overlay").is_some());
        }
    }
}
