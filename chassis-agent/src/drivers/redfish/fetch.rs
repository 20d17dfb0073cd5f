//! What the walk over a service needs of a transport: one resource by its path.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use crate::drivers::DriverError;

/// Why a resource could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// This one is missing, forbidden or garbled; the next may be there.
    #[error("{0}")]
    Absent(DriverError),
    /// The service itself fails, so that there is no use in going on.
    #[error("{0}")]
    Fatal(DriverError),
}

impl FetchError {
    /// The same without the difference.
    #[must_use]
    pub fn into_inner(self) -> DriverError {
        match self {
            Self::Absent(error) | Self::Fatal(error) => error,
        }
    }
}

/// What [`Fetch::get`] returns.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Value, FetchError>> + Send + 'a>>;

/// Gets resources: a live service, or a folder of captures.
pub trait Fetch: Send {
    /// The resource at `path`, which begins with `/`.
    fn get<'a>(&'a mut self, path: &'a str) -> Fetched<'a>;
}
