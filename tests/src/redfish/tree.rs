//! A folder in the layout of the DMTF mock-up creator: the resource
//! `/redfish/v1/X` is `redfish/v1/X/index.json`, a refusal `custom.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;

/// What is at a path.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path as its folder spells it.
    pub path: String,
    /// Status of the answer to a GET.
    pub status: u16,
    /// The resource; null where `text` is answered.
    pub body: Value,
    /// A body that is no JSON.
    pub text: Option<String>,
    /// Counts changes; the ETag is made of it.
    pub version: u64,
}

/// Resources by path. Letter case and trailing slashes do not matter, as on iLO.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Reads a folder that has `redfish` in it.
    ///
    /// # Errors
    /// When it cannot be read, or a file is no JSON.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.load_folder(&folder.join("redfish"), "/redfish")?;
        if tree.entries.is_empty() {
            let text = format!("{} holds no captures", folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(tree)
    }

    /// A service out of resources by path. `@odata.id` may be left out.
    #[must_use]
    pub fn from_resources(resources: BTreeMap<String, Value>) -> Self {
        let mut tree = Self::default();
        for (path, mut body) in resources {
            if let Some(body) = body.as_object_mut() {
                // What every resource has need not be written down.
                body.entry("@odata.id")
                    .or_insert_with(|| path.clone().into());
            }
            tree.put(&path, body);
        }
        tree
    }

    /// Reads a recording: a list of requests and responses. The last answer to
    /// a GET counts.
    ///
    /// # Errors
    /// When it cannot be read or is no such list.
    pub fn from_recording(file: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let exchanges: Vec<Value> = serde_json::from_slice(&std::fs::read(file)?)?;
        for exchange in &exchanges {
            let text = |pointer: &str| exchange.pointer(pointer).and_then(Value::as_str);
            let is_good = exchange.pointer("/response/status/code") == Some(&Value::from(200));
            if let (true, Some("GET"), Some(path)) =
                (is_good, text("/request/method"), text("/request/path"))
            {
                tree.put(path, exchange["response"]["body"].clone());
            }
        }
        Ok(tree)
    }

    fn load_folder(&mut self, folder: &Path, path: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                self.load_folder(&entry.path(), &format!("{path}/{name}"))?;
                continue;
            }
            if name != "index.json" && name != "custom.json" {
                continue;
            }
            let bytes = std::fs::read(entry.path())?;
            let body: Value = serde_json::from_slice(&bytes)?;
            if name == "index.json" {
                // A capture that has a resource in two spellings has it once.
                if self.get(path).is_none() {
                    self.put(path, body);
                }
            } else {
                self.put_refusal(path, &body);
            }
        }
        Ok(())
    }

    /// Puts a resource at a path.
    pub fn put(&mut self, path: &str, body: Value) {
        let entry = Entry {
            path: path.to_owned(),
            status: 200,
            body,
            text: None,
            version: 1,
        };
        self.entries.insert(key(path), entry);
    }

    fn put_refusal(&mut self, path: &str, custom: &Value) {
        let status = custom.get("status").and_then(Value::as_u64).unwrap_or(500);
        let text = custom
            .get("body")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let entry = Entry {
            path: path.to_owned(),
            status: u16::try_from(status).unwrap_or(500),
            body: Value::Null,
            text: Some(text),
            version: 1,
        };
        self.entries.insert(key(path), entry);
    }

    /// Takes the resources at and below a path away.
    pub fn remove(&mut self, path: &str) {
        let key = key(path);
        let below = format!("{key}/");
        self.entries
            .retain(|known, _| *known != key && !known.starts_with(&below));
    }

    /// What is at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&key(path))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Entry> {
        self.entries.get_mut(&key(path))
    }

    /// All resources by path, in lower case; refusals are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.text.is_none())
            .map(|(path, entry)| (path.as_str(), &entry.body))
    }

    /// Puts the members of a collection into it, as `$expand` asks for.
    pub fn expand(&self, collection: &mut Value) {
        let members = collection.get_mut("Members").and_then(Value::as_array_mut);
        for member in members.into_iter().flatten() {
            let uri = member
                .get("@odata.id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(entry) = self.get(uri).filter(|entry| entry.text.is_none()) {
                *member = entry.body.clone();
            }
        }
    }

    /// Paths of all resources directly below a path.
    #[must_use]
    pub fn children(&self, path: &str) -> Vec<String> {
        let below = format!("{}/", key(path));
        let is_child = |known: &&String| {
            known
                .strip_prefix(&below)
                .is_some_and(|rest| !rest.contains('/'))
        };
        self.entries.keys().filter(is_child).cloned().collect()
    }
}

/// One spelling of a path.
fn key(path: &str) -> String {
    path.split('?')
        .next()
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_ascii_lowercase()
}
