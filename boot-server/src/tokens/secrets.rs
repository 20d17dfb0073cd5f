//! Kubeconfigs out of Secrets, where the state is in Kubernetes.
//!
//! A token's record names the place of its kubeconfig: a file, or a Secret as
//! `secret:NAME`. The kubeconfig itself stays in memory.

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use kube::config::Kubeconfig;

use super::api::ClusterApi;
use super::{TokenError, Tokens};

const PREFIX: &str = "secret:";
/// Key of the kubeconfig in its Secret.
pub const KEY: &str = "kubeconfig";

/// Reads Secrets.
pub trait Secrets: Send + Sync {
    /// The value under `key` of the Secret `name`, or in words why there is none.
    fn read<'a>(&'a self, name: &'a str, key: &'a str) -> BoxFuture<'a, Result<String, String>>;
}

pub(super) fn place(secret: &str) -> PathBuf {
    PathBuf::from(format!("{PREFIX}{secret}"))
}

pub(super) fn name(place: &Path) -> Option<&str> {
    place.to_str()?.strip_prefix(PREFIX)
}

impl Tokens {
    /// The client for a kubeconfig in a Secret: read each time, since it may
    /// have changed; as it was, where it cannot be read now.
    pub(super) async fn cluster_of_secret(
        &self,
        place: &Path,
        secret: &str,
    ) -> Result<ClusterApi, TokenError> {
        let wrong = |reason: String| TokenError::Kubeconfig {
            path: place.to_owned(),
            reason,
        };
        let Some(secrets) = self.secrets.get() else {
            return Err(wrong("no Secrets are read here".to_owned()));
        };
        let text = match secrets.read(secret, KEY).await {
            Ok(text) => text,
            Err(reason) => {
                let clusters = self.clusters.lock().unwrap_or_else(|e| e.into_inner());
                let known = clusters.get(place).map(|(_, api)| api.clone());
                return known.ok_or_else(|| wrong(reason));
            }
        };
        let file = Kubeconfig::from_yaml(&text)
            // What is in it must not get into a log.
            .map_err(|_| wrong(format!("the value under {KEY} is no kubeconfig")))?;
        let api = ClusterApi::connect(file, place).await?;
        let mut clusters = self.clusters.lock().unwrap_or_else(|e| e.into_inner());
        clusters.insert(place.to_owned(), (None, api.clone()));
        Ok(api)
    }
}
