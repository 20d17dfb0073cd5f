//! The image store on a real folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use boot_proto::ids::{Checksum, Digest};
use boot_proto::resources::ImageSpec;
use boot_proto::verity;

use super::*;

/// Writes an image folder whose files hold the given texts.
pub(crate) fn write_image(folder: &Path, name: &str, texts: [&[u8]; 3]) -> Digest {
    fs::create_dir_all(folder).unwrap();
    let file = |file: &str, text: &[u8]| {
        fs::write(folder.join(file), text).unwrap();
        ImageFile {
            file: file.into(),
            size: text.len() as u64,
            digest: Digest::of(text),
        }
    };
    let manifest = ImageManifest {
        version: 1,
        name: name.into(),
        architecture: "x86_64".into(),
        kernel_release: "6.12.0-test".into(),
        kernel: file("vmlinuz", texts[0]),
        initramfs: file("initramfs.img", texts[1]),
        root: file("root.squashfs", texts[2]),
        root_checks: Default::default(),
        kernel_arguments: vec!["console=tty0".into(), "console=ttyS0,115200n8".into()],
        recipe: serde_json::Value::Null,
    };
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    fs::write(folder.join("manifest.json"), &bytes).unwrap();
    Digest::of(&bytes)
}

fn no_progress(_: &str, _: u64, _: u64) {}

#[test]
fn an_image_is_added_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let first = write_image(&dir.path().join("a"), "debian", [b"k", b"i", b"root one"]);
    let second = write_image(&dir.path().join("b"), "debian", [b"k", b"i", b"root two"]);
    let mut seen = Vec::new();
    let digest = store
        .add(&dir.path().join("a"), &mut |file, done, all| {
            seen.push((file.to_owned(), done, all))
        })
        .unwrap();
    assert_eq!(digest, first);
    assert!(seen.contains(&("root.squashfs".into(), 8, 8)), "{seen:?}");

    // A second process adds; the first notices by itself.
    let other = ImageStore::open(&dir.path().join("images")).unwrap();
    assert_eq!(
        other.add(&dir.path().join("b"), &mut no_progress).unwrap(),
        second
    );
    let images = store.list().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0].size(), 10);
    assert_eq!(
        resolve_name(&images, None, "debian").unwrap().digest,
        second
    );
    assert_eq!(store.role_of(&Digest::of(b"i")), Some(Role::Initramfs));

    let blob = store.blob_path(&Digest::of(b"k"));
    assert_eq!(
        fs::metadata(&blob).unwrap().permissions().mode() & 0o777,
        0o444
    );

    store.remove(&first).unwrap();
    assert!(!store.blob_path(&Digest::of(b"root one")).exists());
    assert!(blob.exists(), "the other image has the same kernel");
    assert!(matches!(
        store.remove(&first),
        Err(ImageError::Unknown { .. })
    ));
    store.remove(&second).unwrap();
    assert!(!blob.exists());
    assert!(other.list().unwrap().is_empty());
}

#[test]
fn further_hashes_are_those_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let (folder, root) = (dir.path().join("a"), [7; 2 * verity::BLOCK]);
    write_image(&folder, "debian", [b"k", b"i", &root]);
    let path = folder.join("manifest.json");
    let (_, manifest) = read_manifest(&path).unwrap();
    let add = |blake3: Checksum, verity: Checksum| {
        let mut manifest = manifest.clone();
        manifest.root_checks.blake3 = Some(blake3);
        manifest.root_checks.verity = Some(verity);
        fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let added = store.add(&folder, &mut no_progress);
        added.map_err(|error| error.to_string())
    };
    let blake3 = Checksum::new(blake3::hash(&root).into());
    let tree = verity::Tree::over(verity::hashes(&root)).unwrap();
    let wrong = Checksum::new([1; 32]);
    assert!(add(wrong, tree.root).unwrap_err().contains("BLAKE3"));
    assert!(add(blake3, wrong).unwrap_err().contains("dm-verity"));
    add(blake3, tree.root).unwrap();
}

#[test]
fn adding_again_makes_an_image_the_newest_and_heals_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let first = write_image(&dir.path().join("a"), "debian", [b"k", b"i", b"one"]);
    write_image(&dir.path().join("b"), "debian", [b"k", b"i", b"two"]);
    for folder in ["a", "b", "a"] {
        store
            .add(&dir.path().join(folder), &mut no_progress)
            .unwrap();
    }
    let images = store.list().unwrap();
    let image = resolve_name(&images, None, "debian").unwrap();
    assert_eq!(image.digest, first);
    assert!(store.verify(image).is_sound());

    let blob = store.blob_path(&Digest::of(b"one"));
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, b"onE").unwrap();
    let verdict = store.verify(image);
    assert!(!verdict.is_sound());
    let fault = verdict
        .blobs
        .iter()
        .find_map(|blob| blob.fault.clone())
        .unwrap();
    assert_eq!(
        fault,
        BlobFault::Damaged {
            size: 3,
            found: Digest::of(b"onE")
        }
    );
    let damaged_inode = fs::metadata(&blob).unwrap().ino();

    store.add(&dir.path().join("a"), &mut no_progress).unwrap();
    assert_ne!(fs::metadata(&blob).unwrap().ino(), damaged_inode);
    assert!(store.verify(image).is_sound());

    fs::remove_file(&blob).unwrap();
    assert_eq!(store.verify(image).blobs[2].fault, Some(BlobFault::Missing));
    assert!(store.check_present(image).is_err());
}

#[test]
fn what_is_not_what_its_manifest_says_is_refused() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 5] = [
        ("flipped byte", |dir| {
            fs::write(dir.join("root.squashfs"), b"r0ot").unwrap()
        }),
        ("other size", |dir| {
            fs::write(dir.join("root.squashfs"), b"root!").unwrap()
        }),
        ("missing", |dir| {
            fs::remove_file(dir.join("vmlinuz")).unwrap()
        }),
        ("path escape", |dir| {
            let path = dir.join("manifest.json");
            let text = fs::read_to_string(&path)
                .unwrap()
                .replace("vmlinuz", "../vmlinuz");
            fs::write(&path, text).unwrap();
        }),
        ("unknown field", |dir| {
            let path = dir.join("manifest.json");
            let text = fs::read_to_string(&path)
                .unwrap()
                .replace("\"name\"", "\"nome\"");
            fs::write(&path, text).unwrap();
        }),
    ];
    for (what, spoil) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        let folder = dir.path().join("image");
        write_image(&folder, "debian", [b"k", b"i", b"root"]);
        spoil(&folder);
        assert!(store.add(&folder, &mut no_progress).is_err(), "{what}");
        assert!(store.list().unwrap().is_empty(), "{what}");
        let left = fs::read_dir(store.manifest_folder()).unwrap().count();
        assert_eq!(left, 0, "{what}");
    }
}

#[test]
fn names_digests_and_beginnings_of_digests() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let first = write_image(&dir.path().join("a"), "debian", [b"k", b"i", b"one"]);
    let second = write_image(&dir.path().join("b"), "debian", [b"k", b"i", b"two"]);
    store.add(&dir.path().join("a"), &mut no_progress).unwrap();
    store.add(&dir.path().join("b"), &mut no_progress).unwrap();
    let images = store.list().unwrap();
    let found = |name: &str| resolve_name(&images, None, name).map(|image| image.digest);
    assert_eq!(found("debian").unwrap(), second);
    assert_eq!(found(&first.to_string()).unwrap(), first);
    assert_eq!(found(&first.short()).unwrap(), first);
    for name in ["fedora", "", "abc", &first.hex()[..11]] {
        assert!(
            matches!(found(name), Err(ImageError::Unknown { .. })),
            "{name}"
        );
    }
    let declared = ImageSpec {
        digest: first,
        source: None,
        kernel_arguments: Vec::new(),
    };
    assert_eq!(
        resolve_name(&images, Some(&declared), "stable")
            .unwrap()
            .digest,
        first
    );
    let gone = ImageSpec {
        digest: Digest::of(b"gone"),
        source: None,
        kernel_arguments: Vec::new(),
    };
    let error = resolve_name(&images, Some(&gone), "stable")
        .unwrap_err()
        .to_string();
    assert!(error.contains("stable"), "{error}");
}

#[test]
fn a_signature_goes_with_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let folder = dir.path().join("a");
    let digest = write_image(&folder, "debian", [b"k", b"i", b"r"]);
    store.add(&folder, &mut no_progress).unwrap();
    assert_eq!(store.signed(&digest).unwrap(), None);

    let signature = "untrusted comment: a\nRUQ=\ntrusted comment: b\nAA==\n";
    let file = folder.join("manifest.json.minisig");
    fs::write(&file, signature).unwrap();
    store.add(&folder, &mut no_progress).unwrap();
    let signed = store.signed(&digest).unwrap().unwrap();
    assert_eq!(signed.signature, signature);
    assert_eq!(Digest::of(signed.manifest.as_bytes()), digest);
    assert_eq!(store.list().unwrap().len(), 1);

    fs::write(&file, "hello").unwrap();
    let error = store.add(&folder, &mut no_progress).unwrap_err();
    assert!(matches!(error, ImageError::Signature { .. }), "{error}");
    assert!(store.is_signed(&digest), "the store is as it was");
    store.remove(&digest).unwrap();
    assert!(!store.is_signed(&digest));
}
