//! The Kubernetes programs that images, demo and tests use: given by the
//! operator, downloaded from upstream, or built from Go modules.

mod crds;
pub mod crio;
mod download;
mod go;
pub mod tools;
mod versions;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::run::say;
use versions::Versions;

/// Every program that has to be there.
pub const PROGRAMS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
];

/// Those of the next minor that an upgrade of a hosted control plane is tried with.
const NEXT: [&str; 5] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
];

/// Where the programs are.
#[derive(Debug)]
pub struct KubeBinaries {
    /// The folder with all of [`PROGRAMS`].
    pub folder: PathBuf,
}

/// Finds the programs or makes them, which takes minutes the first time.
///
/// # Errors
/// When `$MOONFARM_KUBE_BIN` lacks one, or when they can neither be downloaded
/// nor built.
pub fn provide() -> Result<KubeBinaries> {
    if let Some(folder) = std::env::var_os("MOONFARM_KUBE_BIN").filter(|value| !value.is_empty()) {
        return given(Path::new(&folder));
    }
    let recipe = cache::checkout().join("deploy/kubernetes");
    let versions = Versions::read(&recipe.join("go.mod"))?;
    let cache = cache::folder()?.join("kubernetes");
    let downloaded = cache.join(format!("{}-upstream", versions.kubernetes));
    let built = cache.join(format!(
        "{}-{}",
        versions.kubernetes,
        go::recipe_digest(&recipe, &["build.sh", "go.mod", "go.sum"])?
    ));
    for folder in [&downloaded, &built] {
        if folder.is_dir() {
            return Ok(KubeBinaries {
                folder: folder.clone(),
            });
        }
    }
    if download::is_reachable(&versions) {
        cache::make_once(&downloaded, |partial| download::fetch(&versions, partial))?;
        return Ok(KubeBinaries { folder: downloaded });
    }
    say(&format!(
        "no upstream download in reach: building Kubernetes {} from Go modules",
        versions.kubernetes
    ));
    cache::make_once(&built, |partial| {
        go::build(&recipe, &versions.go, &PROGRAMS, partial)
    })?;
    Ok(KubeBinaries { folder: built })
}

/// Builds the control plane's programs of the next minor, which takes a quarter of
/// an hour the first time; returns their folder.
///
/// # Errors
/// When there is no Go, or they cannot be built.
pub fn provide_next() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("MOONFARM_KUBE_NEXT").filter(|it| !it.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let recipe = cache::checkout().join("deploy/kubernetes/next");
    let versions = Versions::read(&recipe.join("go.mod"))?;
    let digest = go::recipe_digest(&recipe, &["build.sh", "go.mod", "go.sum"])?;
    let name = format!("{}-{digest}", versions.kubernetes);
    let folder = cache::folder()?.join("kubernetes").join(name);
    cache::make_once(&folder, |partial| {
        go::build(&recipe, &versions.go, &NEXT, partial)
    })?;
    Ok(folder)
}

fn given(folder: &Path) -> Result<KubeBinaries> {
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|program| !folder.join(program).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "MOONFARM_KUBE_BIN={} lacks {}: put every program there, or unset the variable",
            folder.display(),
            missing.join(", "),
        );
    }
    let folder = folder
        .canonicalize()
        .with_context(|| format!("resolving {}", folder.display()))?;
    Ok(KubeBinaries { folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_folder_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            let error = given(folder.path()).unwrap_err().to_string();
            assert!(error.contains(program), "{error}");
            std::fs::write(folder.path().join(program), "").unwrap();
        }
        given(folder.path()).unwrap();
    }
}
