//! `deploy/images/node`: the packages and files that make a node's root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The recipe folder, read.
#[derive(Debug)]
pub struct Recipe {
    /// The folder itself.
    pub folder: PathBuf,
    /// Debian packages to install.
    pub packages: Vec<String>,
    /// SHA-256 over everything in the folder that shapes the root.
    pub digest: [u8; 32],
}

impl Recipe {
    /// Reads the folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let list = folder.join("packages.txt");
        let text =
            fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        let packages =
            package_names(&text).with_context(|| format!("reading {}", list.display()))?;
        let mut hash = Sha256::new();
        packages
            .iter()
            .for_each(|package| hash.update(format!("{package}\n")));
        for name in ["dpkg.cfg", "configure.sh", "files"] {
            hash_tree(&folder.join(name), name, &mut hash)?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            packages,
            digest: hash.finalize().into(),
        })
    }
}

fn package_names(text: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let name = line.split('#').next().unwrap_or_default().trim();
        // deb-control(5): Package. A comma would smuggle in a second one.
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if !name.bytes().all(is_name) {
            bail!("{name:?} is not a package name");
        }
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Names, kinds, executable bits and contents, in the order of the names.
fn hash_tree(path: &Path, name: &str, hash: &mut Sha256) -> Result<()> {
    let context = || format!("reading {}", path.display());
    let metadata = fs::symlink_metadata(path).with_context(context)?;
    let content = if metadata.is_dir() {
        Vec::new()
    } else if metadata.is_symlink() {
        fs::read_link(path)
            .with_context(context)?
            .into_os_string()
            .into_encoded_bytes()
    } else {
        fs::read(path).with_context(context)?
    };
    let kind = (
        metadata.is_dir(),
        metadata.is_symlink(),
        metadata.permissions().mode() & 0o111 != 0,
    );
    hash.update(format!("{name}\0{kind:?}\0{}\0", content.len()));
    hash.update(&content);
    if metadata.is_dir() {
        let entries = fs::read_dir(path).with_context(context)?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>>>()
            .with_context(context)?;
        names.sort();
        for child in names {
            hash_tree(
                &path.join(&child),
                &format!("{name}/{}", child.display()),
                hash,
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lists() {
        assert_eq!(
            package_names("# all\n\nudev # hotplug\n g++-14\n").unwrap(),
            ["udev", "g++-14"]
        );
        for text in ["a,b", "a b", "Udev", "a=1"] {
            assert!(package_names(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_digest_follows_content_names_and_modes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        for name in ["packages.txt", "dpkg.cfg", "configure.sh", "files/a"] {
            write(name, "");
        }
        let digest = || Recipe::read(folder.path()).unwrap().digest;
        let mut seen = vec![digest()];
        write("files/a", "x");
        seen.push(digest());
        write("packages.txt", "udev");
        seen.push(digest());
        fs::rename(folder.path().join("files/a"), folder.path().join("files/b")).unwrap();
        seen.push(digest());
        fs::set_permissions(
            folder.path().join("files/b"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        seen.push(digest());
        write("packages.txt", "# the device manager\nudev\n");
        assert_eq!(seen.last(), Some(&digest()), "a comment changes nothing");
        for (at, digest) in seen.iter().enumerate() {
            assert!(!seen[..at].contains(digest), "change {at} must show");
        }
    }

    #[test]
    fn the_checked_in_recipe_is_read() {
        let recipe = Recipe::read(&crate::cache::checkout().join("deploy/images/node")).unwrap();
        assert!(
            recipe
                .packages
                .iter()
                .any(|package| package == "containerd")
        );
    }
}
