//! The sandbox image, which holds a pod's namespaces open: one static program
//! in an OCI archive, since no registry can be asked for the usual one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use boot_proto::ids::Digest;
use serde_json::{Value, json};

use crate::run::run;

/// The name that the configurations of containerd and CRI-O ask for.
pub const IMAGE: &str = "localhost/moonfarm/pause:1";

/// Writes the archive of an image that holds `program` alone.
///
/// catatonit -P does what the pause program of Kubernetes does: it reaps
/// children and waits for a signal.
pub fn write(program: &Path, archive: &Path, scratch: &Path) -> Result<()> {
    let binary = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    if !is_static(&binary) {
        bail!(
            "{} is not a static x86-64 program: it cannot run in an empty image",
            program.display()
        );
    }
    let (layer_root, layout) = (scratch.join("layer"), scratch.join("layout"));
    fs::create_dir_all(&layer_root)?;
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    fs::copy(program, layer_root.join("catatonit")).context("copying the sandbox program")?;
    let layer = scratch.join("layer.tar");
    tar(&layer_root, &layer)?;

    let layer = add_blob(&layout, &fs::read(&layer)?)?;
    let config = add_blob(&layout, &to_bytes(&config(layer.0))?)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    let manifest = add_blob(&layout, &to_bytes(&manifest)?)?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    // The first is what containerd reads, the second what the specification has.
    entry["annotations"] =
        json!({ "io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1" });
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(layout.join("index.json"), to_bytes(&index)?)?;
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    tar(&layout, archive)
}

fn config(layer: Digest) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        // nobody: the program needs no rights at all.
        "config": { "User": "65535:65535", "Entrypoint": ["/catatonit", "-P"] },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    })
}

fn descriptor(media_type: &str, (digest, size): (Digest, usize)) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

fn add_blob(layout: &Path, content: &[u8]) -> Result<(Digest, usize)> {
    let digest = Digest::of(content);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), content).context("writing a blob")?;
    Ok((digest, content.len()))
}

fn to_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("writing JSON")
}

/// The same bytes for the same files, whoever packs them and when.
fn tar(folder: &Path, archive: &Path) -> Result<()> {
    run(Command::new("tar")
        .args([
            "--create",
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .args(["--mode=u=rwX,go=rX", "--format=ustar", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .arg("."))
}

/// Whether this is a 64-bit little-endian x86-64 ELF program without an
/// interpreter (no `PT_INTERP` among the program headers).
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: [u8; 4] = 3u32.to_le_bytes();
    const X86_64: [u8; 2] = 62u16.to_le_bytes();
    let half = |at: usize| {
        elf.get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u16::from_le_bytes)
    };
    let header = elf.starts_with(b"\x7fELF\x02\x01") && elf.get(18..20) == Some(&X86_64[..]);
    let table = elf
        .get(32..40)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    let (Some(table), Some(size), Some(count), true) = (table, half(54), half(56), header) else {
        return false;
    };
    let Ok(table) = usize::try_from(table) else {
        return false;
    };
    (0..usize::from(count)).all(|entry| {
        let start = table.checked_add(entry * usize::from(size));
        let kind = start.and_then(|start| elf.get(start..start.checked_add(4)?));
        kind.is_some_and(|kind| kind != PT_INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program header table with one entry of the given type.
    fn program(kind: u32) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf.extend(kind.to_le_bytes());
        elf.extend([0; 52]);
        elf
    }

    #[test]
    fn only_static_programs_pass() {
        assert!(is_static(&program(1)));
        assert!(!is_static(&program(3)));
        assert!(!is_static(&program(1)[..64]), "cut before its headers");
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b""));
    }

    #[test]
    fn the_archive_is_whole_and_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("catatonit");
        fs::write(&file, program(1)).unwrap();
        let made = |name: &str| {
            let archive = folder.path().join(format!("{name}.tar"));
            write(&file, &archive, &folder.path().join(name)).unwrap();
            fs::read(archive).unwrap()
        };
        assert_eq!(made("first"), made("second"));
        let index: Value = serde_json::from_slice(
            &fs::read(folder.path().join("first/layout/index.json")).unwrap(),
        )
        .unwrap();
        let digest: Digest = index["manifests"][0]["digest"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            folder
                .path()
                .join("first/layout/blobs/sha256")
                .join(digest.hex())
                .is_file()
        );
    }
}
