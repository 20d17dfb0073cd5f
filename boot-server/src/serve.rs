//! `boot-server serve`: opens the store, starts the faces, stops them.

mod faces;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::BootView;
use boot_proto::report::Phase;
use boot_proto::resources::{ClusterSpec, DhcpMode, Object};
use kube_access::AccessError;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::adoption::Adoption;
use crate::boots::{BootLog, Observer};
use crate::dhcp::{self, DhcpError, DhcpOptions, DhcpServer, LeaseStore, LeaseStoreError, Leases};
use crate::events::EventSink;
use crate::farm::{self, Farm, FarmError};
use crate::host_keys::HostKeys;
use crate::http::{App, BearerToken, Rate, TlsError, TlsFiles, Transfers};
use crate::images::{ImageError, ImageStore, chain};
use crate::inventory::Inventory;
use crate::kubernetes::{ApiServer, KubernetesOptions, Store};
use crate::loaders::BootFiles;
use crate::metrics::Metrics;
use crate::store::{Database, StoreError};
use crate::tftp::{self, TftpError, TftpFiles, TftpOptions, TftpServer};
use crate::tokens::{Joined, Tokens};
use faces::Faces;

/// Name of the database in the state folder.
pub const DATABASE: &str = "state.redb";
/// Name of the lease log in the state folder.
pub const LEASES: &str = "leases";
/// Name of the image store in the state folder.
pub const IMAGES: &str = "images";
/// Name of the management token in the state folder.
pub const TOKEN: &str = "management.token";
/// Name of the file in the state folder that SSH host keys are made of.
const HOST_KEYS: &str = "ssh-host-keys.secret";
/// How often the manifest folder is looked at.
const MANIFEST_INTERVAL: Duration = Duration::from_secs(1);

/// What to serve, from where.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Folder of manifests; empty where the resources are in Kubernetes.
    pub manifests: PathBuf,
    /// The API server that keeps the state, in place of folder and state file.
    pub kubernetes: Option<KubernetesOptions>,
    /// Folder of state.
    pub state: PathBuf,
    /// Where the boot face listens.
    pub listen_boot: SocketAddr,
    /// Where the management face listens.
    pub listen_management: SocketAddr,
    /// Interfaces for DHCP; empty means all in a declared subnet.
    pub interfaces: Vec<String>,
    /// Folder of boot loaders.
    pub loaders: PathBuf,
    /// Folder of assets; without one `assets` in the folder of manifests.
    pub assets: Option<PathBuf>,
    /// Whether to serve DHCP.
    pub dhcp: bool,
    /// Whether to serve TFTP.
    pub tftp: bool,
    /// Where the boot face listens for TLS, if anywhere; needs `tls`.
    pub listen_boot_tls: Option<SocketAddr>,
    /// Certificate for TLS.
    pub tls: Option<TlsFiles>,
    /// Whether the management face speaks TLS; needs `tls`.
    pub management_tls: bool,
    /// Machines that may fetch an image at once.
    pub image_transfers: usize,
    /// Whether TFTP answers from the port that was asked, and from no other.
    pub tftp_single_port: bool,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state folder cannot be made.
    #[error("making the state folder {path}")]
    State {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The leases cannot be read.
    #[error(transparent)]
    Leases(#[from] LeaseStoreError),
    /// The API server cannot be used as the store.
    #[error(transparent)]
    Kubernetes(#[from] AccessError),
    /// The manifests are wrong.
    #[error(transparent)]
    Farm(#[from] FarmError),
    /// The image store cannot be opened.
    #[error("opening the image store")]
    Images(#[from] ImageError),
    /// The management token cannot be read or made.
    #[error("reading or making the management token {path}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An HTTP port cannot be had.
    #[error(
        "listening for HTTP on {address}; is another server running, or is it not an address of this machine?"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// DHCP cannot be served.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// TFTP cannot be served.
    #[error(transparent)]
    Tftp(#[from] TftpError),
}

/// The running server.
pub struct Server {
    app: App,
    tasks: JoinSet<()>,
    observer: Observer,
    stop: CancellationToken,
    /// They stop when they are dropped.
    datagrams: (Option<DhcpServer>, Option<TftpServer>),
    /// Where the boot face listens.
    pub boot: SocketAddr,
    /// Where the management face listens.
    pub management: SocketAddr,
}

impl Server {
    /// Opens everything and starts serving in the background.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing is left running then.
    pub async fn start(options: &ServeOptions) -> Result<Self, ServeError> {
        let (app, store) = open(options).await?;
        let followers = follow(&app, store.as_ref()).await;
        let token = read_token(options)?;
        let faces = Faces::listen(options).await?;
        let addresses = faces.addresses(options);
        let datagrams = start_datagrams(options, &app, addresses.0.port())?;

        let stop = CancellationToken::new();
        let observer = observer(Arc::clone(&app.farm), store.as_ref());
        let mut tasks = JoinSet::new();
        faces.serve(options, &app, token, &stop, &mut tasks)?;
        let mut background = followers;
        background.extend([
            tokio::spawn(Arc::clone(&app.boots).run(Arc::clone(&observer))),
            tokio::spawn(Arc::clone(&app.tokens).run(clusters(&app.farm))),
            tokio::spawn(Arc::clone(&app.adoption).run()),
            tokio::spawn(crate::images::origin::run(
                Arc::clone(&app.farm),
                Arc::clone(&app.images),
            )),
        ]);
        let stopping = stop.clone();
        tasks.spawn(async move {
            stopping.cancelled().await;
            background.iter().for_each(tokio::task::JoinHandle::abort);
        });
        resume(&app);
        announce(&app, options, addresses.0, addresses.1);
        Ok(Self {
            app,
            tasks,
            observer,
            stop,
            datagrams,
            boot: addresses.0,
            management: addresses.1,
        })
    }

    /// Stops: no new requests, those under way may finish shortly, what is
    /// learned is on disk.
    pub async fn stop(mut self) {
        self.stop.cancel();
        drop(self.datagrams);
        while self.tasks.join_next().await.is_some() {}
        let (boots, observer) = (Arc::clone(&self.app.boots), self.observer);
        let _ = tokio::task::spawn_blocking(move || boots.flush(&observer)).await;
        tracing::info!("stopped");
    }
}

/// Follows what is declared: the store, or the folder of manifests.
async fn follow(app: &App, store: Option<&Store>) -> Vec<JoinHandle<()>> {
    match store {
        Some(store) => store.start(&app.leases).await,
        None => vec![tokio::spawn(farm::watch(
            Arc::clone(&app.farm),
            MANIFEST_INTERVAL,
        ))],
    }
}

/// The clusters that are declared now.
fn clusters(farm: &Arc<Farm>) -> impl Fn() -> Vec<Object<ClusterSpec>> + Send + use<> {
    let farm = Arc::clone(farm);
    move || {
        let inventory = farm.inventory();
        inventory.declared().clusters.values().cloned().collect()
    }
}

async fn open(options: &ServeOptions) -> Result<(App, Option<Store>), ServeError> {
    let state = &options.state;
    std::fs::create_dir_all(state).map_err(|source| ServeError::State {
        path: state.clone(),
        source,
    })?;
    let database = Database::open(&state.join(DATABASE))?;
    let store = match &options.kubernetes {
        Some(kubernetes) => Some(Store::open(ApiServer::open(kubernetes).await?, &database)?),
        None => None,
    };
    let tokens = Tokens::open(database.clone(), &options.manifests)?;
    let (farm, leases): (_, Arc<dyn LeaseStore>) = match &store {
        Some(store) => {
            tokens.read_secrets(Arc::new(store.api.clone()));
            (Arc::clone(&store.farm), Arc::new(store.claims.clone()))
        }
        None => {
            let leases = dhcp::leases::open_log(&state.join(LEASES), &database)?;
            let farm = Farm::open(database.clone(), &options.manifests)?;
            (Arc::new(farm), Arc::new(leases))
        }
    };
    let metrics = Metrics::new();
    let adoption = match &store {
        Some(store) => Adoption::new(Arc::clone(&farm), Arc::clone(&tokens), store.keeper()),
        None => Adoption::of(&farm, &tokens),
    };
    let app = App {
        farm,
        adoption,
        leases: Arc::new(Leases::open(leases)?),
        images: Arc::new(ImageStore::open(&state.join(IMAGES))?),
        boots: BootLog::open(database)?,
        tokens,
        loaders: options.loaders.clone(),
        assets: options.assets.clone(),
        host_keys: host_keys(state)?,
        tls_port: options.listen_boot_tls.map(|address| address.port()),
        transfers: Transfers::new(options.image_transfers, metrics.http.clone()),
        rate: Rate::new(metrics.http.clone()),
        metrics,
    };
    Ok((app, store))
}

fn host_keys(state: &Path) -> Result<Arc<HostKeys>, ServeError> {
    let path = state.join(HOST_KEYS);
    let keys = HostKeys::open(&path);
    let keys = keys.map_err(|source| ServeError::Token { path, source })?;
    Ok(Arc::new(keys))
}

fn read_token(options: &ServeOptions) -> Result<BearerToken, ServeError> {
    let path = options.state.join(TOKEN);
    BearerToken::read_or_make(&path).map_err(|source| ServeError::Token { path, source })
}

fn start_datagrams(
    options: &ServeOptions,
    app: &App,
    http_port: u16,
) -> Result<(Option<DhcpServer>, Option<TftpServer>), ServeError> {
    let events: Arc<dyn EventSink> = app.boots.clone();
    let tftp = if options.tftp {
        let files = TftpFiles {
            dir: options.loaders.clone(),
            source: Some(Arc::new(BootFiles::new(app.clone(), http_port))),
        };
        Some(tftp::spawn(
            files,
            Arc::clone(&events),
            app.metrics.tftp.clone(),
            TftpOptions {
                single_port: options.tftp_single_port,
                ..TftpOptions::default()
            },
        )?)
    } else {
        None
    };
    let dhcp = if options.dhcp {
        let interfaces = options.interfaces.clone();
        let dhcp_options = DhcpOptions {
            interfaces,
            http_port,
        };
        Some(dhcp::spawn(
            Arc::clone(&app.farm),
            Arc::clone(&app.leases),
            events,
            app.metrics.dhcp.clone(),
            dhcp_options,
        )?)
    } else {
        None
    };
    Ok((dhcp, tftp))
}

/// Keeps each machine's record at its latest boot.
fn observer(farm: Arc<Farm>, store: Option<&Store>) -> Observer {
    let listener = store.map(Store::boot_listener);
    Arc::new(move |boot: &BootView, asked| {
        if let Some(listener) = &listener {
            listener(boot);
        }
        if let Some(mac) = boot.mac
            && let Err(error) = farm.learn_request(mac, asked)
        {
            tracing::debug!(%mac, error = %chain(&error), "a machine's request is not remembered");
        }
        let Some(machine) = &boot.machine else { return };
        if let Err(error) = farm.learn_boot(machine, boot.address, &boot.phase, boot.image) {
            tracing::debug!(machine, error = %chain(&error), "a machine's boot is not remembered");
        }
    })
}

/// Goes on seeing machines through to Ready that had joined when an earlier
/// server stopped.
fn resume(app: &App) {
    let inventory = app.farm.inventory();
    for boot in app.boots.list() {
        let has_joined = boot.phases.iter().any(|time| time.phase == Phase::Join);
        let (Some(mac), Some(machine), true) = (boot.mac, &boot.machine, has_joined) else {
            continue;
        };
        let is_latest = app
            .boots
            .latest(mac)
            .is_some_and(|latest| latest.id == boot.id);
        if boot.outcome == "ready" || !is_latest {
            continue;
        }
        let Some(assignment) = inventory.assignment_of(machine) else {
            continue;
        };
        let Some(cluster) = assignment.cluster.clone() else {
            continue;
        };
        app.adoption.joined(&assignment);
        let joined = Joined {
            boot: boot.id,
            mac,
            machine: assignment.machine,
            hostname: assignment.hostname,
            cluster,
            labels: assignment.profile.labels,
            taints: assignment.profile.taints,
        };
        app.tokens.follow(joined, Arc::clone(&app.boots));
    }
}

/// Says what is served: an operator sees at once whether it is what was meant.
fn announce(app: &App, options: &ServeOptions, boot: SocketAddr, management: SocketAddr) {
    let inventory = app.farm.inventory();
    let manifests = match &options.kubernetes {
        Some(_) => "Kubernetes".to_owned(),
        None => options.manifests.display().to_string(),
    };
    tracing::info!(manifests, state = %options.state.display(),
        "{}", inventory.declared().summary());
    tracing::info!(%boot, %management, dhcp = options.dhcp, tftp = options.tftp, "serving");
    if options.tftp && !options.loaders.is_dir() {
        tracing::warn!(loaders = %options.loaders.display(),
            "there is no such folder of boot loaders; install Debian's package ipxe, or name another with --loaders");
    }
    announce_subnets(&inventory);
    let images = app.images.list().unwrap_or_default();
    if images.is_empty() {
        tracing::warn!("the image store is empty; add an image with `boot-server image add DIR`");
    }
    for image in images.iter() {
        tracing::info!(image = %image.manifest.name, digest = %image.digest, "image");
    }
}

fn announce_subnets(inventory: &Inventory) {
    let addresses = interface_addresses();
    for subnet in inventory.subnets() {
        let spec = &subnet.spec;
        let here: Vec<String> = addresses
            .iter()
            .filter(|(_, address)| spec.cidr.contains(address))
            .map(|(interface, address)| format!("{interface} {address}"))
            .collect();
        if here.is_empty() && spec.mode != DhcpMode::Off {
            tracing::info!(subnet = subnet.name(), cidr = %spec.cidr, mode = ?spec.mode,
                "subnet; no interface has an address in it, so that only relays reach it");
        } else {
            tracing::info!(subnet = subnet.name(), cidr = %spec.cidr, mode = ?spec.mode,
                interfaces = here.join(", "), "subnet");
        }
    }
}

fn interface_addresses() -> Vec<(String, Ipv4Addr)> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address.as_ref()?.as_sockaddr_in()?.ip();
            Some((interface.interface_name, address))
        })
        .collect()
}
