use boot_proto::ids::Checksum;

use super::*;

const MANIFEST: &str = include_str!("fixtures/manifest.json");
const SIGNATURE: &str = include_str!("fixtures/manifest.json.minisig");
const KEY: &str = include_str!("fixtures/key.pub");
const OTHER: &str = include_str!("fixtures/other.pub");

fn trust(keys: &str) -> Result<Trust, TrustError> {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join(IMAGE_KEYS);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, keys).unwrap();
    Trust::read(base.path())
}

fn image() -> ImageSource {
    let manifest: ImageManifest = serde_json::from_str(MANIFEST).unwrap();
    ImageSource {
        name: manifest.name,
        digest: Digest::of(MANIFEST.as_bytes()),
        kernel_release: manifest.kernel_release,
        url: "http://10.0.0.1/".to_owned(),
        size: manifest.root.size,
        root_digest: manifest.root.digest,
        checks: Default::default(),
        mirrors: Vec::new(),
        signed: Some(SignedManifest {
            manifest: MANIFEST.to_owned(),
            signature: SIGNATURE.to_owned(),
        }),
    }
}

/// An image that was tampered with.
fn changed(change: impl Fn(&mut ImageSource)) -> ImageSource {
    let mut image = image();
    change(&mut image);
    image
}

#[test]
fn what_minisign_signed_is_run() {
    let both = format!("{OTHER}{KEY}");
    let bare = KEY.lines().nth(1).unwrap();
    for keys in [KEY, &both, bare] {
        assert_eq!(trust(keys).unwrap().check(&image()), Ok(()), "{keys}");
    }
}

#[test]
fn without_a_key_nothing_is_asked() {
    let base = tempfile::tempdir().unwrap();
    let trust = Trust::read(base.path()).unwrap();
    assert!(!trust.wants_signatures() && trust.ca().is_none());
    let unsigned = changed(|image| image.signed = None);
    assert_eq!(trust.check(&unsigned), Ok(()));
}

#[test]
fn whatever_was_not_signed_is_refused() {
    let one = Digest::of(b"another root");
    let with_signed =
        |change: fn(&mut SignedManifest)| changed(|image| change(image.signed.as_mut().unwrap()));
    for (image, part) in [
        (changed(|image| image.signed = None), "is not signed"),
        (changed(|image| image.root_digest = one), "another root"),
        (changed(|image| image.digest = one), "manifest digest"),
        (changed(|image| image.size = 5), "size of the root"),
        (
            changed(|image| image.checks.blake3 = Some(Checksum::new([1; 32]))),
            "check of the root",
        ),
        (
            changed(|image| image.kernel_release = "6.2".to_owned()),
            "kernel release",
        ),
        (
            with_signed(|signed| {
                signed.manifest = signed.manifest.replace("\"size\": 4", "\"size\": 5")
            }),
            "not of a key",
        ),
        (
            with_signed(|signed| {
                signed.signature = signed.signature.replace("debian-13", "debian-14")
            }),
            "not of a key",
        ),
        (
            with_signed(|signed| signed.signature.clear()),
            "not of a key",
        ),
    ] {
        let why = trust(KEY).unwrap().check(&image).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
        assert!(why.contains("debian-13"), "{why}");
    }
    let why = trust(OTHER).unwrap().check(&image()).unwrap_err();
    assert!(matches!(why, Distrust::Signature { .. }), "{why}");
}

#[test]
fn a_file_of_keys_that_says_nothing_stops_the_boot() {
    for (keys, part) in [
        ("", "holds no public key"),
        ("untrusted comment: none\n", "holds no public key"),
        ("untrusted comment: x\nRWQ=\n", "line 2"),
    ] {
        let why = trust(keys).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
}
