//! The API server: what is watched, and the calls.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::kubernetes::plural;
use boot_proto::resources::{ChassisSpec, Kind, Object};
use futures_util::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube_access::{Access, AccessError};
use tokio::task::JoinHandle;

use super::KubernetesOptions;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The API server does not answer, or refuses.
    #[error(transparent)]
    Access(#[from] AccessError),
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
        let adjust = |config: &mut kube::Config| config.connect_timeout = Some(CALL_TIMEOUT);
        let Access { client, namespace } = options.place.connect(adjust).await?;
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
            namespace,
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
    kube_access::objects(client, namespace, kind.name(), plural(kind))
}

fn watch(api: Api<DynamicObject>, kind: Kind) -> (Store<DynamicObject>, JoinHandle<()>) {
    let resource = kube_access::resource(kind.name(), plural(kind));
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
) -> Result<T, AccessError> {
    kube_access::call(CALL_TIMEOUT, doing, call).await
}
