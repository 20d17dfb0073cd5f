//! Reading Matchbox's folder of data.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Most of one file; what is larger is no text for a machine.
const MAX_BYTES: u64 = 4 << 20;
/// Most files in one sub-folder.
const MAX_FILES: usize = 100_000;

/// The files of the folder, by name; those of groups and profiles without `.json`.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// `groups/*.json`
    pub groups: BTreeMap<String, String>,
    /// `profiles/*.json`
    pub profiles: BTreeMap<String, String>,
    /// `ignition/*`
    pub ignition: BTreeMap<String, String>,
    /// `cloud/*`
    pub cloud: BTreeMap<String, String>,
    /// `generic/*`
    pub generic: BTreeMap<String, String>,
    /// Whether `assets` is there.
    pub has_assets: bool,
    /// Files that were not taken, and why.
    pub left_out: Vec<(String, String)>,
}

/// Why a folder cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not Matchbox's.
    #[error(
        "{0} is no data folder of Matchbox: it has no folders groups and profiles; give what matchbox is given as -data-path"
    )]
    NotMatchbox(PathBuf),
    /// It cannot be read.
    #[error("reading {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads the folder.
///
/// # Errors
/// When it is not Matchbox's or a sub-folder cannot be read. A file that cannot
/// be read is among those left out.
pub fn read(path: &Path) -> Result<Folder, ReadError> {
    if !super::is_matchbox(path) {
        return Err(ReadError::NotMatchbox(path.to_owned()));
    }
    let mut folder = Folder::default();
    let mut left_out = Vec::new();
    let mut texts = |name: &str, is_json: bool| texts(path, name, is_json, &mut left_out);
    folder.groups = texts("groups", true)?;
    folder.profiles = texts("profiles", true)?;
    folder.ignition = texts("ignition", false)?;
    folder.cloud = texts("cloud", false)?;
    folder.generic = texts("generic", false)?;
    folder.left_out = left_out;
    folder.has_assets = path.join("assets").is_dir();
    Ok(folder)
}

fn texts(
    folder: &Path,
    name: &str,
    is_json: bool,
    left_out: &mut Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, ReadError> {
    let path = folder.join(name);
    let failed = |path: &Path, source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(&path, error)),
    };
    let mut texts = BTreeMap::new();
    for entry in entries.take(MAX_FILES) {
        let entry = entry.map_err(|error| failed(&path, error))?.path();
        let file = entry.file_name().unwrap_or_default().to_string_lossy();
        let shown = format!("{name}/{file}");
        let id = if is_json {
            file.strip_suffix(".json")
        } else {
            Some(file.as_ref())
        };
        match id {
            None => left_out.push((shown, "it does not end in .json".to_owned())),
            Some(id) => match text(&entry) {
                Ok(text) => drop(texts.insert(id.to_owned(), text)),
                Err(error) => left_out.push((shown, error.to_string())),
            },
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> io::Result<String> {
    // Opening a FIFO would wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}
