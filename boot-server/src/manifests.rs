//! The manifest folder: reading it, checking it, and noticing that it changed.
//!
//! All files of the folder that end in `.yaml` or `.yml` count, hidden ones and
//! sub-folders do not: `..data` of a mounted ConfigMap and editors' backup files
//! stay out of the way.

mod advice;
mod declared;
mod folder;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use boot_proto::manifest::{self, Mistake, SourceFile};

pub use advice::{option_mistakes, warnings};
pub use declared::Declared;
pub use folder::Fingerprint;

/// Why a folder of manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestErrors {
    /// The folder cannot be read.
    #[error("reading manifests in {path}")]
    Folder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are mistakes in it.
    #[error("{}", Report(.0))]
    Mistakes(Vec<Mistake>),
}

impl ManifestErrors {
    /// The single mistakes; none where the folder itself cannot be read.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Folder { .. } => &[],
            Self::Mistakes(mistakes) => mistakes,
        }
    }
}

/// Every mistake, one below the other, and how many there are.
struct Report<'a>(&'a [Mistake]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in self.0 {
            writeln!(f, "{mistake}")?;
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the manifests", self.0.len())
    }
}

/// Reads and checks the manifests in `folder`.
///
/// # Errors
/// When the folder cannot be read, or anything in it is wrong.
pub fn read(folder: &Path) -> Result<Declared, ManifestErrors> {
    read_with(folder, None)
}

/// Reads and checks the manifests in `folder` as they are with a further file.
///
/// # Errors
/// When the folder cannot be read, or anything is wrong.
pub fn read_with(folder: &Path, more: Option<SourceFile>) -> Result<Declared, ManifestErrors> {
    let (mut files, mut mistakes) = folder::read(folder)?;
    files.extend(more);
    let loaded = manifest::load(&files);
    mistakes.extend(loaded.mistakes);
    if mistakes.is_empty() {
        return Ok(Declared::new(folder, loaded.resources));
    }
    // Within a file they are sorted already.
    mistakes.sort_by(|a, b| a.file.cmp(&b.file));
    Err(ManifestErrors::Mistakes(mistakes))
}

/// The answer of `boot-server check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the manifests can be used.
    pub is_good: bool,
    /// What to print: how many resources there are, or every mistake.
    pub report: String,
    /// The mistakes, for programs.
    pub mistakes: Vec<Mistake>,
}

/// Checks the manifests in `folder`.
///
/// # Errors
/// When the folder cannot be read.
pub fn check(folder: &Path) -> Result<Checked, ManifestErrors> {
    match read(folder) {
        Ok(declared) => Ok(Checked {
            is_good: true,
            report: declared.summary(),
            mistakes: Vec::new(),
        }),
        Err(ManifestErrors::Mistakes(mistakes)) => Ok(Checked {
            is_good: false,
            report: Report(&mistakes).to_string(),
            mistakes,
        }),
        Err(error) => Err(error),
    }
}
