//! What an initramfs with keys in it runs, and what not.

mod wire;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use boot_proto::image::ImageManifest;
use moonfarm_tests::lab::farm::ClusterOptions;
use moonfarm_tests::lab::farm::layout::{self, SERVER, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::{self, Facts, Manifest, Pool};
use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{Firmware, MachineSpec, QemuMachine, console};
use moonfarm_tests::needs;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{TO_READY, TestFarm, artefacts, keep_picture, now};
use wire::Wire;

/// Port of the boot face that speaks TLS.
const TLS_PORT: u16 = 8444;

/// One farm for both: each look at a booting machine costs half a minute.
#[test]
fn an_initramfs_with_keys_runs_signed_images_told_over_tls_only() {
    let Some(mut artefacts) = artefacts() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls::make(folder.path());
    let keys = minisign_keys(folder.path());
    artefacts.image = image_that_trusts(&artefacts.image, folder.path(), &tls.ca, &keys.public);
    let image = artefacts.image.clone();
    let mut test = TestFarm::start(artefacts, Vec::new(), None, &strays);
    let arguments = tls.arguments();
    let serving = test.farm.serve_with(&arguments);
    serving.unwrap_or_else(|error| panic!("{}", error.chain()));
    let mut machine = test.farm.stray(Firmware::Bios);
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));

    // The server's word alone is not enough, although it came over TLS.
    waits_for(&machine, "is not signed, and this initramfs");
    let console = machine.console_log();
    test.say("the unsigned image is refused");
    let text = console::text(&console);
    assert!(
        !text.contains("image: 1"),
        "nothing of it was fetched: {text}"
    );

    keys.sign(&image.join("manifest.json"));
    let added = test.farm.add_image(&image);
    added.unwrap_or_else(|error| panic!("{}", error.chain()));
    fs::write(&console, "").expect("emptied");
    let reset = machine.reset();
    reset.unwrap_or_else(|error| panic!("{}", error.chain()));
    for words in ["signed, told over TLS", " is right", "Welcome to Debian"] {
        waits_for(&machine, words);
        test.say(&format!("the signed one: {words}"));
    }
}

/// From firmware to Ready nothing of the machine's own is asked or told in the
/// clear, the join token neither; and a boot-server with the certificate of
/// another CA is asked for nothing at all.
#[test]
fn a_machine_that_pins_a_ca_joins_over_tls_alone() {
    if !needs::is_long_run() {
        return;
    }
    let Some(mut artefacts) = artefacts() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (tls, other) = (folder.path().join("tls"), folder.path().join("other"));
    let (tls, other) = (Tls::make(&tls), Tls::make(&other));
    let keys = minisign_keys(folder.path());
    artefacts.image = image_that_trusts(&artefacts.image, folder.path(), &tls.ca, &keys.public);
    let manifest = artefacts.image.join("manifest.json");
    keys.sign(&manifest);
    let root = root_digest(&manifest);
    let cluster = Some(ClusterOptions::default());
    let mut test = TestFarm::start(artefacts, Vec::new(), cluster, &strays);
    let serving = test.farm.serve_with(&other.arguments());
    serving.unwrap_or_else(|error| panic!("{}", error.chain()));
    let since = now();
    let mut machine = test.farm.machine(MachineSpec {
        is_captured: true,
        has_screen: true,
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    });
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));
    waits_for(&machine, "is not of the CA that this initramfs pins");
    test.say("a server of another CA is asked for nothing");
    keep_picture(&mut machine, "another-ca");

    let serving = test.farm.serve_with(&tls.arguments());
    serving.unwrap_or_else(|error| panic!("{}", error.chain()));
    let name = STRAY_MAC.dashed();
    test.wait_until_ready(&name, since, &machine.console_log());
    let text = console::text(&machine.console_log());
    assert!(text.contains("signed, told over TLS"), "{text}");
    machine.power_off();
    let wire = Wire::read(&machine.spec().capture(0));
    test.say(&format!("in the clear: {:#?}", wire.requests));
    let hellos = wire.hellos.iter().filter(|port| **port == TLS_PORT).count();
    test.say(&format!("{hellos} handshakes of TLS with boot-server"));
    // iPXE's own requests show that others would have been seen.
    assert!(wire.has_asked("/boot.ipxe") && wire.has_asked("/blobs/"));
    assert!(!wire.has_asked("/v1/"), "{:#?}", wire.requests);
    assert!(!wire.has_asked(&root), "{:#?}", wire.requests);
    assert!(hellos > 0, "{:?}", wire.hellos);
}

fn strays(facts: &Facts<'_>) -> Vec<Manifest> {
    let pool = Pool {
        name: "strays",
        ..Pool::default()
    };
    vec![manifests::pool(facts, &pool)]
}

fn waits_for(machine: &QemuMachine, words: &str) {
    let seen = machine.wait_for_console(words, TO_READY);
    seen.unwrap_or_else(|error| {
        let last = console::last_lines(&machine.console_log(), 40);
        panic!("{}\n{last}", error.chain())
    });
}

/// The name that the image's root has in URLs.
fn root_digest(manifest: &Path) -> String {
    let manifest = fs::read(manifest).expect("a manifest");
    let manifest: ImageManifest = serde_json::from_slice(&manifest).expect("a manifest");
    manifest.root.digest.hex()
}

/// A CA, and files of a certificate for the server.
struct Tls {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    fn make(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let ca_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).expect("a CA").pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(SERVER.into())];
        let certificate = params.signed_by(&key, &issuer).expect("signed").pem();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("written");
            path
        };
        Self {
            ca: write("ca.pem", &ca),
            certificate: write("server.pem", &certificate),
            key: write("server.key", &key.serialize_pem()),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        vec![
            "--listen-boot-tls".into(),
            format!("0.0.0.0:{TLS_PORT}"),
            "--tls-cert".into(),
            path(&self.certificate),
            "--tls-key".into(),
            path(&self.key),
        ]
    }
}

/// A key pair of the real minisign, without a password.
struct Minisign {
    public: PathBuf,
    secret: PathBuf,
}

fn minisign_keys(folder: &Path) -> Minisign {
    let (public, secret) = (folder.join("image.pub"), folder.join("image.key"));
    let mut command = Command::new("minisign");
    command.args(["-G", "-W", "-p"]).arg(&public);
    command.arg("-s").arg(&secret);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    Minisign { public, secret }
}

impl Minisign {
    fn sign(&self, manifest: &Path) {
        let mut command = Command::new("minisign");
        command.args(["-S", "-W", "-s"]).arg(&self.secret);
        command.arg("-m").arg(manifest);
        output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    }
}

/// The image with an initramfs that trusts this CA and this key. The kernel
/// unpacks archives that follow each other, so that no module has to be packed
/// anew.
fn image_that_trusts(image: &Path, folder: &Path, ca: &Path, key: &Path) -> PathBuf {
    let made = folder.join("image");
    fs::create_dir(&made).expect("a folder");
    for name in ["vmlinuz", "root.squashfs"] {
        symlink(image.join(name), made.join(name)).expect("linked");
    }
    let mut initramfs = cpio(&[
        ("etc", None),
        ("etc/moonfarm", None),
        ("etc/moonfarm/boot-server-ca.pem", Some(ca)),
        ("etc/moonfarm/image-keys.pub", Some(key)),
    ]);
    initramfs.extend(fs::read(image.join("initramfs.img")).expect("an initramfs"));
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(image.join("manifest.json")).expect("a manifest"))
            .expect("a manifest");
    manifest["initramfs"]["size"] = json!(initramfs.len());
    let digest = hex::encode(Sha256::digest(&initramfs));
    manifest["initramfs"]["digest"] = json!(format!("sha256:{digest}"));
    fs::write(made.join("initramfs.img"), initramfs).expect("written");
    fs::write(made.join("manifest.json"), manifest.to_string()).expect("written");
    made
}

/// A cpio archive of folders and files (format "newc", kernel document
/// driver-api/early-userspace/buffer-format).
fn cpio(entries: &[(&str, Option<&Path>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer = ("TRAILER!!!", None);
    for (number, (name, file)) in entries.iter().chain([&trailer]).enumerate() {
        let content = file.map_or_else(Vec::new, |file| fs::read(file).expect("a file"));
        let mode: u32 = if file.is_some() { 0o100_644 } else { 0o040_755 };
        let fields = [
            u32::try_from(number + 1).expect("few"),
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(content.len()).expect("small"),
            0,
            0,
            0,
            0,
            u32::try_from(name.len() + 1).expect("short"),
            0,
        ];
        archive.extend(b"070701");
        for field in fields {
            archive.extend(format!("{field:08x}").bytes());
        }
        archive.extend(name.bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}
