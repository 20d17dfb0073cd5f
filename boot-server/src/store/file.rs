//! The state file itself: opening it, and opening it again after a failure.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::StoreError;

/// Page cache; the whole of a large farm's records fits in.
const CACHE_BYTES: usize = 16 << 20;

/// The open file. After an I/O error redb refuses everything until the file is
/// opened anew; that happens with the next use, so that a disk that was full for
/// a while does not need a restart.
pub(super) struct StateFile {
    path: PathBuf,
    open: RwLock<Option<redb::Database>>,
}

impl StateFile {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = RwLock::new(Some(open(path)?));
        Ok(Self {
            path: path.to_owned(),
            open,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Works on the open file.
    pub fn using<T>(
        &self,
        doing: &'static str,
        table: &'static str,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.ensure_open()?;
        let result = {
            let slot = self.open.read().unwrap_or_else(PoisonError::into_inner);
            match slot.as_ref() {
                Some(file) => work(file),
                // Another thread failed in between; that one says why.
                None => Err(redb::Error::PreviousIo),
            }
        };
        result.map_err(|source| {
            if matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo) {
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            StoreError::Io {
                doing,
                table,
                path: self.path.clone(),
                source: Box::new(source),
            }
        })
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        if self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Ok(());
        }
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(open(&self.path)?);
            tracing::info!(path = %self.path.display(), "state file opened again after an error");
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<redb::Database, StoreError> {
    redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(open_file(path)?)
        .map_err(|source| StoreError::open(path, source))
}

/// Leases and machine records are nobody else's business: 0600.
fn open_file(path: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Create {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let file = options.open(path).map_err(failed)?;
    // A new file's name is on disk only when its folder is.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    folder.sync_all().map_err(failed)?;
    Ok(file)
}
