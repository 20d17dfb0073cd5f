//! The embedded store: what is learned, in one transactional file.
//!
//! Records are JSON under a text key, one table a type. A write is on disk when
//! [`Database::commit`] returns; a process that is killed at any moment, or a
//! machine that loses power, leaves the last commit behind, whole.

mod error;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::StoreError;

/// Version of the records' form that this code writes.
const SCHEMA: u64 = 1;
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SCHEMA_KEY: &str = "schema";
/// Page cache; the whole of a large farm's records fits in.
const CACHE_BYTES: usize = 16 << 20;

/// What the store keeps of one type.
pub trait Record: Serialize + DeserializeOwned {
    /// Name of the table. Must never change.
    const TABLE: &'static str;
    /// Key of this record in the table.
    fn key(&self) -> String;
}

/// An open store; clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    file: redb::Database,
}

/// Writes that happen all or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    table: &'static str,
    key: String,
    /// The record as JSON; `None` deletes it.
    value: Option<Vec<u8>>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a record.
    ///
    /// # Errors
    /// When the record cannot be put into JSON.
    pub fn put<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        let key = record.key();
        let value = serde_json::to_vec(record).map_err(|source| StoreError::Encode {
            table: R::TABLE,
            key: key.clone(),
            source,
        })?;
        self.writes.push(Write {
            table: R::TABLE,
            key,
            value: Some(value),
        });
        Ok(())
    }

    /// Deletes a record, if it is there.
    pub fn delete<R: Record>(&mut self, key: &str) {
        self.writes.push(Write {
            table: R::TABLE,
            key: key.to_owned(),
            value: None,
        });
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

impl Database {
    /// Opens the store at `path`, made anew where there is none. Only one
    /// process can have it open.
    ///
    /// # Errors
    /// When the file cannot be opened or written, is in use, is damaged, or was
    /// written by a later release.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = open_file(path)?;
        let file = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_file(file)
            .map_err(|source| StoreError::open(path, source))?;
        let database = Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                file,
            }),
        };
        database.check_schema()?;
        Ok(database)
    }

    /// All records of a type, sorted by key. One that cannot be read is logged
    /// and left out: a single bad record must not keep the farm down.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_all<R: Record>(&self) -> Result<Vec<R>, StoreError> {
        let failed = |source| self.failed("reading", R::TABLE, source);
        let transaction = self.inner.file.begin_read().map_err(|e| failed(e.into()))?;
        let table = match transaction.open_table(definition(R::TABLE)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error.into())),
        };
        let mut records = Vec::new();
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (key, value) = entry.map_err(|e| failed(e.into()))?;
            match serde_json::from_slice(value.value()) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::error!(table = R::TABLE, key = key.value(), %error, "record left out: it cannot be read");
                }
            }
        }
        Ok(records)
    }

    /// The record under `key`.
    ///
    /// # Errors
    /// When the file or the record cannot be read.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>, StoreError> {
        let failed = |source| self.failed("reading", R::TABLE, source);
        let transaction = self.inner.file.begin_read().map_err(|e| failed(e.into()))?;
        let table = match transaction.open_table(definition(R::TABLE)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let Some(value) = table.get(key).map_err(|e| failed(e.into()))? else {
            return Ok(None);
        };
        serde_json::from_slice(value.value())
            .map(Some)
            .map_err(|source| StoreError::Decode {
                table: R::TABLE,
                key: key.to_owned(),
                source,
            })
    }

    /// Writes a batch, all or nothing. It is on disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing of the batch is in it.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch)
            .map_err(|(table, source)| self.failed("writing", table, source))
    }

    fn write(&self, batch: Batch) -> Result<(), (&'static str, redb::Error)> {
        let first = batch.writes.first().map_or("", |write| write.table);
        let transaction = self
            .inner
            .file
            .begin_write()
            .map_err(|e| (first, e.into()))?;
        for write in batch.writes {
            let failed = |error: redb::Error| (write.table, error);
            let mut table = transaction
                .open_table(definition(write.table))
                .map_err(|e| failed(e.into()))?;
            match &write.value {
                Some(value) => table.insert(write.key.as_str(), value.as_slice()),
                None => table.remove(write.key.as_str()),
            }
            .map_err(|e| failed(e.into()))?;
        }
        transaction.commit().map_err(|e| (first, e.into()))
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let failed = |source| self.failed("reading", "meta", source);
        let transaction = self
            .inner
            .file
            .begin_write()
            .map_err(|e| failed(e.into()))?;
        let found = {
            let table = transaction.open_table(META).map_err(|e| failed(e.into()))?;
            let found = table.get(SCHEMA_KEY).map_err(|e| failed(e.into()))?;
            found.map(|version| version.value())
        };
        match found {
            Some(SCHEMA) => return Ok(()),
            Some(found) => {
                let path = self.inner.path.clone();
                return Err(StoreError::Schema {
                    path,
                    found,
                    known: SCHEMA,
                });
            }
            None => {
                let mut table = transaction.open_table(META).map_err(|e| failed(e.into()))?;
                table
                    .insert(SCHEMA_KEY, SCHEMA)
                    .map_err(|e| failed(e.into()))?;
            }
        }
        transaction.commit().map_err(|e| failed(e.into()))
    }

    fn failed(&self, doing: &'static str, table: &'static str, source: redb::Error) -> StoreError {
        StoreError::Io {
            doing,
            table,
            path: self.inner.path.clone(),
            source: Box::new(source),
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

const fn definition(name: &'static str) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

/// Leases and machine records are nobody else's business: 0600.
fn open_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).map_err(|source| StoreError::Create {
        path: path.to_owned(),
        source,
    })
}
