//! Join tokens: minted when a machine asks, one alive a machine, revoked when
//! its node has joined.
//!
//! A token is a Secret `bootstrap-token-ID` in `kube-system`. Its secret half is
//! never stored and never logged here; the store keeps the id, so that a token
//! is revoked even after a restart.
//!
//! What this cannot do: Kubernetes knows no token that works once. Between the
//! answer and the node's report that it has joined, whoever reads the token, on
//! the wire or on the node, can ask for a certificate under any node name that
//! is free. It is short-lived, given to the machine's own address only, never to
//! one that is Ready, and deleted as soon as `kubeadm join` is done.

mod api;
mod drain;
#[cfg(test)]
pub(crate) mod fake;
mod follow;
mod left;
mod node;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use boot_proto::boot_config::JoinToken;
use boot_proto::resources::{ClusterSpec, Object};
use boot_proto::time::{Monotonic, WallClock};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::images::chain;
use crate::store::{Batch, Database, Record, StoreError};

use api::ClusterApi;
pub use drain::Drained;
pub use follow::Joined;
use node::Fence;
pub use secrets::Secrets;

/// Shortest time between two tokens of one machine.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long is waited for the token's signature in `cluster-info`. Without it
/// kubeadm's discovery waits and asks again by itself, in longer steps.
const SIGNATURE_WAIT: Duration = Duration::from_secs(15);
/// How often tokens that are not needed are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Letters of a bootstrap token.
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The machine had one a moment ago, or is being given one.
    #[error("{machine} asks for join tokens too often; ask again in {} s", retry_after.as_secs().max(1))]
    TooOften {
        /// The machine.
        machine: String,
        /// When it may ask again.
        retry_after: Duration,
    },
    /// The Cluster resource says nowhere how to mint one.
    #[error(
        "Cluster {cluster} has no kubeconfigFile (or, with the state in Kubernetes, kubeconfigSecret), so that no join token can be minted; add it to the Cluster"
    )]
    NoCredentials {
        /// The Cluster.
        cluster: String,
    },
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {path} of the cluster cannot be used: {reason}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The API server is away or refuses.
    #[error("{doing} at the cluster's API server: {reason}")]
    Api {
        /// What was tried.
        doing: &'static str,
        /// Why it did not work.
        reason: String,
    },
    /// Another machine is alive under this name, or the machine's own Node is
    /// waited for.
    #[error("{reason}")]
    NameTaken {
        /// Which, in words.
        reason: String,
    },
    /// The token could not be noted, so that nobody could revoke it.
    #[error("noting the join token")]
    Store(#[from] StoreError),
    /// The server is stopping.
    #[error("boot-server is stopping")]
    Stopping,
}

impl TokenError {
    fn api(doing: &'static str, error: &kube::Error) -> Self {
        Self::Api {
            doing,
            reason: chain(error),
        }
    }
}

/// Who asks for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The Machine.
    pub machine: String,
    /// Its node name.
    pub hostname: String,
    /// Its SMBIOS UUID, where known.
    pub uuid: Option<String>,
    /// The cluster it joins.
    pub cluster: Object<ClusterSpec>,
}

/// A token that may still be alive. The secret half is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TokenRecord {
    id: String,
    machine: String,
    cluster: String,
    kubeconfig: PathBuf,
    expires: WallClock,
}

impl Record for TokenRecord {
    const TABLE: &'static str = "join_tokens";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// What is known of one machine's tokens; held while one is minted or revoked.
#[derive(Debug, Default)]
struct Slot {
    minted: Option<Monotonic>,
    alive: Vec<TokenRecord>,
}

/// A kubeconfig that has been read, and as of when.
type OpenCluster = (Option<SystemTime>, ClusterApi);

/// Mints and revokes join tokens.
pub struct Tokens {
    database: Database,
    manifests: PathBuf,
    clusters: Mutex<HashMap<PathBuf, OpenCluster>>,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    followed: Mutex<HashSet<u64>>,
    secrets: OnceLock<Arc<dyn Secrets>>,
}

impl Tokens {
    /// Reads which tokens may still be alive. Relative paths of kubeconfig files
    /// start at `manifests`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(database: Database, manifests: &Path) -> Result<Arc<Self>, StoreError> {
        let mut slots: HashMap<String, Slot> = HashMap::new();
        for record in database.read_all::<TokenRecord>()? {
            slots
                .entry(record.machine.clone())
                .or_default()
                .alive
                .push(record);
        }
        let slots = slots
            .into_iter()
            .map(|(machine, slot)| (machine, Arc::new(tokio::sync::Mutex::new(slot))))
            .collect();
        Ok(Arc::new(Self {
            database,
            manifests: manifests.to_owned(),
            clusters: Mutex::default(),
            slots: Mutex::new(slots),
            followed: Mutex::default(),
            secrets: OnceLock::new(),
        }))
    }

    /// Says where a Cluster's `kubeconfigSecret` is read from.
    pub fn read_secrets(&self, secrets: Arc<dyn Secrets>) {
        // The first one stays.
        let _ = self.secrets.set(secrets);
    }

    /// Mints a token for a machine. The Node object that a former start of the
    /// machine left goes first, where its Cluster does not say `oldNode: await`: kubeadm refuses to join under the name of a
    /// Node that is still Ready, and a machine that asks has lost all it had.
    ///
    /// # Errors
    /// See [`TokenError`]; asking again later may work for all of them.
    pub async fn mint(self: &Arc<Self>, request: TokenRequest) -> Result<JoinToken, TokenError> {
        // In a task of its own: a client that hangs up must not leave a token
        // behind that is created and not noted.
        let tokens = Arc::clone(self);
        let task = tokio::spawn(async move { tokens.mint_now(&request).await });
        task.await.map_err(|_| TokenError::Stopping)?
    }

    async fn mint_now(&self, request: &TokenRequest) -> Result<JoinToken, TokenError> {
        let too_often = |retry_after| TokenError::TooOften {
            machine: request.machine.clone(),
            retry_after,
        };
        let slot = self.slot(&request.machine);
        let Ok(mut slot) = slot.try_lock() else {
            return Err(too_often(INTERVAL));
        };
        let since = slot.minted.map(|minted| clock::monotonic().since(minted));
        if let Some(since) = since.filter(|since| *since < INTERVAL) {
            return Err(too_often(INTERVAL.saturating_sub(since)));
        }
        let kubeconfig = self.kubeconfig_of(&request.cluster)?;
        let api = self.cluster(&kubeconfig).await?;
        self.revoke_all(&mut slot).await?;
        self.revoke_those_of_others(&api, &request.machine).await?;
        fence(&api, request).await?;

        let lifetime = request.cluster.spec.token_lifetime.duration();
        let now = clock::wall();
        let (id, secret) = (random_text(6), random_text(16));
        let record = TokenRecord {
            id: id.clone(),
            machine: request.machine.clone(),
            cluster: request.cluster.name().to_owned(),
            kubeconfig,
            expires: now.after(lifetime),
        };
        // Noted first, so that it is revoked even when we are killed right here.
        self.note(&record).await?;
        slot.alive.push(record.clone());
        api.create_token(&id, &secret, request, record.expires)
            .await?;
        slot.minted = Some(clock::monotonic());
        tracing::info!(machine = %request.machine, token_id = %id, cluster = %record.cluster,
            "join token minted");
        if !api.wait_for_signature(&id, SIGNATURE_WAIT).await {
            tracing::warn!(machine = %request.machine, token_id = %id,
                "cluster-info carries no signature for the token yet; does the controller manager \
                 run the bootstrapsigner controller?");
        }
        let now = clock::wall();
        Ok(JoinToken {
            token: format!("{id}.{secret}"),
            expires_in_secs: record.expires.since(now).as_secs(),
            server_time_ms: now.0,
        })
    }

    /// Revokes what tokens a machine has.
    ///
    /// # Errors
    /// When the API server or the store does not answer; the token is then
    /// revoked later, or expires.
    pub async fn revoke(&self, machine: &str) -> Result<(), TokenError> {
        let slot = self.slot(machine);
        let mut slot = slot.lock().await;
        self.revoke_all(&mut slot).await
    }

    /// Revokes tokens that have ended, and in these clusters those of servers that
    /// are gone, now and then, until cancelled.
    pub async fn run(self: Arc<Self>, clusters: impl Fn() -> Vec<Object<ClusterSpec>>) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            self.sweep(clock::wall()).await;
            self.sweep_left(&clusters(), clock::wall()).await;
        }
    }

    async fn sweep(&self, now: WallClock) {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        for slot in slots {
            // One that is locked is being minted or revoked.
            let Ok(mut slot) = slot.try_lock() else {
                continue;
            };
            if slot.alive.is_empty() || slot.alive.iter().any(|record| record.expires > now) {
                continue;
            }
            if let Err(error) = self.revoke_all(&mut slot).await {
                tracing::debug!(error = %chain(&error), "an expired join token is still noted");
                // The cluster's own token cleaner removes expired tokens; one
                // whose cluster is gone need not be noted for ever.
                let long_gone = |record: &TokenRecord| {
                    now.since(record.expires) > Duration::from_secs(24 * 3600)
                };
                let forgotten: Vec<_> = slot
                    .alive
                    .iter()
                    .filter(|record| long_gone(record))
                    .cloned()
                    .collect();
                for record in forgotten {
                    let _ = self.forget(&mut slot, &record.id).await;
                }
            }
        }
    }

    async fn revoke_all(&self, slot: &mut Slot) -> Result<(), TokenError> {
        for record in slot.alive.clone() {
            let api = self.cluster(&record.kubeconfig).await?;
            api.delete_token(&record.id).await?;
            tracing::info!(machine = %record.machine, token_id = %record.id, "join token revoked");
            self.forget(slot, &record.id).await?;
        }
        Ok(())
    }

    async fn note(&self, record: &TokenRecord) -> Result<(), TokenError> {
        let mut batch = Batch::new();
        batch.put(record)?;
        self.commit(batch).await
    }

    async fn forget(&self, slot: &mut Slot, id: &str) -> Result<(), TokenError> {
        let mut batch = Batch::new();
        batch.delete::<TokenRecord>(id);
        self.commit(batch).await?;
        slot.alive.retain(|record| record.id != id);
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<(), TokenError> {
        let database = self.database.clone();
        let task = tokio::task::spawn_blocking(move || database.commit(batch));
        task.await
            .map_err(|_| TokenError::Stopping)?
            .map_err(TokenError::Store)
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, machine: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        Arc::clone(self.slots().entry(machine.to_owned()).or_default())
    }

    fn kubeconfig_of(&self, cluster: &Object<ClusterSpec>) -> Result<PathBuf, TokenError> {
        let spec = &cluster.spec;
        match (&spec.kubeconfig_file, &spec.kubeconfig_secret) {
            (Some(file), _) => Ok(self.manifests.join(file)),
            (None, Some(secret)) if self.secrets.get().is_some() => Ok(secrets::place(secret)),
            _ => Err(TokenError::NoCredentials {
                cluster: cluster.name().to_owned(),
            }),
        }
    }

    /// The client for a kubeconfig, made anew when the file has changed.
    async fn cluster(&self, kubeconfig: &Path) -> Result<ClusterApi, TokenError> {
        if let Some(secret) = secrets::name(kubeconfig) {
            return self.cluster_of_secret(kubeconfig, secret).await;
        }
        let modified = std::fs::metadata(kubeconfig)
            .and_then(|data| data.modified())
            .ok();
        let known = {
            let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
            clusters
                .get(kubeconfig)
                .filter(|(seen, _)| *seen == modified)
                .map(|(_, api)| api.clone())
        };
        if let Some(api) = known {
            return Ok(api);
        }
        let api = ClusterApi::open(kubeconfig).await?;
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.insert(kubeconfig.to_owned(), (modified, api.clone()));
        Ok(api)
    }
}

/// Removes the Node object of the machine's former start, or waits until it is
/// NotReady, as its Cluster says.
async fn fence(api: &ClusterApi, request: &TokenRequest) -> Result<(), TokenError> {
    let Some(found) = api.node(&request.hostname).await? else {
        return Ok(());
    };
    let policy = request.cluster.spec.old_node;
    match node::fence(&found, request.uuid.as_deref(), policy) {
        Fence::Refuse(reason) | Fence::Await(reason) => Err(TokenError::NameTaken { reason }),
        Fence::Keep => Ok(()),
        Fence::Delete => {
            api.delete_node(&found).await?;
            tracing::info!(machine = %request.machine, node = %request.hostname,
                "Node of a former start deleted");
            Ok(())
        }
    }
}

fn random_text(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
        .collect()
}
