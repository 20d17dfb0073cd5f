//! The HTTP faces: `boot` for machines on the provisioning network, `management`
//! for operators and chassis-agent. One file a route.

mod assets;
mod blobs;
mod boot_config;
mod connection;
mod errors;
mod files;
mod head;
mod identity;
mod join_token;
mod listener;
mod loaders;
mod management;
mod matchbox;
mod peer;
mod queue;
mod ranges;
mod rate;
mod report;
mod scripts;
mod sendfile;
#[cfg(test)]
mod tests;
mod threads;
mod tls;
mod transfers;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::adoption::Adoption;
use crate::boots::BootLog;
use crate::dhcp::Leases;
use crate::farm::Farm;
use crate::images::{ImageError, ImageStore, StoredImage, resolve_name};
use crate::inventory::{Assignment, Inventory};
use crate::metrics::Metrics;
use crate::tokens::Tokens;

pub use head::plain_request;
pub use listener::{Face, Limits, serve};
pub(crate) use management::lease_views;
pub use management::{BearerToken, router as management_router};
pub(crate) use matchbox::goes_first;
pub use peer::Peer;
pub use rate::Rate;
pub(crate) use scripts::grub_config_of;
pub use threads::spawn as serve_on_threads;
pub use tls::{Certificate, TlsError, TlsFiles};
pub use transfers::Transfers;

/// All that the faces talk to.
#[derive(Clone)]
pub struct App {
    /// What is declared and learned.
    pub farm: Arc<Farm>,
    /// Who has which address.
    pub leases: Arc<Leases>,
    /// The image store.
    pub images: Arc<ImageStore>,
    /// The boot log.
    pub boots: Arc<BootLog>,
    /// Join tokens.
    pub tokens: Arc<Tokens>,
    /// Machines on their way to another pool.
    pub adoption: Arc<Adoption>,
    /// Folder of boot loaders.
    pub loaders: PathBuf,
    /// Folder of assets for Matchbox's machines; without one `assets` beside the
    /// manifests.
    pub assets: Option<PathBuf>,
    /// SSH host keys of machines.
    pub host_keys: Arc<crate::host_keys::HostKeys>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Port of the boot face that speaks TLS.
    pub tls_port: Option<u16>,
    /// Image transfers under way.
    pub transfers: Arc<Transfers>,
    /// How often clients ask.
    pub rate: Arc<Rate>,
}

/// The routes of the boot face.
pub fn boot_router(app: App) -> Router {
    // What costs more than sending a file is not for asking again and again.
    let limited = axum::middleware::from_fn_with_state(Arc::clone(&app.rate), rate::limit);
    let costly = Router::new()
        .route("/v1/boot-config", get(boot_config::get))
        .route("/v1/report", post(report::post))
        .route("/v1/join-token", post(join_token::post))
        .route("/ignition", get(matchbox::ignition))
        .route("/cloud", get(matchbox::cloud))
        .route("/generic", get(matchbox::generic))
        .route("/metadata", get(matchbox::metadata))
        .layer(limited);
    Router::new()
        .route("/", get(matchbox::home))
        .route("/boot.ipxe", get(scripts::first))
        .route("/boot.ipxe.0", get(matchbox::bootstrap))
        .route("/ipxe", get(scripts::machine))
        .route("/grub", get(scripts::matchbox_grub))
        .route("/grub.cfg", get(scripts::grub))
        .route("/grub/grub.cfg", get(scripts::grub))
        .route("/blobs/sha256/{hex}", get(blobs::get))
        .route("/loaders/{*file}", get(loaders::get))
        .route("/assets/{*path}", get(assets::get))
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(costly)
        .fallback(errors::not_found)
        .with_state(app)
}

/// The image a machine is given, and the kernel arguments that its Image
/// resource adds.
pub(crate) struct Chosen {
    pub image: StoredImage,
    pub arguments: Vec<String>,
}

/// Why a machine is given no image, in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoImage {
    #[error(
        "machine {0} belongs to no NodePool; add it to one, or declare a pool with catchAll: true"
    )]
    NoPool(String),
    #[error("NodePool {pool}: {}", crate::images::chain(.source))]
    Image { pool: String, source: ImageError },
}

/// Finds the image of a machine; all its files are there.
pub(crate) fn choose_image(
    images: &ImageStore,
    inventory: &Inventory,
    assignment: &Assignment,
) -> Result<Chosen, NoImage> {
    let (Some(pool), Some(name)) = (&assignment.pool, &assignment.image) else {
        return Err(NoImage::NoPool(assignment.machine.clone()));
    };
    let failed = |source| NoImage::Image {
        pool: pool.clone(),
        source,
    };
    let declared = inventory.image(name);
    let stored = images.list().map_err(failed)?;
    let image = resolve_name(&stored, declared, name).map_err(|error| {
        let status = declared.and_then(|spec| images.coming(&spec.digest));
        failed(match status {
            Some(status) => ImageError::Coming {
                name: name.clone(),
                status,
            },
            None => error,
        })
    })?;
    images.check_present(image).map_err(failed)?;
    let arguments = declared
        .map(|spec| spec.kernel_arguments.clone())
        .unwrap_or_default();
    Ok(Chosen {
        image: image.clone(),
        arguments,
    })
}
