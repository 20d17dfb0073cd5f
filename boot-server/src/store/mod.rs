//! The embedded store: what is learned, in one transactional file.
//!
//! Records are JSON under a text key, one table a type. A write is on disk when
//! [`Database::commit`] returns; a process that is killed at any moment, or a
//! machine that loses power, leaves the last commit behind, whole.

mod error;
mod file;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::StoreError;
use file::StateFile;

/// Version of the records' form that this code writes.
const SCHEMA: u64 = 1;
const META_NAME: &str = "meta";
const META: TableDefinition<&str, u64> = TableDefinition::new(META_NAME);
const SCHEMA_KEY: &str = "schema";

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
    file: Arc<StateFile>,
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
        let database = Self {
            file: Arc::new(StateFile::open(path)?),
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
        let rows = self
            .file
            .using("reading", R::TABLE, |file| rows(file, R::TABLE))?;
        let read = |(key, value): &(String, Vec<u8>)| match serde_json::from_slice(value) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(table = R::TABLE, key, %error, "record left out: it cannot be read");
                None
            }
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// The record under `key`.
    ///
    /// # Errors
    /// When the file or the record cannot be read.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>, StoreError> {
        let value = self
            .file
            .using("reading", R::TABLE, |file| row(file, R::TABLE, key))?;
        let Some(value) = value else { return Ok(None) };
        serde_json::from_slice(&value)
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
        let Some(table) = batch.writes.first().map(|write| write.table) else {
            return Ok(());
        };
        self.file
            .using("writing", table, |file| write(file, &batch))
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let found = self.file.using("reading", META_NAME, schema_of)?;
        if found == SCHEMA {
            return Ok(());
        }
        let path = self.file.path().to_owned();
        Err(StoreError::Schema {
            path,
            found,
            known: SCHEMA,
        })
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.file.path())
            .finish_non_exhaustive()
    }
}

const fn definition(name: &'static str) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

fn rows(file: &redb::Database, table: &'static str) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = match file.begin_read()?.open_table(definition(table)) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut rows = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(rows)
}

fn row(
    file: &redb::Database,
    table: &'static str,
    key: &str,
) -> Result<Option<Vec<u8>>, redb::Error> {
    match file.begin_read()?.open_table(definition(table)) {
        Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(file: &redb::Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = file.begin_write()?;
    for write in &batch.writes {
        let mut table = transaction.open_table(definition(write.table))?;
        match &write.value {
            Some(value) => table.insert(write.key.as_str(), value.as_slice())?,
            None => table.remove(write.key.as_str())?,
        };
    }
    transaction.commit()?;
    Ok(())
}

/// The version in the file; a new file gets ours.
fn schema_of(file: &redb::Database) -> Result<u64, redb::Error> {
    let transaction = file.begin_write()?;
    let found = {
        let mut table = transaction.open_table(META)?;
        let found = table.get(SCHEMA_KEY)?.map(|version| version.value());
        if found.is_none() {
            table.insert(SCHEMA_KEY, SCHEMA)?;
        }
        found
    };
    match found {
        Some(found) => Ok(found),
        None => {
            transaction.commit()?;
            Ok(SCHEMA)
        }
    }
}
