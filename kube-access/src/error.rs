//! Why the API server cannot be used.

use std::path::PathBuf;

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig, or what a pod has in its place, cannot be used.
    #[error("{}: it cannot be used", place(.path.as_ref()))]
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
    #[error("{doing} at the API server: no answer within {seconds} s")]
    Late {
        /// What was tried.
        doing: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

fn place(path: Option<&PathBuf>) -> String {
    match path {
        Some(path) => format!("the kubeconfig {}", path.display()),
        None => "the service account of this pod, or KUBECONFIG (name a file with --kubeconfig)"
            .to_owned(),
    }
}

impl AccessError {
    /// Whether the API server itself did not answer, so that nothing can be
    /// concluded from it.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Config { .. } => false,
            Self::Late { .. } => true,
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code >= 500 || status.code == 429,
                _ => true,
            },
        }
    }

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
