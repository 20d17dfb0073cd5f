//! What was in force when the API server was last seen, on disk, so that a
//! server can start without it.

use boot_proto::resources::Kind;
use serde::{Deserialize, Serialize};

use super::declare::{Declaration, Objects};
use crate::store::{Batch, Database, Record, StoreError};

/// One object in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cached {
    kind: Kind,
    name: String,
    declaration: Declaration,
}

impl Record for Cached {
    const TABLE: &'static str = "kubernetes_objects";
    fn key(&self) -> String {
        key(self.kind, &self.name)
    }
}

fn key(kind: Kind, name: &str) -> String {
    format!("{kind}/{name}")
}

/// What was in force.
///
/// # Errors
/// When the file cannot be read.
pub fn read(database: &Database) -> Result<Objects, StoreError> {
    let cached: Vec<Cached> = database.read_all()?;
    let objects = cached
        .into_iter()
        .map(|cached| ((cached.kind, cached.name), cached.declaration));
    Ok(objects.collect())
}

/// Writes what is in force now over what was before. Losing this costs a start
/// without the API server, nothing else.
pub fn write(database: &Database, before: &Objects, now: &Objects) {
    let mut batch = Batch::new();
    for ((kind, name), declaration) in now {
        if before.get(&(*kind, name.clone())) == Some(declaration) {
            continue;
        }
        let cached = Cached {
            kind: *kind,
            name: name.clone(),
            declaration: declaration.clone(),
        };
        if let Err(error) = batch.put(&cached) {
            tracing::debug!(%kind, name, error = %crate::images::chain(&error), "not cached");
        }
    }
    for (kind, name) in before.keys().filter(|key| !now.contains_key(*key)) {
        batch.delete::<Cached>(&key(*kind, name));
    }
    if let Err(error) = database.commit(batch) {
        tracing::warn!(error = %crate::images::chain(&error), "what is declared is not cached");
    }
}
