//! What is to be written into the status of Machines: the latest word of each,
//! written soon, again when the API server comes back, and not at all where the
//! object says it already.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_proto::kubernetes::FOUND_LABEL;
use boot_proto::resources::API_VERSION;
use futures_util::{StreamExt as _, stream};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube_access::AccessError;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::MANAGER;
use super::api::ApiServer;
use super::machines::is_news;
use super::unsent::Unsent;

/// Pause between rounds, in which a boot's steps gather.
const ROUND: Duration = Duration::from_millis(500);
/// Writes under way at once.
const AT_ONCE: usize = 16;

/// What shall be done with the object of a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Say this in its status; make the object where there is none.
    Status(Value),
    /// Delete it: the machine turned out to be another one.
    Delete,
}

/// A write, and the mark of what it writes.
#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    write: Write,
    mark: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<String, Waiting>,
    /// Status of each object as last seen or written.
    there: BTreeMap<String, Value>,
}

/// The outbox; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    inner: Arc<Mutex<Inner>>,
    filled: Arc<Notify>,
    unsent: Unsent,
}

impl Outbox {
    /// An empty outbox, which takes away the marks of what it has written.
    #[must_use]
    pub fn new(unsent: Unsent) -> Self {
        Self {
            inner: Arc::default(),
            filled: Arc::default(),
            unsent,
        }
    }

    /// Puts in what shall be written of a machine, in place of what waited; `mark`
    /// is the mark of the machine as it was before that was read.
    pub fn put(&self, machine: &str, write: Write, mark: Option<u64>) {
        let mut inner = self.lock();
        if let Write::Status(wanted) = &write
            && inner
                .there
                .get(machine)
                .is_some_and(|there| !is_news(wanted, there))
        {
            inner.waiting.remove(machine);
            self.unsent.sent(machine, mark);
            return;
        }
        inner
            .waiting
            .insert(machine.to_owned(), Waiting { write, mark });
        drop(inner);
        self.filled.notify_one();
    }

    /// Notes what an object says; `None` when it is gone.
    pub fn seen(&self, machine: &str, status: Option<Value>) {
        let mut inner = self.lock();
        match status {
            Some(status) => drop(inner.there.insert(machine.to_owned(), status)),
            None => drop(inner.there.remove(machine)),
        }
    }

    /// How many writes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes, until cancelled.
    pub async fn run(self, api: ApiServer) {
        loop {
            if self.is_empty() {
                self.filled.notified().await;
            }
            tokio::time::sleep(ROUND).await;
            if api.is_away() {
                continue;
            }
            self.round(&api).await;
            let unsent = self.unsent.clone();
            // Where that fails, the marks go in a later round.
            let _ = tokio::task::spawn_blocking(move || unsent.write()).await;
        }
    }

    /// Writes all that waits now.
    async fn round(&self, api: &ApiServer) {
        let batch: Vec<(String, Waiting)> = self.lock().waiting.clone().into_iter().collect();
        let objects = api.objects("Machine", "machines");
        stream::iter(batch)
            .for_each_concurrent(AT_ONCE, |(name, waiting)| {
                let objects = &objects;
                async move {
                    let done = match &waiting.write {
                        Write::Status(status) => say(api, objects, &name, status).await,
                        Write::Delete => delete(api, objects, &name).await,
                    };
                    self.conclude(&name, &waiting, done);
                }
            })
            .await;
    }

    fn conclude(&self, name: &str, written: &Waiting, done: Result<Option<Value>, AccessError>) {
        let mut inner = self.lock();
        let keeps_waiting = match done {
            Ok(status) => {
                match status {
                    Some(status) => drop(inner.there.insert(name.to_owned(), status)),
                    None => drop(inner.there.remove(name)),
                }
                self.unsent.sent(name, written.mark);
                false
            }
            Err(error) => {
                let is_away = error.is_away();
                let text = crate::images::chain(&error);
                if !is_away {
                    tracing::warn!(
                        machine = name,
                        error = text,
                        "what was learned is not written"
                    );
                }
                is_away
            }
        };
        // What was put in meanwhile is newer and stays.
        if !keeps_waiting && inner.waiting.get(name) == Some(written) {
            inner.waiting.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn say(
    api: &ApiServer,
    objects: &Api<DynamicObject>,
    name: &str,
    status: &Value,
) -> Result<Option<Value>, AccessError> {
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "Machine",
        "metadata": {"name": name},
        "status": status,
    });
    let applied = match api.apply_status(objects, name, MANAGER, &object).await {
        Err(error) if error.status() == Some(404) => {
            make(api, objects, name).await?;
            api.apply_status(objects, name, MANAGER, &object).await?
        }
        other => other?,
    };
    Ok(Some(
        applied.data.get("status").cloned().unwrap_or_default(),
    ))
}

/// A machine that nobody declared gets an object of its own.
async fn make(
    api: &ApiServer,
    objects: &Api<DynamicObject>,
    name: &str,
) -> Result<(), AccessError> {
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "Machine",
        "metadata": {"name": name, "labels": {FOUND_LABEL: "true"}},
        "spec": {},
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&object);
    let call = objects.patch(name, &parameters, &patch);
    api.call(|| format!("making Machine {name}"), call).await?;
    tracing::info!(machine = name, "made a Machine for what was met");
    Ok(())
}

async fn delete(
    api: &ApiServer,
    objects: &Api<DynamicObject>,
    name: &str,
) -> Result<Option<Value>, AccessError> {
    let parameters = DeleteParams::default();
    let call = objects.delete(name, &parameters);
    match api.call(|| format!("deleting Machine {name}"), call).await {
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;

    fn outbox() -> (Outbox, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Database::open(&folder.path().join("state.redb")).unwrap();
        let outbox = Outbox::new(Unsent::open(cache).unwrap());
        (outbox, folder)
    }

    fn phase(phase: &str) -> Waiting {
        Waiting {
            write: Write::Status(json!({"phase": phase})),
            mark: None,
        }
    }

    fn put(outbox: &Outbox, machine: &str, waiting: Waiting) {
        outbox.put(machine, waiting.write, waiting.mark);
    }

    #[test]
    fn the_latest_word_waits_and_no_news_does_not() {
        let (outbox, _folder) = outbox();
        put(&outbox, "a", phase("image"));
        put(&outbox, "a", phase("root"));
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox.lock().waiting["a"], phase("root"));
        outbox.seen("b", Some(json!({"phase": "ready", "power": "On"})));
        put(&outbox, "b", phase("ready"));
        assert!(!outbox.lock().waiting.contains_key("b"));
    }

    #[test]
    fn what_came_meanwhile_is_written_too() {
        let (outbox, _folder) = outbox();
        put(&outbox, "a", phase("image"));
        put(&outbox, "a", phase("root"));
        outbox.conclude("a", &phase("image"), Ok(Some(json!({"phase": "image"}))));
        assert_eq!(outbox.lock().waiting["a"], phase("root"));
        let away = AccessError::Late {
            doing: "writing".into(),
            seconds: 3,
        };
        outbox.conclude("a", &phase("root"), Err(away));
        assert_eq!(outbox.len(), 1);
        outbox.conclude("a", &phase("root"), Ok(Some(json!({"phase": "root"}))));
        assert!(outbox.is_empty());
    }
}
