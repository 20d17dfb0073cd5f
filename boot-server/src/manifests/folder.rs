//! The files of the manifest folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use boot_proto::manifest::{Mistake, SourceFile};

use super::ManifestErrors;

/// Files that are larger are not read into memory: the loader refuses more
/// than 4 MiB, and tells so from the first byte beyond.
const READ_LIMIT: u64 = (4 << 20) + 1;

/// What tells that the folder changed: name, device and inode, size and times of
/// every file. Links are followed, so a ConfigMap whose `..data` link is swapped
/// changes as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, [i128; 5])>);

impl Fingerprint {
    /// Looks at the folder.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be looked at.
    pub fn of(folder: &Path) -> Result<Self, ManifestErrors> {
        let mut files = Vec::new();
        for path in manifest_files(folder)? {
            let meta = fs::metadata(&path).map_err(|source| failed(&path, source))?;
            let time =
                |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            let marks = [
                i128::from(meta.dev()),
                i128::from(meta.ino()),
                i128::from(meta.size()),
                time(meta.mtime(), meta.mtime_nsec()),
                time(meta.ctime(), meta.ctime_nsec()),
            ];
            files.push((path, marks));
        }
        Ok(Self(files))
    }
}

/// Reads every manifest file of the folder. One that cannot be read is a mistake
/// among the others, and does not hide them.
pub(super) fn read(folder: &Path) -> Result<(Vec<SourceFile>, Vec<Mistake>), ManifestErrors> {
    let (mut files, mut mistakes) = (Vec::new(), Vec::new());
    for path in manifest_files(folder)? {
        let name = path.display().to_string();
        match read_file(&path) {
            Ok(text) => files.push(SourceFile { name, text }),
            Err(error) => mistakes.push(Mistake {
                file: name,
                line: 0,
                column: 0,
                resource: None,
                path: String::new(),
                message: format!("the file cannot be read: {error}"),
                hint: "let boot-server's user read it, or move it out of the folder if it is no \
                       manifest"
                    .to_owned(),
            }),
        }
    }
    Ok((files, mistakes))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    // Opening a named pipe would wait for somebody who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?
        .take(READ_LIMIT)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// The manifest files, sorted by name.
fn manifest_files(folder: &Path) -> Result<Vec<PathBuf>, ManifestErrors> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        let is_hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_yaml = path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml");
        // A dangling link is a mistake to report, not a file to pass over.
        if is_yaml && !is_hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn failed(path: &Path, source: io::Error) -> ManifestErrors {
    ManifestErrors::Folder {
        path: path.to_owned(),
        source,
    }
}
