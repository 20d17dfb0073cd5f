//! The way to the Kubernetes API server that keeps the state: where it is, how to
//! connect, and calls that end within a time.
//!
//! What is watched and written there is each program's own.

mod error;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::kubernetes::{GROUP, VERSION};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use error::AccessError;

/// Where the API server is, and which namespace our resources are in; the options
/// of every command that has an option `--kubernetes`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Kubeconfig of that API server; without it the pod's service account, or KUBECONFIG
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the resources; without it that of the kubeconfig or pod
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub namespace: Option<String>,
}

/// A client, and the namespace of the resources.
/// Clones share it.
#[derive(Clone)]
pub struct Access {
    /// The client.
    pub client: kube::Client,
    /// Namespace of the resources.
    pub namespace: Arc<str>,
}

impl Place {
    /// Reads the kubeconfig, which `adjust` may change; nothing is asked yet.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub async fn connect(
        &self,
        adjust: impl FnOnce(&mut kube::Config),
    ) -> Result<Access, AccessError> {
        let mut config = self.config().await?;
        adjust(&mut config);
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(|error| self.wrong(error))?;
        Ok(Access {
            client,
            namespace: namespace.into(),
        })
    }

    async fn config(&self) -> Result<kube::Config, AccessError> {
        let Some(file) = &self.kubeconfig else {
            return kube::Config::infer()
                .await
                .map_err(|error| self.wrong(error));
        };
        let file = Kubeconfig::read_from(file).map_err(|error| self.wrong(error))?;
        kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: impl std::error::Error + Send + Sync + 'static) -> AccessError {
        AccessError::Config {
            path: self.kubeconfig.clone(),
            source: Box::new(error),
        }
    }
}

/// How the API server names one of our kinds.
#[must_use]
pub fn resource(kind: &str, plural: &str) -> ApiResource {
    let of = GroupVersionKind::gvk(GROUP, VERSION, kind);
    ApiResource::from_gvk_with_plural(&of, plural)
}

/// The objects of one of our kinds.
#[must_use]
pub fn objects(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
    plural: &str,
) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind, plural))
}

/// Makes one call that ends within `limit`.
///
/// # Errors
/// When it fails or takes too long; `doing` tells what was tried.
pub async fn call<T>(
    limit: Duration,
    doing: impl FnOnce() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, AccessError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|source| AccessError::Call {
            doing: doing(),
            source: Box::new(source),
        }),
        Err(_) => Err(AccessError::Late {
            doing: doing(),
            seconds: limit.as_secs(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let place = Place {
            kubeconfig: Some("/nonexistent/admin.conf".into()),
            namespace: None,
        };
        let error = place.connect(|_| {}).await.err().unwrap();
        assert!(error.to_string().contains("/nonexistent/admin.conf"));
        assert!(!error.is_away());
    }

    #[tokio::test]
    async fn refused_and_away_are_told_apart() {
        let limit = Duration::from_millis(1);
        let never = std::future::pending::<kube::Result<()>>();
        let late = call(limit, || "waiting".into(), never).await.unwrap_err();
        assert!(late.is_away() && late.status().is_none());
        for (code, is_away) in [(404, false), (409, false), (429, true), (503, true)] {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            let answer = std::future::ready(Err(kube::Error::Api(Box::new(status))));
            let error = call::<()>(limit, || "asking".into(), answer).await;
            let error = error.unwrap_err();
            assert_eq!((error.status(), error.is_away()), (Some(code), is_away));
        }
    }
}
