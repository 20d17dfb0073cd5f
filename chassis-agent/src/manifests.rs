//! The Chassis manifests of a folder, and noticing that the folder changed.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use boot_proto::manifest::{self, SourceFile};
use boot_proto::resources::{ChassisSpec, Object, Resource};

/// Why a folder of manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// The folder or a file in it cannot be read.
    #[error("reading manifests from {}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are mistakes in it.
    #[error("{} in the manifests of {}:\n{report}", mistakes(*count), path.display())]
    Mistakes {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// All of them, with file and line.
        report: String,
    },
}

fn mistakes(count: usize) -> String {
    if count == 1 {
        "1 mistake".into()
    } else {
        format!("{count} mistakes")
    }
}

/// The files of a folder as they were read; equal when nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(Vec<SourceFile>);

/// Reads the `.yaml` and `.yml` files of a folder; hidden ones and those of its
/// folders stay out.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn read(folder: &Path) -> Result<Files, ManifestsError> {
    /// The loader refuses larger files, and tells so from the first byte more.
    const MOST: u64 = (4 << 20) + 1;
    let failed = |path: &Path, source| ManifestsError::Folder {
        path: path.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let path = entry.map_err(|e| failed(folder, e))?.path();
        let is_hidden = path
            .file_name()
            .is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if is_yaml && !is_hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let mut text = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MOST).read_to_end(&mut text))
            .map_err(|e| failed(&path, e))?;
        files.push(SourceFile {
            name: path.display().to_string(),
            text,
        });
    }
    Ok(Files(files))
}

/// The Chassis among the manifests.
///
/// # Errors
/// When anything in the manifests is wrong, of whatever kind.
pub fn chassis(folder: &Path, files: &Files) -> Result<Vec<Object<ChassisSpec>>, ManifestsError> {
    let loaded = manifest::load(&files.0);
    if !loaded.mistakes.is_empty() {
        let lines: Vec<String> = loaded.mistakes.iter().map(ToString::to_string).collect();
        return Err(ManifestsError::Mistakes {
            path: folder.to_owned(),
            count: lines.len(),
            report: lines.join("\n"),
        });
    }
    let found = loaded
        .resources
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::Chassis(object) => Some(object),
            _ => None,
        });
    Ok(found.collect())
}
