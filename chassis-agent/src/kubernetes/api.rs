//! The API server: what is watched, and the calls.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boot_proto::kubernetes::{GROUP, VERSION, plural};
use boot_proto::resources::{ChassisSpec, Kind, Object};
use futures_util::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinHandle;

use super::KubernetesOptions;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The kubeconfig, or what a pod has in its place, cannot be used.
    #[error("the kubeconfig {} cannot be used", .path.as_ref().map_or_else(|| "of this pod or KUBECONFIG".to_owned(), |path| path.display().to_string()))]
    Config {
        /// The file, where one was named.
        path: Option<PathBuf>,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A call failed.
    #[error("{doing} at the API server")]
    Call {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A call took too long.
    #[error("{doing} at the API server: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Late {
        /// What was tried.
        doing: String,
    },
    /// A Secret lacks what is wanted of it.
    #[error("Secret {name} has neither password nor ssh-privatekey")]
    Secret {
        /// Its name.
        name: String,
    },
    /// What a Secret holds cannot be put where the drivers read it.
    #[error("keeping Secret {name} in {}", path.display())]
    Keep {
        /// Its name.
        name: String,
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl KubernetesError {
    /// The HTTP status that the API server refused with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The API server with what is watched of it; clones share it.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: kube::Client,
    /// Namespace of the resources.
    pub namespace: Arc<str>,
    pub(super) chassis: Store<DynamicObject>,
    pub(super) machines: Store<DynamicObject>,
    pub(super) pools: Store<DynamicObject>,
}

impl Cluster {
    /// Connects and watches; returns when all was listed once.
    ///
    /// # Errors
    /// When there is no kubeconfig that can be used.
    pub async fn open(
        options: &KubernetesOptions,
    ) -> Result<(Self, Vec<JoinHandle<()>>), KubernetesError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = config(options.kubeconfig.as_deref()).await?;
        config.connect_timeout = Some(CALL_TIMEOUT);
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(|error| KubernetesError::Config {
            path: options.kubeconfig.clone(),
            source: Box::new(error),
        })?;
        let watched = |kind: Kind| watch(objects(&client, &namespace, kind), kind);
        let (chassis, watch_chassis) = watched(Kind::Chassis);
        let (machines, watch_machines) = watched(Kind::Machine);
        let (pools, watch_pools) = watched(Kind::NodePool);
        for (store, kind) in [
            (&chassis, Kind::Chassis),
            (&machines, Kind::Machine),
            (&pools, Kind::NodePool),
        ] {
            if tokio::time::timeout(CALL_TIMEOUT, store.wait_until_ready())
                .await
                .is_err()
            {
                tracing::warn!(%kind, "waiting for the API server: are the CustomResourceDefinitions of deploy/crds installed, and may this account list them?");
                // It ends with the watch, which does not.
                let _ = store.wait_until_ready().await;
            }
        }
        let cluster = Self {
            client,
            namespace: namespace.into(),
            chassis,
            machines,
            pools,
        };
        Ok((cluster, vec![watch_chassis, watch_machines, watch_pools]))
    }

    /// The Chassis that can be read, sorted by name.
    #[must_use]
    pub fn chassis_objects(&self) -> Vec<Object<ChassisSpec>> {
        let read = |object: Arc<DynamicObject>| {
            let name = object.metadata.name.clone()?;
            match serde_json::from_value(object.data.get("spec").cloned()?) {
                Ok(spec) => Some(crate::feed::plain(name, spec)),
                Err(error) => {
                    tracing::debug!(chassis = name, %error, "a Chassis that cannot be read");
                    None
                }
            }
        };
        let mut all: Vec<_> = self.chassis.state().into_iter().filter_map(read).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// The objects of one of our kinds.
    #[must_use]
    pub fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        objects(&self.client, &self.namespace, kind)
    }
}

fn objects(client: &kube::Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let of = GroupVersionKind::gvk(GROUP, VERSION, kind.name());
    let resource = ApiResource::from_gvk_with_plural(&of, plural(kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn watch(api: Api<DynamicObject>, kind: Kind) -> (Store<DynamicObject>, JoinHandle<()>) {
    let of = GroupVersionKind::gvk(GROUP, VERSION, kind.name());
    let resource = ApiResource::from_gvk_with_plural(&of, plural(kind));
    let writer = reflector::store::Writer::new(resource);
    let store = writer.as_reader();
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        // Who owns which field is a large part of an object, and not read here.
        .modify(|object| object.metadata.managed_fields = None)
        .reflect(writer);
    let task = tokio::spawn(stream.for_each(move |event| async move {
        if let Err(error) = event {
            tracing::debug!(%kind, %error, "watching; trying again");
        }
    }));
    (store, task)
}

/// Makes one call.
///
/// # Errors
/// When it fails or takes too long.
pub async fn call<T>(
    doing: impl FnOnce() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, KubernetesError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|source| KubernetesError::Call {
            doing: doing(),
            source: Box::new(source),
        }),
        Err(_) => Err(KubernetesError::Late { doing: doing() }),
    }
}

async fn config(path: Option<&Path>) -> Result<kube::Config, KubernetesError> {
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| KubernetesError::Config {
        path: path.map(Path::to_owned),
        source,
    };
    let Some(file) = path else {
        return kube::Config::infer()
            .await
            .map_err(|error| wrong(Box::new(error)));
    };
    let file = Kubeconfig::read_from(file).map_err(|error| wrong(Box::new(error)))?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(Box::new(error)))
}
