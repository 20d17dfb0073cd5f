//! The calls to the API server: each within a time, and counted.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube_access::{Access, AccessError, Place};
use serde_json::Value;

use crate::tokens::Secrets;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the store is.
#[derive(Clone, Debug, Default)]
pub struct KubernetesOptions {
    /// The API server and the namespace of the resources.
    pub place: Place,
    /// What this server calls itself in claims and Events.
    pub server: String,
}

/// The API server as the store; clones share it.
#[derive(Clone)]
pub struct ApiServer {
    /// The client, for watches and Events.
    pub client: kube::Client,
    /// Namespace of the resources.
    pub namespace: Arc<str>,
    /// What this server calls itself.
    pub server: Arc<str>,
    away: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Reads the kubeconfig; nothing is asked yet.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub async fn open(options: &KubernetesOptions) -> Result<Self, AccessError> {
        let adjust = |config: &mut kube::Config| {
            config.connect_timeout = Some(CALL_TIMEOUT);
            config.default_retry = false;
        };
        let Access { client, namespace } = options.place.connect(adjust).await?;
        Ok(Self {
            client,
            namespace,
            server: options.server.as_str().into(),
            away: Arc::default(),
            requests: Arc::default(),
        })
    }

    /// The objects of one of our kinds.
    #[must_use]
    pub fn objects(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        kube_access::objects(&self.client, &self.namespace, kind, plural)
    }

    /// Whether the last call got no answer. Until one does, nothing that needs
    /// the API server's word is tried, so that nobody waits for it in vain.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Calls made so far, those of watches not among them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Makes one call.
    ///
    /// # Errors
    /// When it fails or takes too long.
    pub async fn call<T>(
        &self,
        doing: impl FnOnce() -> String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, AccessError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = kube_access::call(CALL_TIMEOUT, doing, call).await;
        self.note(answer.as_ref().err());
        answer
    }

    /// Applies fields of an object's status as `manager`.
    ///
    /// # Errors
    /// When the API server refuses or is away.
    pub async fn apply_status(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        manager: &str,
        object: &Value,
    ) -> Result<DynamicObject, AccessError> {
        let parameters = PatchParams::apply(manager).force();
        let patch = Patch::Apply(object);
        let call = api.patch_status(name, &parameters, &patch);
        self.call(|| format!("writing the status of {name}"), call)
            .await
    }

    /// Looks whether the API server answers again, until cancelled.
    pub async fn probe(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(2));
        loop {
            ticks.tick().await;
            if self.is_away() {
                let call = self.client.apiserver_version();
                let _ = self
                    .call(|| "asking for its version".to_owned(), call)
                    .await;
            }
        }
    }

    fn note(&self, error: Option<&AccessError>) {
        let is_away = error.is_some_and(AccessError::is_away);
        if self.away.swap(is_away, Ordering::Relaxed) == is_away {
            return;
        }
        match error {
            Some(error) if is_away => {
                let error = crate::images::chain(error);
                tracing::error!(
                    error,
                    "the API server is away; known machines are served from the cache, new dynamic addresses are refused"
                );
            }
            _ => tracing::info!("the API server answers again"),
        }
    }
}

impl Secrets for ApiServer {
    fn read<'a>(&'a self, name: &'a str, key: &'a str) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
            let call = secrets.get(name);
            let secret = self
                .call(|| format!("reading Secret {name}"), call)
                .await
                .map_err(|error| crate::images::chain(&error))?;
            let value = secret
                .data
                .and_then(|mut data| data.remove(key))
                .ok_or_else(|| format!("Secret {name} has nothing under {key}"))?;
            String::from_utf8(value.0).map_err(|_| format!("{key} of Secret {name} is no text"))
        })
    }
}
