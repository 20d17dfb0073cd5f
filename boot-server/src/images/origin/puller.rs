//! Sees to it that every declared image with a source is in the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::ids::Digest;
use boot_proto::resources::ImageOrigin;
use boot_proto::time::Monotonic;

use super::credentials::Credentials;
use super::download::Download;
use super::{OriginError, Place};
use crate::clock;
use crate::farm::Farm;
use crate::images::{ImageStore, chain};

/// How often the manifests are looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// After a failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A connection that brings nothing for so long is broken.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

struct Failed {
    times: u32,
    again: Monotonic,
}

/// Fetches images, one after the other, until cancelled.
pub async fn run(farm: Arc<Farm>, store: Arc<ImageStore>) {
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(READ_TIMEOUT)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "images cannot be fetched from elsewhere"
            );
            return;
        }
    };
    let mut failed: HashMap<Digest, Failed> = HashMap::new();
    loop {
        for (name, digest, origin) in missing(&farm, &store) {
            let now = clock::monotonic();
            if failed.get(&digest).is_some_and(|failed| failed.again > now) {
                continue;
            }
            match fetch(&client, &store, &name, &digest, &origin).await {
                Ok(()) => {
                    failed.remove(&digest);
                    store.tell(digest, None);
                    tracing::info!(image = name, %digest, "an image was fetched");
                }
                Err(error) => {
                    let error = chain(&error);
                    let failed = failed.entry(digest).or_insert(Failed {
                        times: 0,
                        again: now,
                    });
                    let pause = (FIRST_PAUSE * (1 << failed.times.min(8))).min(LONGEST_PAUSE);
                    failed.times = failed.times.saturating_add(1);
                    failed.again = clock::monotonic().after(pause);
                    tracing::error!(
                        image = name,
                        error,
                        again_secs = pause.as_secs(),
                        "an image could not be fetched"
                    );
                    store.tell(digest, Some(format!("it could not be fetched: {error}")));
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Declared images with a source that the store does not have.
fn missing(farm: &Farm, store: &ImageStore) -> Vec<(String, Digest, ImageOrigin)> {
    let Ok(stored) = store.list() else {
        return Vec::new();
    };
    let inventory = farm.inventory();
    let declared = inventory.declared().images.iter();
    declared
        .filter_map(|(name, image)| {
            let digest = image.spec.digest;
            let is_there = stored.iter().any(|stored| stored.digest == digest);
            let origin = image.spec.source.clone().filter(|_| !is_there)?;
            Some((name.clone(), digest, origin))
        })
        .collect()
}

/// Fetches one image, and lets the store tell how far it is.
pub(super) async fn fetch(
    client: &reqwest::Client,
    store: &ImageStore,
    name: &str,
    digest: &Digest,
    origin: &ImageOrigin,
) -> Result<(), OriginError> {
    let place = Place::of(origin)?;
    tracing::info!(image = name, %digest, "fetching an image");
    let mut shown = None;
    let mut progress = |file: &str, done: u64, all: u64| {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        let step = percent / 10;
        if shown.as_ref() == Some(&(file.to_owned(), step)) {
            return;
        }
        shown = Some((file.to_owned(), step));
        tracing::info!(image = name, file, percent, "fetching an image");
        store.tell(
            *digest,
            Some(format!("it is being fetched: {file} {percent} %")),
        );
    };
    let mut download = Download::new(client, store, &place);
    download.credentials = Credentials::of(origin)?;
    download.image(digest, &mut progress).await
}
