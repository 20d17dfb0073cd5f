//! Which versions we want: go.mod says it, once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The versions that a go.mod below `deploy/kubernetes` pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Such as `v1.35.4`.
    pub kubernetes: String,
    /// Such as `v3.6.5`; none where a go.mod is for the control plane alone.
    pub etcd: Option<String>,
    /// The oldest Go that may build them, such as `1.25.0`.
    pub go: String,
}

impl Versions {
    /// Reads a go.mod file.
    pub fn read(go_mod: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(go_mod).with_context(|| format!("reading {}", go_mod.display()))?;
        Self::parse(&text).with_context(|| format!("reading {}", go_mod.display()))
    }

    fn parse(go_mod: &str) -> Result<Self> {
        let version_after = |key: &str| -> Result<String> {
            let found = go_mod.lines().find_map(|line| {
                let line = line.trim().trim_start_matches("require ");
                line.strip_prefix(key)?
                    .strip_prefix(' ')?
                    .split_whitespace()
                    .next()
            });
            found
                .map(str::to_owned)
                .with_context(|| format!("no version of {key} is required there"))
        };
        Ok(Self {
            kubernetes: version_after("k8s.io/kubernetes")?,
            etcd: version_after("go.etcd.io/etcd/server/v3").ok(),
            go: version_after("go")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_go_mod() {
        let text = "module m\n\ngo 1.25.0\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.6.5 // indirect\n\
                    \tk8s.io/kubernetes v1.35.4 // indirect\n)\n\ntool k8s.io/kubernetes/cmd/kubeadm\n";
        let versions = Versions::parse(text).unwrap();
        assert_eq!(
            versions,
            Versions {
                kubernetes: "v1.35.4".into(),
                etcd: Some("v3.6.5".into()),
                go: "1.25.0".into()
            }
        );
        assert!(Versions::parse("go 1.25\nrequire go.etcd.io/etcd/server/v3 v3.6.5\n").is_err());
    }

    #[test]
    fn the_checked_in_files_are_read() {
        let folder = crate::cache::checkout().join("deploy/kubernetes");
        let versions = Versions::read(&folder.join("go.mod")).unwrap();
        assert!(versions.etcd.is_some());
        Versions::read(&folder.join("next/go.mod")).unwrap();
    }
}
