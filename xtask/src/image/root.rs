//! The installed root of a node: made by mmdebstrap, packed, and kept by what
//! went into it. It knows nothing of node-agent, so a change there costs no
//! new root.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::mirror::Mirror;
use super::recipe::Recipe;
use super::{pause, squash};
use crate::cache;
use crate::kube_binaries::KubeBinaries;
use crate::packages::is_root;
use crate::run::{output, run, say};

/// The Debian release an image is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Debian 12. It has no netplan without Python; the network is written as
    /// files of systemd-networkd.
    Bookworm,
    /// Debian 13.
    #[default]
    Trixie,
}

impl Suite {
    /// Debian's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Whether it has a package of the list.
    fn has(self, package: &str) -> bool {
        self != Self::Bookworm || package != "netplan-generator"
    }
}

/// Changed by hand when the code here makes something else of the same inputs.
const LAYOUT: &str = "1";

/// What [`pack`] notes about a root, in `root.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RootFacts {
    /// `uname -r` of its kernel.
    pub kernel_release: String,
    /// `kubelet --version`, such as `Kubernetes v1.35.4`.
    pub kubelet: String,
    /// Seconds since 1970: newest time stamp in the root.
    pub source_date_epoch: u64,
    /// Debian packages as `name=version`.
    pub packages: Vec<String>,
}

/// The container runtime of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Debian's containerd.
    #[default]
    Containerd,
    /// CRI-O, built from its Go module, with Debian's conmon, runc and skopeo.
    Crio,
}

/// What a root is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Packages and files.
    pub recipe: &'a Recipe,
    /// Folder with kubelet and kubeadm.
    pub kube: &'a KubeBinaries,
    /// Debian release.
    pub suite: Suite,
    /// Folder with CRI-O, where it is to be the runtime.
    pub crio: Option<PathBuf>,
}

/// What an image with CRI-O has besides: the monitor of its containers, and what
/// imports the sandbox image into its store.
const FOR_CRIO: &[&str] = &["conmon", "skopeo"];

impl Inputs<'_> {
    fn packages(&self) -> Vec<&str> {
        let all = self.recipe.packages.iter().map(String::as_str);
        let is_wanted = |package: &&str| {
            self.suite.has(package) && (self.crio.is_none() || *package != "containerd")
        };
        let runtime = self.crio.iter().flat_map(|_| FOR_CRIO).copied();
        all.filter(is_wanted).chain(runtime).collect()
    }

    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{LAYOUT} {}\n", self.suite.name()));
        hash.update(self.recipe.digest);
        let kube = ["kubelet", "kubeadm"].map(|program| self.kube.folder.join(program));
        let crio = self.crio.iter().flat_map(|folder| {
            let programs = ["crio", "pinns"].map(|program| folder.join(program));
            programs.into_iter().chain([self.crio_script()])
        });
        for path in kube.into_iter().chain(crio) {
            let mut file =
                File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            io::copy(&mut file, &mut hash)
                .with_context(|| format!("reading {}", path.display()))?;
        }
        Ok(hex::encode(&hash.finalize()[..8]))
    }

    fn crio_script(&self) -> PathBuf {
        self.recipe.folder.join("crio.sh")
    }

    /// Shell commands that are run on the installed root.
    fn hooks(&self) -> Vec<String> {
        let configure = format!(
            "{} \"$1\" {} {}",
            quoted(&self.recipe.folder.join("configure.sh")),
            quoted(&self.recipe.folder),
            quoted(&self.kube.folder)
        );
        let crio = self.crio.as_ref().map(|folder| {
            let script = quoted(&self.crio_script());
            format!("{script} \"$1\" {}", quoted(folder))
        });
        std::iter::once(configure).chain(crio).collect()
    }
}

/// Returns the folder with the packed root, made first if need be.
pub fn provide(inputs: &Inputs<'_>, mirror: Option<&str>, refresh: bool) -> Result<PathBuf> {
    let folder = cache::folder()?.join("node-roots").join(inputs.key()?);
    if refresh {
        cache::remove_tree(&folder)?;
    }
    cache::make_once(&folder, |partial| {
        if !is_root()? {
            bail!("installing a root needs root's rights: run this as root");
        }
        let root = partial.join("installed");
        install(inputs, &Mirror::choose(mirror), &root)?;
        pack(&root, partial)?;
        cache::remove_tree(&root)
    })?;
    Ok(folder)
}

fn install(inputs: &Inputs<'_>, mirror: &Mirror, root: &Path) -> Result<()> {
    let name = inputs.suite.name();
    say(&format!(
        "installing Debian {name} from {} (takes a minute)",
        mirror.archive
    ));
    let hooks = inputs.hooks();
    run(Command::new("mmdebstrap")
        .args([
            "--mode=root",
            "--variant=minbase",
            "--architectures=amd64",
            "--quiet",
        ])
        .args(["--aptopt=Apt::Install-Recommends \"false\""])
        .arg(format!(
            "--dpkgopt={}",
            inputs.recipe.folder.join("dpkg.cfg").display()
        ))
        .arg(format!("--include={}", inputs.packages().join(",")))
        .args(hooks.iter().map(|hook| format!("--customize-hook={hook}")))
        .arg(name)
        .arg(root)
        .args(mirror.sources(name)))
}

/// The path as one word for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Packs an installed root into `folder`: `root.squashfs`, `vmlinuz`,
/// `root.json`, and what the initramfs builder reads, under `root/`.
pub fn pack(root: &Path, folder: &Path) -> Result<()> {
    let kernel_release = kernel_release(root)?;
    let archives = root.join("usr/share/moonfarm/images");
    fs::create_dir_all(&archives).with_context(|| format!("creating {}", archives.display()))?;
    let scratch = folder.join("pause");
    pause::write(
        &root.join("usr/bin/catatonit"),
        &archives.join("pause.tar"),
        &scratch,
    )?;
    cache::remove_tree(&scratch)?;

    let facts = RootFacts {
        packages: packages(root)?,
        kubelet: output(Command::new(root.join("usr/bin/kubelet")).arg("--version"))?
            .trim()
            .to_owned(),
        source_date_epoch: squash::source_date_epoch(),
        kernel_release,
    };
    say("packing the root");
    squash::write(root, &folder.join("root.squashfs"), facts.source_date_epoch)?;
    let kernel = root
        .join("boot")
        .join(format!("vmlinuz-{}", facts.kernel_release));
    fs::copy(&kernel, folder.join("vmlinuz"))
        .with_context(|| format!("copying {}", kernel.display()))?;
    keep_modules(root, &folder.join("root"))?;
    let json = serde_json::to_vec_pretty(&facts).context("writing root.json")?;
    fs::write(folder.join("root.json"), json).context("writing root.json")
}

/// The release of the one kernel that is installed.
fn kernel_release(root: &Path) -> Result<String> {
    let folder = root.join("usr/lib/modules");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no kernel is installed in {}", root.display()),
        several => bail!(
            "several kernels are installed in {}: {}",
            root.display(),
            several.join(", ")
        ),
    }
}

/// Keeps modules and firmware as files, where a root has them.
fn keep_modules(root: &Path, kept: &Path) -> Result<()> {
    let lib = kept.join("usr/lib");
    fs::create_dir_all(&lib).with_context(|| format!("creating {}", lib.display()))?;
    std::os::unix::fs::symlink("usr/lib", kept.join("lib")).context("linking lib")?;
    for name in ["modules", "firmware"] {
        let source = root.join("usr/lib").join(name);
        if source.is_dir() {
            run(Command::new("cp").arg("--archive").arg(&source).arg(&lib))?;
        }
    }
    Ok(())
}

/// Reads dpkg's own list, so that the host needs no dpkg of the same age.
fn packages(root: &Path) -> Result<Vec<String>> {
    let file = root.join("var/lib/dpkg/status");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(installed(&text))
}

fn installed(status: &str) -> Vec<String> {
    let mut packages: Vec<String> = status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            (field("Status:") == Some("install ok installed"))
                .then(|| Some(format!("{}={}", field("Package:")?, field("Version:")?)))?
        })
        .collect();
    packages.sort();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed() {
        let status = "Package: udev\nStatus: install ok installed\nVersion: 257.7-1\nDescription: x\n more\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: dbus\nStatus: install ok installed\nVersion: 1.16.2-2\n";
        assert_eq!(installed(status), ["dbus=1.16.2-2", "udev=257.7-1"]);
    }

    #[test]
    fn paths_are_one_word_for_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn there_must_be_exactly_one_kernel() {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("usr/lib/modules");
        fs::create_dir_all(&modules).unwrap();
        assert!(kernel_release(root.path()).is_err());
        fs::create_dir(modules.join("6.12.1-amd64")).unwrap();
        assert_eq!(kernel_release(root.path()).unwrap(), "6.12.1-amd64");
        fs::create_dir(modules.join("6.12.2-amd64")).unwrap();
        assert!(kernel_release(root.path()).is_err());
    }
}
