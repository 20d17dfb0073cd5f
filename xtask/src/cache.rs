//! Where things live that take minutes to make: folders outside the checkout,
//! each named by what went into it, made once and then only read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::say;

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// `$MOONFARM_CACHE`, else `moonfarm` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    cache_folder(|name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    })
}

fn cache_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = variable("MOONFARM_CACHE") {
        return Ok(folder);
    }
    if let Some(caches) = variable("XDG_CACHE_HOME") {
        return Ok(caches.join("moonfarm"));
    }
    let Some(home) = variable("HOME") else {
        bail!(
            "neither MOONFARM_CACHE nor XDG_CACHE_HOME nor HOME is set: nowhere to keep what is built"
        );
    };
    Ok(home.join(".cache/moonfarm"))
}

/// Returns `folder`, letting `make` fill it first if it does not exist.
///
/// `make` works in a temporary folder beside it that is renamed when complete,
/// so a folder that exists is whole. A lock keeps a second run waiting instead
/// of doing the same work.
pub fn make_once(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let _lock = lock(folder)?;
    if folder.is_dir() {
        return Ok(());
    }
    let partial = beside(folder, "partial");
    remove_tree(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, folder)
        .with_context(|| format!("renaming {} to {}", partial.display(), folder.display()))
}

/// Removes a folder with all in it; none there is fine.
pub fn remove_tree(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Holds `FOLDER.lock` until the returned file is dropped.
pub fn lock(folder: &Path) -> Result<File> {
    let path = beside(folder, "lock");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if file.try_lock().is_err() {
        say(&format!(
            "waiting for another run that makes {}",
            folder.display()
        ));
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

fn beside(folder: &Path, extension: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(extension);
    folder.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_folder_prefers_our_own_variable() {
        let with = |names: &'static [&str]| {
            cache_folder(|name| {
                names
                    .contains(&name)
                    .then(|| PathBuf::from(format!("/{name}")))
            })
        };
        for (names, expected) in [
            (
                &["HOME", "XDG_CACHE_HOME", "MOONFARM_CACHE"][..],
                "/MOONFARM_CACHE",
            ),
            (&["HOME", "XDG_CACHE_HOME"], "/XDG_CACHE_HOME/moonfarm"),
            (&["HOME"], "/HOME/.cache/moonfarm"),
        ] {
            assert_eq!(with(names).unwrap(), Path::new(expected), "{names:?}");
        }
        assert!(with(&[]).is_err());
    }

    #[test]
    fn a_folder_is_made_once_and_only_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("v1.2");
        let broken = make_once(&folder, |partial| {
            fs::write(partial.join("half"), "")?;
            bail!("no more disk")
        });
        assert!(broken.is_err() && !folder.exists());
        for _ in 0..2 {
            make_once(&folder, |partial| {
                assert!(!partial.join("half").exists());
                fs::create_dir(partial.join("made"))?;
                Ok(())
            })
            .unwrap();
        }
        assert!(folder.join("made").is_dir());
    }
}
