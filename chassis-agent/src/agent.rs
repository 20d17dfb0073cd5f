//! The agent: one controller for each Chassis of a folder of manifests, started
//! and stopped as the manifests change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boot_proto::resources::{ChassisSpec, Object};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock;
use crate::controller::Controller;
use crate::feed::Feed;
use crate::fleet::Fleet;
use crate::kubernetes::{KubernetesOptions, Standing};
use crate::metrics::Metrics;
use crate::profiles::Profiles;
use crate::publish::{BootServer, Publish};
use crate::watch_page;

/// How the agent is to run.
pub struct Options {
    /// Folder with manifests.
    pub manifests: PathBuf,
    /// The API server that says what there is and hears what is seen, in place
    /// of manifests and boot-server.
    pub kubernetes: Option<KubernetesOptions>,
    /// URL of boot-server's management face.
    pub boot_server: String,
    /// File with the bearer token.
    pub token_file: PathBuf,
    /// File with the certificate that signs boot-server's.
    pub ca_file: Option<PathBuf>,
    /// Folder for what must outlive a restart.
    pub state: PathBuf,
    /// Machines of one chassis that may be powered on per power interval.
    pub power_ons: u32,
    /// Machines of all chassis together that may be powered on within
    /// [`crate::fleet::POWER_ON_INTERVAL`].
    pub power_ons_of_all: u32,
    /// Devices that are visited at once.
    pub visits: u32,
    /// How long a machine may take from power-on to its request for a network
    /// boot, before the next way is tried.
    pub network_boot_wait: Duration,
    /// Where the pages for monitoring are, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Hardware profiles.
    pub profiles: Profiles,
}

impl Options {
    /// Options of which only the places are given.
    #[must_use]
    pub fn new(
        manifests: PathBuf,
        boot_server: String,
        token_file: PathBuf,
        state: PathBuf,
        profiles: Profiles,
    ) -> Self {
        Self {
            manifests,
            kubernetes: None,
            boot_server,
            token_file,
            ca_file: None,
            state,
            power_ons: 8,
            power_ons_of_all: 40,
            visits: 64,
            network_boot_wait: Duration::from_secs(600),
            listen: None,
            profiles,
        }
    }
}

/// How often the manifests are looked at.
const LOOK_AT_MANIFESTS: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot begin: no manifests, mistakes in them, no usable boot-server
/// address.
pub async fn run_until_signal(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    let running = run(options, stopped);
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return result,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    running.await
}

/// Runs until `stop` says so; all controllers have ended when it returns.
///
/// # Errors
/// When it cannot begin.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("making the state folder {}", options.state.display()))?;
    let (mut feed, publish) = tokio::select! {
        opened = open(&options) => opened?,
        // It waits for an API server that is away.
        () = told_to_stop(&mut stop) => return Ok(()),
    };
    let metrics = Metrics::default();
    let pages = match options.listen {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listening on {address} for monitoring"))?;
            tracing::info!(address = %listener.local_addr()?, "pages for monitoring");
            Some(tokio::spawn(watch_page::watch(listener, metrics.clone())))
        }
    };
    let many = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let mut agent = Agent {
        fleet: Fleet::new(many(options.visits), many(options.power_ons_of_all)),
        metrics,
        profiles: Arc::new(options.profiles.clone()),
        publish,
        options,
        running: BTreeMap::new(),
    };
    let first = feed.first().await?;
    agent.follow(first).await;
    agent.tell_if_idle(&feed);
    loop {
        agent.metrics.beat(clock::now());
        tokio::select! {
            () = told_to_stop(&mut stop) => break,
            () = sleep(LOOK_AT_MANIFESTS) => {
                if let Some(chassis) = feed.next().await {
                    agent.follow(chassis).await;
                }
            }
        }
    }
    agent.follow(Vec::new()).await;
    feed.end().await;
    if let Some(pages) = pages {
        pages.abort();
        // It ends by being called off.
        let _ = pages.await;
    }
    Ok(())
}

/// Where Chassis come from, and where what is seen goes.
async fn open(options: &Options) -> anyhow::Result<(Feed, Arc<dyn Publish>)> {
    if let Some(kubernetes) = &options.kubernetes {
        return Feed::kubernetes(kubernetes, &options.state, identity()).await;
    }
    let boot_server = BootServer::new(
        &options.boot_server,
        options.token_file.clone(),
        options.ca_file.as_ref(),
    )?;
    Ok((Feed::folder(&options.manifests)?, Arc::new(boot_server)))
}

/// What this agent calls itself among several: host and process.
fn identity() -> String {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    format!("{host}_{}", std::process::id())
}

/// Returns when `stop` says so, or when nobody is left to say it.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Agent {
    options: Options,
    profiles: Arc<Profiles>,
    publish: Arc<dyn Publish>,
    fleet: Fleet,
    metrics: Metrics,
    running: BTreeMap<String, Running>,
}

struct Running {
    chassis: Object<ChassisSpec>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Agent {
    fn tell_if_idle(&self, feed: &Feed) {
        if !self.running.is_empty() {
            return;
        }
        let manifests = self.options.manifests.display();
        match (feed.waits_for(), &self.options.kubernetes) {
            // It was told when it was found out.
            (Some(Standing::Waits { .. }), _) => {}
            (Some(standing), _) => tracing::info!("{standing}"),
            (None, Some(_)) => tracing::warn!(
                "there is no Chassis to look after yet: kubectl apply one in this namespace"
            ),
            (None, None) => tracing::warn!(%manifests, "there is no Chassis to look after"),
        }
    }

    /// Makes the controllers those of `wanted`: stops the others, starts the
    /// new ones, leaves alone what has not changed.
    async fn follow(&mut self, wanted: Vec<Object<ChassisSpec>>) {
        let stays = |running: &Running| wanted.contains(&running.chassis);
        let leaving: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| !stays(running))
            .map(|(name, _)| name.clone())
            .collect();
        let leaving: Vec<Running> = leaving
            .iter()
            .filter_map(|name| self.running.remove(name))
            .collect();
        // All are told before the first is waited for.
        for running in &leaving {
            running.stop.send_replace(true);
        }
        for running in leaving {
            if let Err(error) = running.task.await {
                tracing::error!(chassis = running.chassis.name(), %error, "its loop broke");
            }
            self.metrics.end(running.chassis.name());
        }
        for chassis in wanted {
            if !self.running.contains_key(chassis.name()) {
                self.start(chassis);
            }
        }
    }

    fn start(&mut self, chassis: Object<ChassisSpec>) {
        let (stop, stopped) = watch::channel(false);
        let controller = Controller {
            chassis: chassis.clone(),
            folder: self.options.manifests.clone(),
            known_hosts: self.options.state.join("known-hosts"),
            profiles: Arc::clone(&self.profiles),
            publish: Arc::clone(&self.publish),
            power_ons: usize::try_from(self.options.power_ons).unwrap_or(usize::MAX),
            network_boot_wait: self.options.network_boot_wait,
            fleet: self.fleet.clone(),
            metrics: self.metrics.clone(),
        };
        self.metrics.begin(chassis.name());
        tracing::info!(
            chassis = chassis.name(),
            address = chassis.spec.address,
            "looking after"
        );
        let task = tokio::spawn(controller.run(stopped));
        self.running.insert(
            chassis.name().to_owned(),
            Running {
                chassis,
                stop,
                task,
            },
        );
    }
}
