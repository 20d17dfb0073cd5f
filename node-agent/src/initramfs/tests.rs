use super::*;

/// A root with a small kernel: `nic` needs `bus`, wishes for `crc32c`, and names
/// a firmware file.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib/modules/6.1.0-test");
    let drivers = folder.join("kernel/drivers/net");
    fs::create_dir_all(&drivers).unwrap();
    let write = |name: &str, texts: &[&str]| {
        fs::write(drivers.join(name), elf::tests::module(texts)).unwrap();
    };
    write("squashfs.ko", &["alias=fs-squashfs"]);
    write("overlay.ko", &[]);
    write(
        "e1000e.ko",
        &[
            "depends=bus-core",
            "alias=pci:v00008086d*",
            "firmware=nic/a.bin",
        ],
    );
    write(
        "nic.ko",
        &["softdep=pre: crc32c nothing post: other", "depends="],
    );
    write("crc32c_generic.ko", &[]);
    write("crct10dif_generic.ko", &[]);
    let bus = elf::tests::module(&["softdep=pre: crypto-crct10dif"]);
    let packed = zstd::encode_all(bus.as_slice(), 3).unwrap();
    fs::write(drivers.join("bus-core.ko.zst"), packed).unwrap();
    fs::write(
        folder.join("modules.builtin"),
        "kernel/drivers/block/loop.ko\n",
    )
    .unwrap();
    let firmware = root.path().join("usr/lib/firmware/nic");
    fs::create_dir_all(&firmware).unwrap();
    fs::write(firmware.join("a.bin"), "firmware").unwrap();
    // Without program headers it wants no loader.
    fs::write(root.path().join("agent"), elf::tests::module(&[])).unwrap();
    root
}

fn options(root: &Path) -> Options {
    Options {
        root: root.to_owned(),
        kernel_release: "6.1.0-test".to_owned(),
        agent: root.join("agent"),
        allow_dynamic: false,
        drivers: DriverSet::All,
        storage: false,
        modules: vec!["nic".to_owned()],
        shell: Some(root.join("agent")),
        compress: Compression::Zstd,
        image_keys: None,
        ca: None,
    }
}

#[test]
fn builds_the_same_bytes_twice_with_everything_that_is_needed() {
    let root = root();
    let first = build(&options(root.path())).unwrap();
    let second = build(&options(root.path())).unwrap();
    assert!(first.bytes == second.bytes);
    assert_eq!(
        first.summary.modules,
        [
            "bus_core",
            "crc32c_generic",
            "crct10dif_generic",
            "e1000e",
            "nic",
            "overlay",
            "squashfs"
        ]
    );
    assert_eq!(first.summary.firmware, ["nic/a.bin"]);
    let (text, packed) = archives(&first.bytes);
    for expected in [
        "module bus_core kernel/drivers/net/bus-core.ko.zst ",
        "lib/firmware/nic/a.bin\0",
        "module e1000e kernel/drivers/net/e1000e.ko bus_core\n",
        "alias e1000e pci:v00008086d*\n",
        "dev/console\0",
        "bin/sh\0",
    ] {
        assert!(text.contains(expected), "{expected:?}");
    }
    let file = "lib/modules/6.1.0-test/kernel/drivers/net/bus-core.ko.zst\0";
    assert!(packed.contains(file) && !text.contains(file));
    assert!(!packed.contains("e1000e.ko"));
}

/// What is in the compressed archive, and in the one behind it.
fn archives(mut bytes: &[u8]) -> (String, String) {
    use std::io::Read as _;
    let mut text = Vec::new();
    let mut decoder = zstd::Decoder::with_buffer(&mut bytes)
        .unwrap()
        .single_frame();
    decoder.read_to_end(&mut text).unwrap();
    let both = [text.as_slice(), bytes].map(|part| String::from_utf8_lossy(part).into_owned());
    both.into()
}

/// Distributions pack modules and firmware with xz, zstd or gzip, or not at all.
/// Modules are carried as they are, firmware is unpacked.
#[test]
fn modules_and_firmware_are_carried_whatever_packs_them() {
    use std::io::Write as _;
    fn packed(packing: &str, plain: &[u8]) -> Vec<u8> {
        match packing {
            ".xz" => {
                let mut bytes = Vec::new();
                lzma_rs::xz_compress(&mut &plain[..], &mut bytes).unwrap();
                bytes
            }
            ".zst" => zstd::encode_all(plain, 3).unwrap(),
            ".gz" => {
                let fast = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            _ => plain.to_vec(),
        }
    }
    let initramfs = decompress::SUFFIXES.map(|packing| {
        let root = root();
        let lib = root.path().join("usr/lib");
        let folder = lib.join("modules/6.1.0-test/kernel/drivers/net");
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let plain = decompress::decompress(fs::read(entry.path()).unwrap()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            let name = name.trim_end_matches(".zst");
            fs::remove_file(entry.path()).unwrap();
            fs::write(
                folder.join(format!("{name}{packing}")),
                packed(packing, &plain),
            )
            .unwrap();
        }
        let firmware = lib.join("firmware/nic");
        fs::remove_file(firmware.join("a.bin")).unwrap();
        let content = packed(packing, b"firmware of a card");
        fs::write(firmware.join(format!("a.bin{packing}")), content).unwrap();
        build(&options(root.path())).unwrap()
    });
    for (one, packing) in initramfs.iter().zip(decompress::SUFFIXES) {
        assert_eq!(one.summary.modules.len(), 7, "{packing}");
        assert_eq!(one.summary.firmware, ["nic/a.bin"], "{packing}");
        let (text, behind) = archives(&one.bytes);
        assert!(text.contains("firmware of a card"), "{packing}");
        let file = format!("kernel/drivers/net/nic.ko{packing}\0");
        assert_eq!(behind.contains(&file), !packing.is_empty(), "{packing}");
        assert_eq!(text.contains(&file), packing.is_empty(), "{packing}");
        let index = format!("module nic kernel/drivers/net/nic.ko{packing} ");
        assert!(text.contains(&index), "{packing}: {text}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let root = root();
    let mut wrong = options(root.path());
    wrong.kernel_release = "6.2".to_owned();
    let message = build(&wrong).unwrap_err().to_string();
    assert!(
        message.contains("6.2") && message.contains("it has: 6.1.0-test"),
        "{message}"
    );
    let mut wrong = options(root.path());
    wrong.modules = vec!["no-such".to_owned()];
    let message = build(&wrong).unwrap_err().to_string();
    assert!(message.ends_with("built in: no_such"), "{message}");
    for release in ["", "..", "../modules/6.1.0-test"] {
        let wrong = Options {
            kernel_release: release.to_owned(),
            ..options(root.path())
        };
        assert!(
            matches!(build(&wrong), Err(InitramfsError::NoKernel { .. })),
            "{release}"
        );
    }
}

#[test]
fn an_agent_that_cannot_run_alone_is_refused() {
    let root = root();
    let mut wrong = options(root.path());
    if !cfg!(target_feature = "crt-static") {
        wrong.agent = PathBuf::from("/proc/self/exe");
        let message = build(&wrong).unwrap_err().to_string();
        assert!(message.contains("--allow-dynamic"), "{message}");
    }
    wrong.agent = root.path().join("usr/lib/firmware/nic/a.bin");
    assert!(build(&wrong).is_err());
}

#[test]
fn what_is_trusted_is_packed_and_read_first() {
    let root = root();
    let mut trusting = options(root.path());
    trusting.compress = Compression::None;
    trusting.image_keys = Some(root.path().join("image.pub"));
    fs::write(root.path().join("image.pub"), "RWQ=").unwrap();
    let message = crate::log::chain(&build(&trusting).unwrap_err());
    assert!(message.contains("image.pub"), "{message}");
    let key = include_str!("../trust/fixtures/key.pub");
    fs::write(root.path().join("image.pub"), key).unwrap();
    let ca = crate::tls::tests::Authority::new();
    trusting.ca = Some(root.path().join("ca.pem"));
    fs::write(root.path().join("ca.pem"), ca.pem()).unwrap();
    let text = String::from_utf8_lossy(&build(&trusting).unwrap().bytes).into_owned();
    for expected in [trust::IMAGE_KEYS, key, trust::CA, ca.pem()] {
        assert!(text.contains(expected), "{expected}");
    }
    // Nobody packs a private key by mistake.
    fs::write(
        root.path().join("ca.pem"),
        format!("{}-----BEGIN PRIVATE KEY-----\n", ca.pem()),
    )
    .unwrap();
    assert!(build(&trusting).is_err());
}
