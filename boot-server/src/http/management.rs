//! The management face: what is known, for operators and chassis-agent.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use boot_proto::api::{
    BootView, ChassisInventory, ChassisView, ImageView, LeaseView, MachineView, PowerOrders,
};
use boot_proto::time::WallClock;
use rand::Rng as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::App;
use super::errors::{Failure, blocking, not_found};
use crate::clock;
use crate::dhcp::leases::Usage;
use crate::explain::{self, Explanation};
use crate::farm::FarmError;
use crate::images::resolve_name;

/// Largest inventory of a chassis.
const INVENTORY_LIMIT: usize = 4 << 20;

/// The token that requests to the management face carry.
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// Reads the token in `path`, or makes one there that only the owner can read.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is empty.
    pub fn read_or_make(path: &FilePath) -> io::Result<Self> {
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(mut file) => {
                let token = hex::encode(rand::rng().random::<[u8; 32]>());
                writeln!(file, "{token}")?;
                file.sync_all()?;
                Ok(Self(token))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => Err(error),
        }
    }

    /// Reads the token in `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is empty.
    pub fn read(path: &FilePath) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its first line is empty",
            ));
        }
        Ok(Self(token.to_owned()))
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Compares digests: how long that takes tells nothing of the token.
    fn fits(&self, header: &str) -> bool {
        let given = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, given)) = given else {
            return false;
        };
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
        let difference = digest(given.trim())
            .iter()
            .zip(digest(&self.0))
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        difference == 0
    }
}

/// The routes of the management face.
pub fn router(app: App, token: BearerToken) -> Router {
    let api = Router::new()
        .route("/api/v1/machines", get(machines))
        .route("/api/v1/chassis", get(chassis))
        .route("/api/v1/leases", get(leases))
        .route("/api/v1/boots", get(boots))
        .route("/api/v1/images", get(images))
        .route("/api/v1/explain/{who}", get(explain))
        .route("/api/v1/chassis/{name}/inventory", put(observe))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(INVENTORY_LIMIT))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::new(token), authorize));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(api)
        .with_state(app)
}

async fn authorize(
    State(token): State<Arc<BearerToken>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given.is_some_and(|given| token.fits(given)) {
        return next.run(request).await;
    }
    let error = "the management API wants `Authorization: Bearer TOKEN` with the token in \
                 management.token of the server's state folder";
    let mut response = Failure::new(StatusCode::UNAUTHORIZED, error).into_response();
    let challenge = header::HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Ready while the store can be read; wrong manifests are told, and do not count:
/// the old ones are in force.
async fn ready(State(app): State<App>) -> Result<String, Failure> {
    blocking(move || {
        app.images
            .list()
            .map_err(|error| Failure::internal(&error))?;
        let mistakes = app.farm.manifest_mistakes();
        Ok(match mistakes.len() {
            0 => "ok\n".to_owned(),
            count => {
                format!("ok, with {count} mistakes in the manifests, which are not in force\n")
            }
        })
    })
    .await
}

async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let kind = [(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)];
    blocking(move || {
        let inventory = app.farm.inventory();
        let subnets: Vec<_> = inventory.subnets().collect();
        app.metrics.dhcp.forget_subnets();
        for usage in app.leases.usage(&subnets, clock::wall()) {
            let Usage { subnet, held, free } = usage;
            app.metrics.dhcp.leases(&subnet, held, free);
        }
        Ok((kind, app.metrics.page()))
    })
    .await
}

async fn machines(State(app): State<App>) -> Result<Json<Vec<MachineView>>, Failure> {
    blocking(move || Ok(Json(app.farm.machines()))).await
}

async fn chassis(State(app): State<App>) -> Result<Json<Vec<ChassisView>>, Failure> {
    blocking(move || Ok(Json(app.farm.chassis()))).await
}

async fn leases(State(app): State<App>) -> Result<Json<Vec<LeaseView>>, Failure> {
    blocking(move || Ok(Json(lease_views(&app)))).await
}

/// The leases that hold now, each with its machine by what is known today.
pub(crate) fn lease_views(app: &App) -> Vec<LeaseView> {
    let inventory = app.farm.inventory();
    let mut views = app.leases.views(clock::wall());
    for view in &mut views {
        if let Some(machine) = inventory.machine_of_mac(view.mac) {
            view.machine = Some(machine.to_owned());
        }
    }
    views
}

/// `?machine=NAME` leaves out the others' boots.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    machine: Option<String>,
}

async fn boots(State(app): State<App>, Query(filter): Query<Filter>) -> Json<Vec<BootView>> {
    let mut boots = app.boots.list();
    if let Some(machine) = filter.machine {
        boots.retain(|boot| boot.machine.as_deref() == Some(&*machine));
    }
    Json(boots)
}

async fn images(State(app): State<App>) -> Result<Json<Vec<ImageView>>, Failure> {
    blocking(move || image_views(&app).map(Json)).await
}

fn image_views(app: &App) -> Result<Vec<ImageView>, Failure> {
    let stored = app
        .images
        .list()
        .map_err(|error| Failure::internal(&error))?;
    let inventory = app.farm.inventory();
    let named: Vec<_> = inventory
        .declared()
        .pools
        .values()
        .filter_map(|pool| {
            let name = &pool.spec.image;
            let image = resolve_name(&stored, inventory.image(name), name).ok()?;
            Some((image.digest, pool.name().to_owned()))
        })
        .collect();
    let view = |image: &crate::images::StoredImage| ImageView {
        digest: image.digest,
        name: image.manifest.name.clone(),
        kernel_release: image.manifest.kernel_release.clone(),
        size: image.size(),
        root_size: image.manifest.root.size,
        added: image.added,
        pools: named
            .iter()
            .filter(|(digest, _)| *digest == image.digest)
            .map(|(_, pool)| pool.clone())
            .collect(),
    };
    Ok(stored.iter().map(view).collect())
}

async fn explain(
    State(app): State<App>,
    Path(who): Path<String>,
) -> Result<Json<Explanation>, Failure> {
    blocking(move || match explain::explain(&app, &who) {
        Some(explanation) => Ok(Json(explanation)),
        None => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("{who:?} is no MAC, no address and no machine known here; see `boot-server get machines`"),
        )),
    })
    .await
}

async fn observe(
    State(app): State<App>,
    Path(chassis): Path<String>,
    Json(scan): Json<ChassisInventory>,
) -> Result<Json<PowerOrders>, Failure> {
    blocking(
        move || match app.farm.observe(&chassis, scan, clock::wall()) {
            Ok(mut orders) => {
                tell_who_asked(&app, &mut orders, clock::wall());
                Ok(Json(orders))
            }
            Err(error @ FarmError::UnknownChassis(_)) => {
                Err(Failure::new(StatusCode::NOT_FOUND, error.to_string()))
            }
            Err(error) => Err(Failure::internal(&error)),
        },
    )
    .await
}

/// Adds to each order when the machine last asked for a network boot, which
/// tells the agent whether what it ordered came true.
fn tell_who_asked(app: &App, orders: &mut PowerOrders, now: WallClock) {
    let inventory = app.farm.inventory();
    for order in &mut orders.orders {
        let macs = inventory.macs_of(&order.machine);
        order.is_watched = !macs.is_empty();
        let asked = macs.iter().filter_map(|mac| app.boots.asked(*mac)).max();
        order.asked_ms_ago =
            asked.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("management.token");
        let token = BearerToken::read_or_make(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = BearerToken::read_or_make(&path).unwrap();
        assert_eq!(token.0, again.0);
        assert_eq!(token.0.len(), 64);
        assert!(token.fits(&token.header()));
        assert!(token.fits(&token.header().replace("Bearer", "bearer")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic x",
            &token.0,
            &format!("Bearer {}x", token.0),
        ] {
            assert!(!token.fits(wrong), "{wrong}");
        }
        fs::write(&path, "\n").unwrap();
        assert!(BearerToken::read(&path).is_err());
    }
}
