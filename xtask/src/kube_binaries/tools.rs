//! Programs of others, built from Go modules outside of Kubernetes' own: Helm, what
//! takes and restores etcd's snapshots, and konnectivity. Beside them are others' CRDs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{crds, go};
use crate::cache;
use crate::run::{run, say};

/// A program and where it is built from.
struct Tool {
    name: &'static str,
    /// Folder with go.mod, in the checkout.
    module: &'static str,
    package: &'static str,
}

const TOOLS: [Tool; 5] = [
    Tool {
        name: "helm",
        module: "deploy/helm",
        package: "helm.sh/helm/v4/cmd/helm",
    },
    Tool {
        name: "etcdctl",
        module: "deploy/kubernetes/etcd-tools",
        package: "go.etcd.io/etcd/etcdctl/v3",
    },
    Tool {
        name: "etcdutl",
        module: "deploy/kubernetes/etcd-tools",
        package: "go.etcd.io/etcd/etcdutl/v3",
    },
    // Named as their images have them.
    Tool {
        name: "proxy-server",
        module: "deploy/kubernetes/konnectivity",
        package: "sigs.k8s.io/apiserver-network-proxy/cmd/server",
    },
    Tool {
        name: "proxy-agent",
        module: "deploy/kubernetes/konnectivity",
        package: "sigs.k8s.io/apiserver-network-proxy/cmd/agent",
    },
];

/// The folder with every tool and `crds` with others' CRDs, made if it is not there.
///
/// # Errors
/// When there is no Go, or a module cannot be fetched or built.
pub fn provide() -> Result<PathBuf> {
    let mut names = Vec::new();
    let modules = TOOLS.iter().map(|tool| tool.module).chain([crds::MODULE]);
    for module in modules {
        let recipe = cache::checkout().join(module);
        names.push(go::recipe_digest(&recipe, &["go.mod", "go.sum"])?);
    }
    names.dedup();
    let folder = cache::folder()?.join("tools").join(names.join("-"));
    cache::make_once(&folder, |partial| {
        TOOLS.iter().try_for_each(|tool| build(tool, partial))?;
        crds::copy_into(&partial.join("crds"))
    })?;
    Ok(folder)
}

fn build(tool: &Tool, folder: &Path) -> Result<()> {
    go::check_go("1.25.0")?;
    say(&format!("building {} from Go modules", tool.name));
    let mut command = Command::new("go");
    command
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            "-s -w",
            "-o",
        ])
        .arg(folder.join(tool.name))
        .arg(tool.package)
        .current_dir(cache::checkout().join(tool.module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off");
    run(&mut command).with_context(|| format!("building {}", tool.name))
}
