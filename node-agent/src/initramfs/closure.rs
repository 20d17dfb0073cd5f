//! The modules of a kernel with all they need, by what each module says about
//! itself. depmod's files are not used: a root that was unpacked and never
//! booted or configured has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::InitramfsError;
use super::decompress::decompress;
use super::drivers::{ALGORITHMS, COMPANIONS};
use super::elf;
use crate::modules::index::{Module, ModuleIndex};
use crate::modules::module_name;

/// The modules of one kernel.
#[derive(Debug)]
pub struct KernelModules {
    folder: PathBuf,
    /// Path of each module below `folder`, by name.
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// A module's file as the distribution has it, compressed or not.
#[derive(Debug)]
pub struct PackedModule {
    /// Path below `/lib/modules/RELEASE/`.
    pub path: String,
    /// The file.
    pub content: Vec<u8>,
}

/// What goes into the initramfs.
#[derive(Debug, Default)]
pub struct Closure {
    /// Module files by name.
    pub modules: BTreeMap<String, PackedModule>,
    /// The index of them.
    pub index: ModuleIndex,
    /// Names of firmware files that they may ask for.
    pub firmware: BTreeSet<String>,
    /// Names that are neither a module nor built in.
    pub missing: BTreeSet<String>,
}

impl KernelModules {
    /// The modules of kernel `release` in the root file system `root`.
    ///
    /// # Errors
    /// When there is no such kernel; the error lists those there are.
    pub fn open(root: &Path, release: &str) -> Result<Self, InitramfsError> {
        let is_plain = !release.is_empty() && !release.contains('/') && !release.starts_with('.');
        let folder = ["usr/lib/modules", "lib/modules"]
            .iter()
            .map(|path| root.join(path).join(release))
            .find(|folder| is_plain && folder.join("kernel").is_dir());
        let Some(folder) = folder else {
            return Err(InitramfsError::NoKernel {
                release: release.to_owned(),
                root: root.to_owned(),
                present: releases(root),
            });
        };
        let mut files = BTreeMap::new();
        find_modules(&folder, &folder.join("kernel"), &mut files)
            .and_then(|()| find_modules(&folder, &folder.join("updates"), &mut files))
            .map_err(|source| InitramfsError::Read {
                path: folder.clone(),
                source,
            })?;
        let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in = built_in.lines().map(module_name).collect();
        Ok(Self {
            folder,
            files,
            built_in,
        })
    }

    /// The closure of `names`. What the kernel does not have is in
    /// [`Closure::missing`].
    ///
    /// # Errors
    /// When a module cannot be read.
    pub fn closure<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Closure, InitramfsError> {
        let mut closure = Closure::default();
        let mut open: Vec<String> = names.into_iter().map(module_name).collect();
        while let Some(name) = open.pop() {
            if closure.modules.contains_key(&name) || self.built_in.contains(&name) {
                continue;
            }
            let Some(file) = self.files.get(&name) else {
                closure.missing.insert(name);
                continue;
            };
            let needs = self.add(&mut closure, &name, file)?;
            open.extend(needs);
        }
        add_companions(&mut closure.index);
        Ok(closure)
    }

    /// Adds one module and returns what it needs.
    fn add(
        &self,
        closure: &mut Closure,
        name: &str,
        file: &Path,
    ) -> Result<Vec<String>, InitramfsError> {
        let path = self.folder.join(file);
        let failed = |source| InitramfsError::Read {
            path: path.clone(),
            source,
        };
        let content = fs::read(&path).map_err(failed)?;
        let plain = decompress(content.clone()).map_err(failed)?;
        let info = elf::modinfo(&plain)
            .ok_or_else(|| failed(io::Error::other("it is not a 64-bit kernel module")))?;
        let mut needs = Vec::new();
        for (key, value) in info {
            match key.as_str() {
                "depends" => {
                    needs.extend(value.split(',').filter(|n| !n.is_empty()).map(module_name))
                }
                "softdep" => needs.extend(self.wished_for(&value)),
                "alias" => {
                    closure.index.aliases.insert((value, name.to_owned()));
                }
                "firmware" => {
                    closure.firmware.insert(value);
                }
                _ => {}
            }
        }
        let path = file.to_string_lossy().into_owned();
        let module = Module {
            path: path.clone(),
            needs: needs.clone(),
        };
        closure.index.modules.insert(name.to_owned(), module);
        closure
            .modules
            .insert(name.to_owned(), PackedModule { path, content });
        Ok(needs)
    }

    /// The modules that `softdep=pre: a b post: c` wants before this one. They
    /// are wishes: one that does not exist is no mistake.
    fn wished_for(&self, softdep: &str) -> Vec<String> {
        softdep
            .split_ascii_whitespace()
            .skip_while(|word| *word != "pre:")
            .skip(1)
            .take_while(|word| !word.ends_with(':'))
            .map(|word| {
                // Some kernels write `crypto-crc32c`, which is the alias that they ask for.
                let word = word.strip_prefix("crypto-").unwrap_or(word);
                let algorithm = ALGORITHMS.iter().find(|(name, _)| *name == word);
                module_name(algorithm.map_or(word, |(_, module)| *module))
            })
            .filter(|name| self.files.contains_key(name))
            .collect()
    }
}

/// Gives the second part of a driver the first one's hardware.
fn add_companions(index: &mut ModuleIndex) {
    for (first, second) in COMPANIONS {
        if !index.modules.contains_key(*second) {
            continue;
        }
        let aliases: Vec<String> = index
            .aliases
            .iter()
            .filter(|(_, name)| name == first)
            .map(|(pattern, _)| pattern.clone())
            .collect();
        index.aliases.extend(
            aliases
                .into_iter()
                .map(|pattern| (pattern, (*second).to_owned())),
        );
    }
}

/// The kernels in a root, sorted.
fn releases(root: &Path) -> Vec<String> {
    let mut found = BTreeSet::new();
    for path in ["usr/lib/modules", "lib/modules"] {
        let Ok(entries) = fs::read_dir(root.join(path)) else {
            continue;
        };
        found.extend(
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned()),
        );
    }
    found.into_iter().collect()
}

fn find_modules(
    base: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, PathBuf>,
) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(base, &path, files)?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_module = super::decompress::SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|plain| plain.ends_with(".ko"))
        });
        if is_module {
            let below = path.strip_prefix(base).unwrap_or(&path).to_owned();
            // `updates/` comes later and wins, as it does for depmod.
            files.insert(module_name(&name), below);
        }
    }
    Ok(())
}
