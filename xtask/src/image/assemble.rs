//! The image folder: kernel, initramfs, squashfs and the manifest that names
//! them by size and digest.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use boot_proto::ids::{Checksum, Digest};
use boot_proto::image::{ImageFile, ImageManifest, RootChecks, VERSION};
use boot_proto::verity::RootHasher;
use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::root::{RootFacts, Suite};
use crate::cache;
use crate::run::{run, say};

/// What an image says about itself.
#[derive(Args, Clone, Debug)]
pub struct Naming {
    /// Name of the image in its manifest.
    #[arg(long, default_value = "debian-13")]
    pub name: String,
    /// Kernel argument that the image needs everywhere; may be repeated.
    /// [default: console=tty0 console=ttyS0,115200n8]
    #[arg(long = "kernel-argument")]
    pub kernel_arguments: Vec<String>,
}

/// What goes into the initramfs beside node-agent and modules.
#[derive(Args, Clone, Debug, Default)]
pub struct Initramfs {
    /// Public keys of minisign; machines then run signed images only. Sign with
    /// `minisign -Sm OUTPUT/manifest.json`, on a machine that keeps the secret key.
    #[arg(long, value_name = "FILE")]
    pub image_keys: Option<PathBuf>,
    /// CA certificates in PEM; machines then talk to boot-server over TLS only.
    #[arg(long, value_name = "FILE")]
    pub boot_server_ca: Option<PathBuf>,
    /// NIC drivers to pack, as `node-agent initramfs --help` has them.
    #[arg(long, value_name = "SET")]
    pub drivers: Option<String>,
}

impl Initramfs {
    fn arguments(&self, command: &mut Command) {
        if let Some(keys) = &self.image_keys {
            command.arg("--image-keys").arg(keys);
        }
        if let Some(ca) = &self.boot_server_ca {
            command.arg("--boot-server-ca").arg(ca);
        }
        if let Some(drivers) = &self.drivers {
            command.arg("--drivers").arg(drivers);
        }
    }
}

impl Naming {
    /// The last console is /dev/console; a chassis manager shows the serial one.
    fn kernel_arguments(&self) -> Vec<String> {
        if self.kernel_arguments.is_empty() {
            return ["console=tty0", "console=ttyS0,115200n8"]
                .map(str::to_owned)
                .to_vec();
        }
        self.kernel_arguments.clone()
    }
}

/// Makes the image folder `output` of a packed root and node-agent. A folder
/// that exists is replaced once the new one is complete.
pub fn assemble(
    packed: &Path,
    node_agent: &Path,
    output: &Path,
    suite: Suite,
    naming: &Naming,
    initramfs: &Initramfs,
) -> Result<()> {
    let partial = sibling(output, "partial")?;
    let _lock = cache::lock(output)?;
    cache::remove_tree(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    let facts = facts(packed)?;
    for name in ["root.squashfs", "vmlinuz"] {
        copy(&packed.join(name), &partial.join(name))?;
    }
    say("building the initramfs");
    let mut build = Command::new(node_agent);
    build
        .args(["initramfs", "--storage", "--root"])
        .arg(packed.join("root"))
        .arg("--kernel-release")
        .arg(&facts.kernel_release)
        .arg("--output")
        .arg(partial.join("initramfs.img"));
    initramfs.arguments(&mut build);
    run(&mut build)?;
    let manifest = manifest(&partial, &facts, suite, naming)?;
    let json = serde_json::to_vec_pretty(&manifest).context("writing manifest.json")?;
    fs::write(partial.join("manifest.json"), json).context("writing manifest.json")?;
    replace(&partial, output)
}

fn facts(packed: &Path) -> Result<RootFacts> {
    let file = packed.join("root.json");
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
}

fn manifest(
    folder: &Path,
    facts: &RootFacts,
    suite: Suite,
    naming: &Naming,
) -> Result<ImageManifest> {
    Ok(ImageManifest {
        version: VERSION,
        name: naming.name.clone(),
        architecture: "x86_64".to_owned(),
        kernel_release: facts.kernel_release.clone(),
        kernel: describe(folder, "vmlinuz")?,
        initramfs: describe(folder, "initramfs.img")?,
        root: describe(folder, "root.squashfs")?,
        root_checks: root_checks(&folder.join("root.squashfs"))?,
        kernel_arguments: naming.kernel_arguments(),
        recipe: json!({
            "suite": suite.name(),
            "kubelet": facts.kubelet,
            "sourceDateEpoch": facts.source_date_epoch,
            "packages": facts.packages,
        }),
    })
}

fn describe(folder: &Path, name: &str) -> Result<ImageFile> {
    let path = folder.join(name);
    let context = || format!("reading {}", path.display());
    let mut file = File::open(&path).with_context(context)?;
    let mut hash = Sha256::new();
    let size = io::copy(&mut file, &mut hash).with_context(context)?;
    Ok(ImageFile {
        file: name.to_owned(),
        size,
        digest: Digest::new(hash.finalize().into()),
    })
}

/// The hashes that a machine may choose instead of the root's SHA-256.
///
/// # Errors
/// When the file cannot be read.
pub fn root_checks(root: &Path) -> Result<RootChecks> {
    let context = || format!("reading {}", root.display());
    let mut file = File::open(root).with_context(context)?;
    let (mut blake3, mut verity) = (blake3::Hasher::new(), RootHasher::default());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).with_context(context)?;
        let Some(data) = buffer.get(..length).filter(|data| !data.is_empty()) else {
            break;
        };
        blake3.update(data);
        verity.update(data);
    }
    Ok(RootChecks {
        blake3: Some(Checksum::new(blake3.finalize().into())),
        verity: verity.finish(),
    })
}

/// A copy and no second name: what is done to an image must not reach the cache.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn replace(new: &Path, output: &Path) -> Result<()> {
    if output.exists() {
        // The wrong --output must not cost anybody a folder of theirs.
        if !output.join("manifest.json").is_file() && fs::read_dir(output)?.next().is_some() {
            bail!(
                "{} exists and is not an image folder: not replacing it",
                output.display()
            );
        }
        let old = sibling(output, "old")?;
        cache::remove_tree(&old)?;
        fs::rename(output, &old).with_context(|| format!("moving {} away", output.display()))?;
        fs::rename(new, output).with_context(|| format!("creating {}", output.display()))?;
        return cache::remove_tree(&old);
    }
    fs::rename(new, output).with_context(|| format!("creating {}", output.display()))
}

fn sibling(folder: &Path, extension: &str) -> Result<PathBuf> {
    let name = folder
        .file_name()
        .with_context(|| format!("{} is not a folder to make", folder.display()))?;
    Ok(folder.with_file_name(format!("{}.{extension}", name.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_image_folders_are_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let (new, output) = (scratch.path().join("new"), scratch.path().join("image"));
        let prepare = || {
            fs::create_dir(&new).unwrap();
            fs::write(new.join("manifest.json"), "{}").unwrap();
        };
        prepare();
        replace(&new, &output).unwrap();
        prepare();
        replace(&new, &output).unwrap();
        assert!(output.join("manifest.json").is_file() && !new.exists());

        fs::rename(output.join("manifest.json"), output.join("thesis.txt")).unwrap();
        prepare();
        assert!(replace(&new, &output).is_err());
        assert!(output.join("thesis.txt").is_file());
    }

    #[test]
    fn files_are_described() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vmlinuz"), b"kernel").unwrap();
        let file = describe(folder.path(), "vmlinuz").unwrap();
        assert_eq!((file.size, file.digest), (6, Digest::of(b"kernel")));
    }
}
